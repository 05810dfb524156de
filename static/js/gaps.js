// Outages of sources: in words below the chart, and for the chart to shade.
import { offsetName } from "./zone.js";

const SHOWN = 4;
const LIMIT = 100;
const BLINK = 1000;
const DAY = 86400000;
const percent = new Intl.NumberFormat(undefined, { style: "percent" });
const number = new Intl.NumberFormat();
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

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

  // `view` is what the page shows: its sources (null for all) and its time.
  load(gaps, view) {
    this.gaps = new Map(gaps.map((gap) => [gap.id, gap]));
    this.move(view);
  }

  add(gaps) {
    if (!gaps.length) return;
    for (const gap of gaps) this.gaps.set(gap.id, gap);
    this.move(this.view);
  }

  // Outages that the view has left behind go.
  move(view) {
    this.view = view;
    for (const [id, gap] of this.gaps) if (!this.isInView(gap)) this.gaps.delete(id);
    this.show();
  }

  // Whether an outage goes on, so that its shade grows with time alone.
  get isOpen() {
    return [...this.gaps.values()].some((gap) => gap.ended_at === null);
  }

  isInView(gap) {
    if (this.view.sources !== null && !this.view.sources.includes(gap.source)) return false;
    if (isBlink(gap)) return false;
    const [start, end] = [Date.parse(this.view.start), Date.parse(this.view.end)];
    // A view goes on after it was asked for, but not that of all posts when they are old.
    if (this.view.range === "all" && Date.now() - end > DAY && Date.parse(gap.started_at) > end) return false;
    return gap.ended_at === null || Date.parse(gap.ended_at) >= start;
  }

  show() {
    const newest = [...this.gaps.values()].sort((a, b) => Date.parse(b.started_at) - Date.parse(a.started_at)).slice(0, LIMIT);
    this.gaps = new Map(newest.map((gap) => [gap.id, gap]));
    const items = newest.map(item);
    this.box.hidden = this.legend.hidden = !items.length;
    this.list.replaceChildren(...items.slice(0, SHOWN));
    this.more.hidden = items.length <= SHOWN;
    this.more.querySelector("summary").textContent = `${number.format(items.length - SHOWN)} earlier`;
    this.more.querySelector("ul").replaceChildren(...items.slice(SHOWN));
    this.changed(newest);
  }
}

// A reconnection that missed nothing.
function isBlink(gap) {
  return gap.state === "filled" && Date.parse(gap.ended_at) - Date.parse(gap.started_at) < BLINK;
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

// "X was away 12:03–12:07 CET (network); 85 % got back"
export function describe(gap) {
  const cause = `(${gap.cause})`;
  const from = moment(gap.started_at);
  if (gap.ended_at === null) return `${gap.name} is away since ${from.day}${from.time} ${offsetName(gap.started_at)} ${cause}`;
  const to = moment(gap.ended_at);
  let [began, ended] = [from.time, to.time];
  if (began === ended && from.day === to.day) [began, ended] = [from.exact, to.exact];
  return `${gap.name} was away ${from.day}${began}–${to.day === from.day ? "" : to.day}${ended} ${offsetName(gap.ended_at)} ${cause}; ${outcome(gap)}`;
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
