// The pages about the model: charts from the figures in the page, times in the viewer's zone.
import { axisBetween } from "./zone.js";
import { locale, separators } from "./words.js";
const clock = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });

export function tellTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = Date.parse(time.dateTime);
    if (Number.isNaN(moment)) continue;
    time.title = new Date(moment).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC");
    time.textContent = clock.format(moment);
  }
}

const figures = new Map();

export function show(element, figure) {
  figures.set(element, figure);
  draw(element, figure);
}

// Colours are named in `meta`: the page's custom properties of the theme that is on.
function draw(element, figure) {
  const style = getComputedStyle(document.documentElement);
  const property = (name) => style.getPropertyValue(`--${name}`).trim();
  const colorOf = (name) => {
    const value = property(name);
    const inner = value.match(/^var\(--([\w-]+)\)$/);
    return inner ? property(inner[1]) : value;
  };
  const data = figure.data.map((trace) => {
    if (trace.meta?.scale) {
      return { ...trace, colorscale: [[0, property("ground")], [1, colorOf(trace.meta.scale)]] };
    }
    const color = colorOf(trace.meta?.color || "accent");
    return {
      ...trace,
      line: { ...trace.line, color: trace.type === "scatter" ? color : undefined },
      marker: { ...trace.marker, color },
      error_y: trace.error_y && { ...trace.error_y, color },
    };
  });
  const layout = structuredClone(figure.layout);
  const ink = property("soft");
  const line = property("line");
  layout.font = { color: ink, family: "inherit", size: 12 };
  layout.autosize = true;
  layout.separators = separators;
  if (layout.xaxis.type === "date") {
    Object.assign(layout.xaxis, timesOf(figure, element.clientWidth));
    layout.margin.b = 62;
  }
  for (const axis of ["xaxis", "yaxis", "yaxis2"]) {
    if (layout[axis]) Object.assign(layout[axis], { gridcolor: line, linecolor: line, zerolinecolor: line });
  }
  for (const shape of layout.shapes || []) shape.line = { color: property("ink"), width: 2, dash: "dot" };
  layout.hoverlabel = { bgcolor: property("card"), bordercolor: line, font: { color: property("ink") } };
  Plotly.react(element, data, layout, { displayModeBar: false, responsive: true });
}

// What names the moments of a figure by the viewer's clock.
function timesOf(figure, width) {
  const moments = figure.data.flatMap((trace) => trace.x).map((at) => Date.parse(at));
  return axisBetween(Math.min(...moments), Math.max(...moments), width);
}

// The vendored script is a classic one and deferred: it ran before this module.
for (const element of document.querySelectorAll("[data-figure]")) {
  show(element, JSON.parse(document.getElementById(element.dataset.figure).textContent));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [element, figure] of figures) draw(element, figure);
});
tellTimes();
