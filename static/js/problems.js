// What does not work now, said once and in one place until it works again.
import { gettext } from "./words.js";
const ORDER = ["connection", "data", "details"];

export class Problems {
  // `again()` is what the button does.
  constructor(box, again) {
    this.box = box;
    this.known = new Map();
    this.text = document.createElement("span");
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.textContent = gettext("Try now");
    this.button.addEventListener("click", again);
    // The box itself stays: a screen reader hears what comes into a region that is there.
    this.line = document.createElement("p");
    this.line.className = "notice trouble";
    this.line.append(this.text, " ", this.button);
  }

  // No text: it works.
  tell(what, text) {
    if (text) this.known.set(what, text);
    else this.known.delete(what);
    const first = ORDER.find((each) => this.known.has(each));
    this.box.classList.toggle("hidden", !first);
    if (!first) this.box.replaceChildren();
    else if (this.text.textContent !== this.known.get(first) || !this.line.isConnected) {
      this.text.textContent = this.known.get(first);
      this.box.replaceChildren(this.line);
    }
  }
}
