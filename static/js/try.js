// The box in which one types a post: judged a moment after the last key.
import { fill, gettext, locale } from "./words.js";
const PAUSE = 250;
const percent = new Intl.NumberFormat(locale, { style: "percent" });

export class TryBox {
  constructor(text, output, categories) {
    Object.assign(this, { text, output, categories });
    text.addEventListener("input", () => this.later(PAUSE));
    text.form.addEventListener("submit", (event) => event.preventDefault());
  }

  later(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.classify(), milliseconds);
  }

  async classify() {
    const text = this.text.value;
    if (!text.trim()) return this.output.replaceChildren();
    const token = document.cookie.match(/csrftoken=([^;]+)/);
    const answer = await fetch("/predict", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": token ? token[1] : "" },
      body: JSON.stringify({ text }),
    }).catch(() => null);
    if (text !== this.text.value) return;
    if (!answer) {
      this.output.textContent = gettext("The server cannot be reached.");
    } else if (answer.status === 503 || answer.status === 429) {
      const wait = Math.max(1, Number(answer.headers.get("Retry-After")) || 1);
      this.output.textContent = fill(gettext("The model is busy; asking again in %(wait)s s."), { wait });
      this.later(1000 * wait);
    } else if (!answer.ok) {
      this.output.textContent = (await answer.json().catch(() => ({}))).detail || gettext("The model did not answer.");
    } else this.show(await answer.json());
  }

  show(result) {
    this.output.replaceChildren(...this.categories.map((category) => {
      const item = document.createElement("span");
      item.className = "badge";
      item.dataset.category = category.key;
      const mark = document.createElement("span");
      mark.className = "mark";
      const label = document.createElement(category.key === result.label ? "strong" : "span");
      label.textContent = `${category.name} ${percent.format(result.scores[category.key])}`;
      item.append(mark, label);
      return item;
    }));
  }
}
