// Outages of sources: in words below the chart, and for the chart to shade.
const SHOWN = 4;
const percent = new Intl.NumberFormat(undefined, { style: "percent" });
const number = new Intl.NumberFormat();
// The chart's axis is in UTC too.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", timeZone: "UTC", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC", hourCycle: "h23" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });

const OUTCOMES = {
  pending: "to be filled",
  unrecoverable: "cannot be got back",
  left: "not filled: stopped on purpose",
};

export class GapList {
  constructor({ box, list, more, legend }, changed) {
    Object.assign(this, { box, list, more, legend, changed });
    this.gaps = new Map();
  }

  // `view` is what the page shows: its source (null for all) and where it begins.
  load(gaps, view) {
    this.view = view;
    this.gaps = new Map(gaps.map((gap) => [gap.id, gap]));
    this.show();
  }

  add(gaps) {
    const mine = gaps.filter((gap) => this.isInView(gap));
    for (const gap of mine) this.gaps.set(gap.id, gap);
    if (mine.length) this.show();
  }

  // Whether an outage goes on, so that its shade grows with time alone.
  get isOpen() {
    return [...this.gaps.values()].some((gap) => gap.ended_at === null);
  }

  isInView(gap) {
    if (this.view.source !== null && this.view.source !== gap.source) return false;
    return gap.ended_at === null || Date.parse(gap.ended_at) >= Date.parse(this.view.start);
  }

  show() {
    const newest = [...this.gaps.values()].sort((a, b) => Date.parse(b.started_at) - Date.parse(a.started_at));
    const items = newest.map(item);
    this.box.hidden = this.legend.hidden = !items.length;
    this.list.replaceChildren(...items.slice(0, SHOWN));
    this.more.hidden = items.length <= SHOWN;
    this.more.querySelector("summary").textContent = `${number.format(items.length - SHOWN)} earlier`;
    this.more.querySelector("ul").replaceChildren(...items.slice(SHOWN));
    this.changed(newest);
  }
}

function item(gap) {
  const entry = document.createElement("li");
  if (gap.ended_at === null) entry.className = "open";
  const told = [gap.detail, gap.note].filter(Boolean).join(" ");
  const detail = document.createElement("span");
  detail.textContent = told && ` ${told}`;
  entry.append(`${describe(gap)}.`, detail);
  return entry;
}

// "X was away 12:03–12:07 UTC (network); 85 % got back"
export function describe(gap) {
  const cause = `(${gap.cause})`;
  const from = moment(gap.started_at);
  if (gap.ended_at === null) return `${gap.name} is away since ${from.day}${from.time} UTC ${cause}`;
  const to = moment(gap.ended_at);
  let [began, ended] = [from.time, to.time];
  if (began === ended && from.day === to.day) [began, ended] = [from.exact, to.exact];
  return `${gap.name} was away ${from.day}${began}–${to.day === from.day ? "" : to.day}${ended} UTC ${cause}; ${outcome(gap)}`;
}

function outcome(gap) {
  const by = gap.filled_by && ` (${gap.filled_by})`;
  if (gap.state === "open") return "what was missed is coming";
  if (gap.state === "filling") return `being filled, ${number.format(gap.recovered)} posts got back so far`;
  if (gap.state === "filled") return `all got back${by}`;
  if (gap.state === "partial" && gap.completeness !== null) return `${percent.format(gap.completeness)} got back${by}`;
  if (gap.state === "partial") return `${number.format(gap.recovered)} posts got back${by}`;
  return OUTCOMES[gap.state] || gap.state;
}

function moment(text) {
  const when = new Date(text);
  const isToday = date.format(when) === date.format(new Date());
  return { day: isToday ? "" : `${date.format(when)} `, time: clock.format(when), exact: exact.format(when) };
}
