// The view held against another stream or time: both sides, how far apart, and what sets them apart.
import { signed } from "./net.js";
import { between } from "./zone.js";
import { fill, gettext, locale, ngettext } from "./words.js";

const number = new Intl.NumberFormat(locale);
const percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });

export class Comparison {
  // `told(comparison)` is called with what was read, for the chart.
  constructor(box, categories, own, told) {
    Object.assign(this, { box, categories, own, told });
  }

  async load() {
    const answer = await fetch(`/live/compare/${location.search}`, { headers: { Accept: "application/json" } }).catch(() => null);
    this.box.removeAttribute("aria-busy");
    if (!answer?.ok) {
      this.#say(gettext("The comparison cannot be read now. It is asked for again with the next posts."));
      return;
    }
    this.show(await answer.json());
  }

  show(told) {
    const names = this.#names(told);
    this.box.querySelector("#compare-with").textContent = names.other;
    this.box.querySelector("#side-this").textContent = names.this;
    this.box.querySelector("#side-other").textContent = names.other;
    this.#say(told.verdict);
    this.#rows(told);
    for (const side of ["this", "other"]) {
      const box = this.box.querySelector(`#apart-${side}`);
      box.querySelector("h3").textContent = fill(gettext("More in %(side)s"), { side: names[side] });
      const terms = [...told.hashtags[side], ...told.words[side].filter((word) => !told.hashtags[side].some((tag) => tag.word === word.word))].sort((a, b) => b.z - a.z).slice(0, 12);
      const strongest = Math.max(1, ...terms.map((term) => term.z));
      box.querySelector("ol").replaceChildren(...terms.map((term) => line(term, strongest)));
      box.querySelector(".empty").hidden = terms.length > 0;
    }
    this.box.querySelector("#compare-sampled").textContent = fill(gettext("Words are of the newest %(here)s and %(there)s posts. Bands hold as far as posts are independent of each other."), { here: number.format(told.this.sampled), there: number.format(told.other.sampled) });
    this.told({ ...told, name: names.other });
  }

  #names(told) {
    if (told.kind === "stream") return { this: this.own, other: told.stream };
    return { this: between(told.this.start, told.this.end), other: between(told.other.start, told.other.end) };
  }

  // A status is announced when it changes, and only then.
  #say(text) {
    const verdict = this.box.querySelector("#verdict");
    if (verdict.textContent !== text) verdict.textContent = text;
  }

  #rows(told) {
    const shares = this.categories.filter((c) => told.shares[c.key]).map((c) => this.#row(c.name, told.shares[c.key], asShare, c.key));
    const posts = row(gettext("Posts"), [number.format(told.this.total), number.format(told.other.total), "", ""]);
    this.box.querySelector("tbody").replaceChildren(this.#row(gettext("Net sentiment"), told.net, asNet), ...shares, posts);
  }

  #row(name, apart, { value, difference, scale }, category) {
    const known = apart.difference !== null;
    const line = row(name, [
      apart.this === null ? "–" : value(apart.this), apart.other === null ? "–" : value(apart.other),
      known ? fill(gettext("%(value)s (%(low)s to %(high)s)"), { value: difference(apart.difference), low: difference(apart.low), high: difference(apart.high) }) : "–",
      known ? (apart.is_noise ? gettext("within noise") : apart.difference > 0 ? gettext("higher") : gettext("lower")) : "–",
    ], category);
    line.dataset.noise = String(apart.is_noise);
    if (known) line.children[3].append(span(apart, scale));
    return line;
  }
}

const asNet = { value: signed, difference: signed, scale: 1 };
const asShare = { value: (share) => percent.format(share), difference: (share) => fill(gettext("%(count)s pts"), { count: signed(100 * share, 1) }), scale: 0.5 };

function row(name, cells, category) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  if (category) {
    line.dataset.category = category;
    head.append(Object.assign(document.createElement("span"), { className: "mark" }), " ");
  }
  head.append(name);
  line.append(head, ...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return line;
}

// The band drawn about a line at no difference.
function span(apart, scale) {
  const place = (value) => 50 + 50 * Math.max(-1, Math.min(1, value / scale));
  const box = document.createElement("div");
  box.className = "span";
  box.setAttribute("aria-hidden", "true");
  const band = document.createElement("i");
  band.style.left = `${place(apart.low)}%`;
  band.style.width = `${Math.max(1, place(apart.high) - place(apart.low))}%`;
  box.append(band);
  return box;
}

function line(term, strongest) {
  const item = document.createElement("li");
  item.className = "term";
  item.style.setProperty("--width", `${Math.round((100 * term.z) / strongest)}%`);
  item.title = fill(ngettext("in %(count)s post", "in %(count)s posts", term.count), { count: number.format(term.count) });
  item.append(Object.assign(document.createElement("b"), { textContent: term.word }), Object.assign(document.createElement("span"), { textContent: number.format(term.count) }));
  return item;
}
