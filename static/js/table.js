// The chart's numbers as a table, for who cannot see or does not trust a chart.
import { netBand, signed } from "./net.js";
import { zoneName } from "./zone.js";
import { fill, gettext, locale } from "./words.js";

const number = new Intl.NumberFormat(locale);
const when = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });

export class BinTable {
  // `choose(time)` is called for the bin whose posts somebody wants to see.
  constructor(box, categories, timeline, choose) {
    Object.assign(this, { box, categories, timeline, choose });
    box.addEventListener("toggle", () => this.show());
  }

  show() {
    if (!this.box.open || !this.timeline.figure || this.box.contains(document.activeElement) && document.activeElement.tagName === "BUTTON") return;
    const traces = this.timeline.figure.data;
    const rows = traces[0].x.map((x, i) => ({ x, counts: Object.fromEntries(traces.map((t) => [t.meta, t.y[i]])) }));
    this.box.querySelector("thead th").textContent = fill(gettext("From, %(zone)s"), { zone: zoneName(Date.parse(rows[0].x), Date.parse(rows[rows.length - 1].x)) });
    const full = rows.filter((row) => Object.values(row.counts).some(Boolean)).reverse();
    this.box.querySelector("tbody").replaceChildren(...full.map((row) => this.#row(row)));
    this.box.querySelector(".empty").hidden = full.length > 0;
  }

  #row({ x, counts }) {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = when.format(new Date(x));
    button.setAttribute("aria-label", fill(gettext("Posts of %(time)s"), { time: button.textContent }));
    button.addEventListener("click", () => this.choose(x));
    head.append(button);
    const band = netBand(counts, this.categories);
    const sum = Object.values(counts).reduce((a, b) => a + b, 0);
    const cells = [...this.categories.map((c) => number.format(counts[c.key])), number.format(sum),
      band ? fill(gettext("%(value)s (%(low)s to %(high)s)"), { value: signed(band.mean), low: signed(band.low), high: signed(band.high) }) : "–"];
    line.append(head, ...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return line;
  }
}
