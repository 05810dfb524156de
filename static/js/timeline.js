// The stacked chart: figure from the server, counts added as they arrive, outages shaded.
import { describe } from "./gaps.js";
import { netBand } from "./net.js";
import { besideTraces } from "./timeline_beside.js";
import { axisBetween, between } from "./zone.js";
import { fill, gettext, separators } from "./words.js";

const hoverBand = fill(gettext("%(value)s (95 %: %(low)s to %(high)s)"), { value: "%{y:+.2f}", low: "%{customdata[0]:+.2f}", high: "%{customdata[1]:+.2f}" });

export class Timeline {
  // `shown` are the keys of categories that the chart draws; `choose(time, side)` is told of a click.
  constructor(element, categories, shown, choose) {
    Object.assign(this, { element, categories, shown, choose });
    this.mode = "count";
    this.gaps = [];
    this.promotions = [];
    this.other = null;
    this.scheduled = false;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    addEventListener("resize", () => this.figure && this.schedule());
  }

  load(figure, binSeconds) {
    this.figure = figure;
    this.width = binSeconds * 1000;
    this.schedule();
  }

  mark(promotions) {
    this.promotions = promotions;
    if (this.figure) this.schedule();
  }

  // What a comparison told.
  beside(other) {
    this.other = other;
    if (this.figure) this.schedule();
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
    const drawn = this.figure.data.filter((trace) => this.shown.includes(trace.meta));
    const net = this.mode === "net";
    const data = net ? this.netTraces(bin, style) : drawn.map((trace) => {
      const color = style.getPropertyValue(`--${trace.meta}-fill`).trim() || trace.marker.color;
      if (!share) return { ...trace, ...bin, marker: { color } };
      // Shares as an area: an empty bin has no share, and is left out.
      const filled = trace.x.map((_, i) => i).filter((i) => drawn.some((t) => t.y[i] > 0));
      if (this.other) return this.shareLine(trace, { ...bin, line: { width: 2, color } });
      return {
        ...bin, type: "scatter", mode: "lines", stackgroup: "sentiment", groupnorm: "percent", name: trace.name,
        bins: filled, x: filled.map((i) => trace.x[i]), y: filled.map((i) => trace.y[i]),
        line: { width: 1, color }, fillcolor: `${color}c8`, hovertemplate: "%{y:.0f} %",
      };
    });
    if (this.other) data.push(...besideTraces(this.other, { mode: this.mode, width: this.width, style, categories: this.categories, shown: this.shown }).map((each) => ({ ...bin, ...each })));
    if (this.gaps.length) data.push({ ...bin, ...this.tellGaps() });
    data.unshift({ ...bin, ...this.tellTimes() });
    const layout = structuredClone(this.figure.layout);
    const marks = this.promotions.filter((each) => Date.parse(each.at) >= Date.parse(this.figure.data[0].x[0]));
    layout.annotations = marks.map((each) => ({
      x: utc(Date.parse(each.at)), y: 1, xref: "x", yref: "paper", text: `v${each.version}`, showarrow: false,
      xanchor: "left", yanchor: "top", font: { size: 11, color: soft }, hovertext: fill(gettext("Version %(version)s classifies from here on. %(reason)s"), each),
    }));
    if (!this.figure.data.some((trace) => this.shown.includes(trace.meta) && trace.y.some(Boolean))) layout.annotations.push({
      x: 0.5, y: 0.5, xref: "paper", yref: "paper", text: gettext("No posts in this time"), showarrow: false, font: { size: 14, color: soft },
    });
    layout.shapes = marks.map((each) => ({
      type: "line", xref: "x", yref: "paper", x0: utc(Date.parse(each.at)), x1: utc(Date.parse(each.at)), y0: 0, y1: 1,
      line: { color: soft, width: 1, dash: "dot" },
    })).concat(this.gaps.map((gap) => ({
      type: "rect", xref: "x", yref: "paper", layer: "below",
      ...this.edges(gap), y0: 0, y1: 1,
      fillcolor: style.getPropertyValue("--outage").trim(),
      line: { color: style.getPropertyValue("--outage-line").trim(), width: 1 },
    })));
    // Outages stretch no axis: it shows the range's bins.
    const { x } = this.figure.data[0];
    const ends = [Date.parse(x[0]), Date.parse(x[x.length - 1]) + this.width];
    layout.xaxis.range = ends.map(utc);
    Object.assign(layout.xaxis, axisBetween(...ends, this.element.clientWidth), { unifiedhovertitle: { text: " " } });
    layout.margin.b = 62;
    layout.separators = separators;
    layout.font = { color: soft, family: "inherit", size: 12 };
    Object.assign(layout.yaxis, { gridcolor: line, range: share ? [0, 100] : net ? [-1, 1] : undefined, ticksuffix: share ? " %" : "", zeroline: net, zerolinecolor: soft, tickformat: net ? "+.1f" : "" });
    layout.xaxis.linecolor = line;
    layout.hoverlabel = { bgcolor: style.getPropertyValue("--card").trim(), bordercolor: line, font: { color: style.getPropertyValue("--ink").trim() } };
    Plotly.react(this.element, data, layout, { displayModeBar: false, responsive: true });
    this.drawn = { data, layout };
    this.changed?.();
    if (this.listens) return;
    this.listens = true;
    this.element.on("plotly_click", (event) => this.choose(this.binOf(event.points[0]), event.points[0].data.side));
  }

