// The stacked chart: figure from the server, counts added as they arrive, outages shaded.
import { describe } from "./gaps.js";

export class Timeline {
  constructor(element, categories) {
    this.element = element;
    this.categories = categories;
    this.mode = "count";
    this.gaps = [];
    this.scheduled = false;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  load(figure, binSeconds) {
    this.figure = figure;
    this.width = binSeconds * 1000;
    this.schedule();
  }

  // Newest first.
  shade(gaps) {
    this.gaps = gaps;
    if (this.figure) this.schedule();
  }

  // Adds counts to their bins, or takes them off; a bin to the right of the last one is appended
  // to every trace.
  add(counts) {
    const first = Date.parse(this.figure.data[0].x[0]);
    for (const { minute, category, count } of counts) {
      const index = Math.floor((Date.parse(minute) - first) / this.width);
      if (index < 0 || index > this.figure.data[0].x.length + 500) continue;
      while (this.figure.data[0].x.length <= index) {
        const next = new Date(first + this.width * this.figure.data[0].x.length).toISOString();
        for (const trace of this.figure.data) {
          trace.x.push(next);
          trace.y.push(0);
        }
      }
      const { y } = this.figure.data.find((trace) => trace.meta === category);
      y[index] = Math.max(0, y[index] + count);
    }
    this.schedule();
  }

  show(mode) {
    this.mode = mode;
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    const soft = style.getPropertyValue("--soft").trim();
    const line = style.getPropertyValue("--line").trim();
    const share = this.mode === "share";
    // A bar stands over its bin, from `x` on: where the axis, and an outage's shade, put that time.
    const bin = { xperiod: this.width, xperiod0: this.figure.data[0].x[0], xperiodalignment: "middle" };
    const data = this.figure.data.map((trace) => {
      const color = style.getPropertyValue(`--${trace.meta}-fill`).trim() || trace.marker.color;
      if (!share) return { ...trace, ...bin, marker: { color } };
      // Shares as an area: an empty bin has no share, and is left out.
      const filled = trace.x.map((_, i) => i).filter((i) => this.figure.data.some((t) => t.y[i] > 0));
      return {
        ...bin, type: "scatter", mode: "lines", stackgroup: "sentiment", groupnorm: "percent", name: trace.name,
        x: filled.map((i) => trace.x[i]), y: filled.map((i) => trace.y[i]),
        line: { width: 1, color }, fillcolor: `${color}c8`, hovertemplate: "%{y:.0f} %",
      };
    });
    if (this.gaps.length) data.push({ ...bin, ...this.tellGaps() });
    const layout = structuredClone(this.figure.layout);
    layout.shapes = this.gaps.map((gap) => ({
      type: "rect", xref: "x", yref: "paper", layer: "below",
      ...this.edges(gap), y0: 0, y1: 1,
      fillcolor: style.getPropertyValue("--outage").trim(),
      line: { color: style.getPropertyValue("--outage-line").trim(), width: 1 },
    }));
    // Outages stretch no axis: it shows the range's bins.
    const { x } = this.figure.data[0];
    layout.xaxis.range = [x[0], Date.parse(x[x.length - 1]) + this.width].map(utc);
    layout.font = { color: soft, family: "inherit", size: 12 };
    Object.assign(layout.yaxis, { gridcolor: line, range: share ? [0, 100] : undefined, ticksuffix: share ? " %" : "" });
    layout.xaxis.linecolor = line;
    layout.hoverlabel = { bgcolor: style.getPropertyValue("--card").trim(), bordercolor: line, font: { color: style.getPropertyValue("--ink").trim() } };
    Plotly.react(this.element, data, layout, { displayModeBar: false, responsive: true });
  }

  edges(gap) {
    return { x0: utc(Date.parse(gap.started_at)), x1: utc(gap.ended_at === null ? Date.now() : Date.parse(gap.ended_at)) };
  }

  // Says in the box of each bin that an outage touches what it was; draws nothing.
  tellGaps() {
    const told = [];
    for (const x of this.figure.data[0].x) {
      const from = Date.parse(x);
      const here = this.gaps.filter((gap) => Date.parse(gap.started_at) < from + this.width
        && (gap.ended_at === null || Date.parse(gap.ended_at) > from));
      if (here.length) told.push({ x, text: here.slice(0, 3).map(describe).join("<br>").replaceAll("; ", ";<br>") });
    }
    return {
      type: "scatter", mode: "markers", marker: { opacity: 0, size: 1 }, meta: "gaps", name: "",
      x: told.map((t) => t.x), y: told.map(() => 0), text: told.map((t) => t.text), hovertemplate: "%{text}<extra></extra>",
    };
  }
}

function utc(moment) {
  return new Date(moment).toISOString();
}
