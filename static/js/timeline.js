// The stacked chart: figure from the server, counts added as they arrive.
export class Timeline {
  constructor(element, categories) {
    this.element = element;
    this.categories = categories;
    this.mode = "count";
    this.scheduled = false;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  load(figure, binSeconds) {
    this.figure = figure;
    this.width = binSeconds * 1000;
    this.schedule();
  }

  // Adds counts to their bins; a bin to the right of the last one is appended to every trace.
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
      this.figure.data.find((trace) => trace.meta === category).y[index] += count;
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
    const data = this.figure.data.map((trace) => {
      const color = style.getPropertyValue(`--${trace.meta}-fill`).trim() || trace.marker.color;
      if (!share) return { ...trace, marker: { color } };
      // Shares as an area: an empty bin has no share, and is left out.
      const filled = trace.x.map((_, i) => i).filter((i) => this.figure.data.some((t) => t.y[i] > 0));
      return {
        type: "scatter", mode: "lines", stackgroup: "sentiment", groupnorm: "percent", name: trace.name,
        x: filled.map((i) => trace.x[i]), y: filled.map((i) => trace.y[i]),
        line: { width: 1, color }, fillcolor: `${color}c8`, hovertemplate: "%{y:.0f} %",
      };
    });
    const layout = structuredClone(this.figure.layout);
    layout.font = { color: soft, family: "inherit", size: 12 };
    Object.assign(layout.yaxis, { gridcolor: line, range: share ? [0, 100] : undefined, ticksuffix: share ? " %" : "" });
    layout.xaxis.linecolor = line;
    layout.hoverlabel = { bgcolor: style.getPropertyValue("--card").trim(), bordercolor: line, font: { color: style.getPropertyValue("--ink").trim() } };
    Plotly.react(this.element, data, layout, { displayModeBar: false, responsive: true });
  }
}
