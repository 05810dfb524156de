// Why a post was judged so: asked for when somebody wants to know, its words marked in the text.
import { fill, gettext, locale } from "./words.js";
const percent = new Intl.NumberFormat(locale, { style: "percent" });
const points = new Intl.NumberFormat(locale, { maximumFractionDigits: 0, signDisplay: "exceptZero" });
// Influences below this share of the label's probability say nothing.
const LEAST = 0.01;
const STRONGEST = 3;

export async function explain(post, names) {
  const answer = await fetch(`/live/why/${post.id}/`, { headers: { Accept: "application/json" } }).catch(() => null);
  const box = document.createElement("div");
  box.className = "why";
  if (!answer || !answer.ok) {
    box.textContent = await excuse(answer);
    return box;
  }
  const told = await answer.json();
  box.append(sentence(told, names), marked(post.text, told.words));
  return box;
}

async function excuse(answer) {
  if (!answer) return gettext("The server cannot be reached.");
  if (answer.status === 404) return gettext("This post is no longer here.");
  if (answer.status === 503) return fill(gettext("The model is busy or away. Ask again in %(wait)s s."), { wait: answer.headers.get("Retry-After") || 1 });
  return gettext("The model did not answer.");
}

function sentence(told, names) {
  const line = document.createElement("p");
  const strong = told.words.filter((word) => Math.abs(word.weight) >= LEAST);
  const name = names[told.category] || told.category;
  line.textContent = fill(gettext("Version %(version)s says %(category)s, %(share)s sure."), { version: told.version, category: name.toLowerCase(), share: percent.format(told.confidence) })
    + " " + (strong.length ? gettext("Underlined words speak for it, dashed ones against; the numbers are points of probability that it would lose without the word.") : gettext("No single word decides it."));
  return line;
}

function marked(text, words) {
  const letters = Array.from(text);
  const line = document.createElement("p");
  line.className = "judged";
  const heaviest = Math.max(LEAST, ...words.map((word) => Math.abs(word.weight)));
  const told = new Set([...words].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, STRONGEST));
  let at = 0;
  for (const word of words) {
    line.append(letters.slice(at, word.start).join(""));
    at = word.end;
    const part = letters.slice(word.start, word.end).join("");
    if (Math.abs(word.weight) < LEAST) {
      line.append(part);
      continue;
    }
    const mark = document.createElement("mark");
    mark.className = word.weight > 0 ? "for" : "against";
    mark.style.setProperty("--weight", `${Math.round((70 * Math.abs(word.weight)) / heaviest)}%`);
    mark.textContent = part;
    line.append(mark);
    if (told.has(word)) {
      const number = document.createElement("small");
      number.textContent = points.format(100 * word.weight);
      line.append(number);
    }
  }
  line.append(letters.slice(at).join(""));
  return line;
}
