// What a comparison adds to the chart: the other side over the same bins.
import { netBand } from "./net.js";
import { fill, gettext } from "./words.js";

// `other` is a comparison as `dashboard.selectors.comparison` tells it, with a `name`. Its traces
// know by `side` that their points are of the other side.
export function besideTraces(other, { mode, width, style, categories, shown }) {
  const first = Date.parse(other.this.start);
  const color = style.getPropertyValue("--other").trim();
  const keys = Object.keys(other.bins);
  const last = Date.parse(other.other.end) + 1000 * other.shift_seconds;
  // After its end the other side has no zeros: it has nothing.
  const bins = other.bins[keys[0]].map((_, i) => i).filter((i) => first + i * width < last);
  const counts = (i) => Object.fromEntries(keys.map((key) => [key, other.bins[key][i]]));
  const total = (i) => keys.reduce((sum, key) => sum + other.bins[key][i], 0);
  const trace = (among, pick, more) => ({
    type: "scatter", mode: "lines", name: other.name, side: "other", meta: "other", bins: among,
    x: among.map((i) => new Date(first + i * width).toISOString()), y: among.map(pick),
    line: { width: 2, dash: "dash", color }, ...more,
  });
  if (mode === "count") return [trace(bins, total, { hovertemplate: "%{y}" })];
  const filled = bins.filter((i) => total(i) > 0);
  if (mode === "share") {
    return categories.filter((c) => shown.includes(c.key)).map((category) => trace(filled, (i) => (100 * other.bins[category.key][i]) / total(i), {
      name: `${category.name}, ${other.name}`, hovertemplate: "%{y:.0f} %",
      line: { width: 2, dash: "dash", color: style.getPropertyValue(`--${category.key}-fill`).trim() || category.color },
    }));
  }
  const bands = new Map(filled.map((i) => [i, netBand(counts(i), categories)]));
  const known = filled.filter((i) => bands.get(i));
  const edge = (name, more) => trace(known, (i) => bands.get(i)[name], { name: `other ${name}`, line: { width: 0, color }, hoverinfo: "skip", ...more });
  return [
    edge("low"),
    edge("high", { fill: "tonexty", fillcolor: `${color}2b` }),
    trace(known, (i) => bands.get(i).mean, {
      mode: "lines+markers", marker: { size: 5, color },
      customdata: known.map((i) => [bands.get(i).low, bands.get(i).high]),
      hovertemplate: fill(gettext("%(value)s (95 %: %(low)s to %(high)s)"), { value: "%{y:+.2f}", low: "%{customdata[0]:+.2f}", high: "%{customdata[1]:+.2f}" }),
    }),
  ];
}