  // When the bin of a clicked point begins: `x` may be in its middle, or of one left out.
  binOf(point) {
    const index = point.data.bins ? point.data.bins[point.pointNumber] : point.pointNumber;
    if (point.data.side === "other") return utc(Date.parse(this.other.other.start) + index * this.width);
    return this.figure.data[0].x[index];
  }

  // A share of all posts of its bin, as one line beside another side's.
  shareLine(trace, more) {
    const totals = trace.x.map((_, i) => this.figure.data.reduce((sum, t) => sum + t.y[i], 0));
    const bins = trace.x.map((_, i) => i).filter((i) => totals[i] > 0);
    return {
      type: "scatter", mode: "lines", name: trace.name, bins, x: bins.map((i) => trace.x[i]),
      y: bins.map((i) => (100 * trace.y[i]) / totals[i]), hovertemplate: "%{y:.0f} %", ...more,
    };
  }

  netTraces(bin, style) {
    const accent = style.getPropertyValue("--accent").trim();
    const { x } = this.figure.data[0];
    const rows = x.map((_, i) => netBand(Object.fromEntries(this.figure.data.map((t) => [t.meta, t.y[i]])), this.categories));
    const bins = x.map((_, i) => i).filter((i) => rows[i]);
    const line = (name, pick, more) => ({
      ...bin, type: "scatter", mode: "lines", name, bins, meta: "net", x: bins.map((i) => x[i]), y: bins.map((i) => pick(rows[i])),
      line: { width: 0, color: accent }, hoverinfo: "skip", ...more,
    });
    return [
      line("low", (row) => row.low),
      line("high", (row) => row.high, { fill: "tonexty", fillcolor: `${accent}33` }),
      line(gettext("Net"), (row) => row.mean, {
        mode: "lines+markers", line: { width: 2, color: accent }, marker: { size: 5, color: accent }, hoverinfo: "all",
        customdata: bins.map((i) => [rows[i].low, rows[i].high]), hovertemplate: hoverBand,
      }),
    ];
  }

  // What is drawn, on the page's ground, as a picture that goes into a report.
  download(name) {
    const style = getComputedStyle(document.documentElement);
    const layout = { ...structuredClone(this.drawn.layout), paper_bgcolor: style.getPropertyValue("--card").trim(), showlegend: this.mode !== "net", legend: { orientation: "h", y: 1.15 }, margin: { l: 60, r: 20, t: 40, b: 60 }, width: 1200, height: 520 };
    layout.font.family = "sans-serif";
    return Plotly.downloadImage({ data: this.drawn.data, layout }, { format: "png", width: 1200, height: 520, scale: 2, filename: name });
  }

  edges(gap) {
    return { x0: utc(Date.parse(gap.started_at)), x1: utc(gap.ended_at === null ? Date.now() : Date.parse(gap.ended_at)) };
  }

  // Says in the box of each bin when it was, by the viewer's clock; draws nothing.
  tellTimes() {
    const { x } = this.figure.data[0];
    return {
      type: "scatter", mode: "markers", marker: { opacity: 0, size: 1 }, meta: "times", name: "", showlegend: false,
      x, y: x.map(() => 0), text: x.map((each) => between(each, Date.parse(each) + this.width)), hovertemplate: "%{text}<extra></extra>",
    };
  }

  // Says in the box of each bin that an outage touches what it was; draws nothing.
  tellGaps() {
    const told = [];
    let index = -1;
    for (const x of this.figure.data[0].x) {
      index += 1;
      const from = Date.parse(x);
      const here = this.gaps.filter((gap) => Date.parse(gap.started_at) < from + this.width
        && (gap.ended_at === null || Date.parse(gap.ended_at) > from));
      if (here.length) told.push({ x, index, text: here.slice(0, 3).map(describe).join("<br>").replaceAll("; ", ";<br>") });
    }
    return {
      type: "scatter", mode: "markers", marker: { opacity: 0, size: 1 }, meta: "gaps", name: "", bins: told.map((t) => t.index), showlegend: false,
      x: told.map((t) => t.x), y: told.map(() => 0), text: told.map((t) => t.text), hovertemplate: "%{text}<extra></extra>",
    };
  }
}

function utc(moment) {
  return new Date(moment).toISOString();
}
