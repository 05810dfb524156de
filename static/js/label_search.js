// How many posts are ticked, and all or none of them at once.
import { gettext } from "./words.js";
const boxes = [...document.querySelectorAll("#picks input[type=checkbox]")];
const all = document.getElementById("tick-all");

function tell() {
  const count = boxes.filter((box) => box.checked).length;
  document.getElementById("ticked").textContent = count;
  all.textContent = count ? gettext("Tick none") : gettext("Tick all");
  for (const button of document.querySelectorAll("#picks button")) button.disabled = !count;
}

if (boxes.length) {
  all.hidden = false;
  all.addEventListener("click", () => {
    const on = !boxes.some((box) => box.checked);
    for (const box of boxes) box.checked = on;
    tell();
  });
  document.getElementById("picks").addEventListener("change", tell);
  tell();
}
