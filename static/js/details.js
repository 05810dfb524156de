// The second half of the page: shares side by side, tags, confidence. Asked for after the first.
import { fill, gettext, locale, ngettext } from "./words.js";
const percent = new Intl.NumberFormat(locale, { style: "percent" });
const number = new Intl.NumberFormat(locale);

export class Details {
  constructor(box, categories, names) {
    Object.assign(this, { box, categories, names });
  }

  async load() {
    const answer = await fetch(`/live/details/${location.search}`, { headers: { Accept: "application/json" } });
    if (!answer.ok) return null;
    const told = await answer.json();
    this.show(told);
    return told;
  }

  show(told) {
    this.box.removeAttribute("aria-busy");
    this.box.querySelector("#sampled").textContent = told.sampled ? fill(gettext("All but streams are of the newest %(count)s posts."), { count: number.format(told.sampled) }) : "";
    this.#groups("by-stream", told.streams);
    this.#groups("by-language", told.languages.map((group) => ({ ...group, name: this.names(group.name) })));
    this.#groups("by-source", told.sources);
    this.#groups("hashtags", told.hashtags);
    this.#groups("emoji", told.emoji);
    this.#confidence(told.confidence);
  }

  #groups(id, groups) {
    const list = this.box.querySelector(`#${id} ol`);
    list.replaceChildren(...groups.map((group) => this.#bar(group, Math.max(...groups.map(total)))));
    this.box.querySelector(`#${id} .empty`).hidden = groups.length > 0;
  }

  #bar(group, largest) {
    const sum = total(group);
    const item = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = name.title = group.name;
    const count = document.createElement("span");
    count.textContent = number.format(sum);
    const bar = document.createElement("div");
    bar.className = "shares";
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", this.categories.map((c) => `${c.name} ${percent.format((group.counts[c.key] || 0) / (sum || 1))}`).join(", "));
    bar.title = bar.getAttribute("aria-label");
    bar.style.setProperty("--length", `${Math.max(12, Math.round((100 * sum) / (largest || 1)))}%`);
    for (const category of this.categories) {
      const part = document.createElement("i");
      part.dataset.category = category.key;
      part.style.flexGrow = group.counts[category.key] || 0;
      bar.append(part);
    }
    item.append(name, count, bar);
    return item;
  }

  #confidence(bins) {
    const box = this.box.querySelector("#confidence .histogram");
    const tenths = this.categories.length ? bins[this.categories[0].key].map((_, i) => i) : [];
    const sums = tenths.map((i) => this.categories.reduce((sum, c) => sum + bins[c.key][i], 0));
    const highest = Math.max(1, ...sums);
    box.replaceChildren(...tenths.map((i) => {
      const column = document.createElement("li");
      column.title = fill(ngettext("%(range)s %: %(count)s post", "%(range)s %: %(count)s posts", sums[i]), { range: `${10 * i}–${10 * (i + 1)}`, count: number.format(sums[i]) });
      const spoken = document.createElement("span");
      spoken.className = "hidden";
      spoken.textContent = column.title;
      const bar = document.createElement("div");
      bar.style.height = `${(100 * sums[i]) / highest}%`;
      for (const category of this.categories) {
        const part = document.createElement("i");
        part.dataset.category = category.key;
        part.style.flexGrow = bins[category.key][i];
        bar.append(part);
      }
      column.append(spoken, bar);
      return column;
    }));
  }
}

function total(group) {
  return Object.values(group.counts).reduce((sum, count) => sum + count, 0);
}
