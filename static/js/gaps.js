// Outages of sources: in words below the chart, and for the chart to shade.
import { offsetName } from "./zone.js";
import { fill, gettext, locale, ngettext } from "./words.js";

const SHOWN = 4;
const LIMIT = 100;
const BLINK = 1000;
const DAY = 86400000;
const percent = new Intl.NumberFormat(locale, { style: "percent" });
const number = new Intl.NumberFormat(locale);
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const date = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" });

const OUTCOMES = {
  pending: gettext("to be filled"),
  unrecoverable: gettext("cannot be got back"),
  left: gettext("not filled: stopped on purpose"),
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
    this.more.querySelector("summary").textContent = fill(gettext("%(count)s earlier"), { count: number.format(items.length - SHOWN) });
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
  if (gap.ended_at === null) return fill(gettext("%(source)s is away since %(from)s %(zone)s %(cause)s"), { source: gap.name, from: `${from.day}${from.time}`, zone: offsetName(gap.started_at), cause });
  const to = moment(gap.ended_at);
  let [began, ended] = [from.time, to.time];
  if (began === ended && from.day === to.day) [began, ended] = [from.exact, to.exact];
  const span = `${from.day}${began}–${to.day === from.day ? "" : to.day}${ended}`;
  return fill(gettext("%(source)s was away %(span)s %(zone)s %(cause)s; %(outcome)s"), { source: gap.name, span, zone: offsetName(gap.ended_at), cause, outcome: outcome(gap) });
}

function outcome(gap) {
  const by = gap.filled_by && ` (${gap.filled_by})`;
  if (gap.state === "open") return gettext("what was missed is coming");
  if (gap.state === "filling") return fill(ngettext("being filled, %(count)s post got back so far", "being filled, %(count)s posts got back so far", gap.recovered), { count: number.format(gap.recovered) });
  if (gap.state === "filled") return gettext("all got back") + by;
  if (gap.state === "partial" && gap.completeness !== null) return fill(gettext("%(share)s got back"), { share: percent.format(gap.completeness) }) + by;
  if (gap.state === "partial") return fill(ngettext("%(count)s post got back", "%(count)s posts got back", gap.recovered), { count: number.format(gap.recovered) }) + by;
  return OUTCOMES[gap.state] || gap.state;
}

function moment(text) {
  const when = new Date(text);
  const isToday = date.format(when) === date.format(new Date());
  return { day: isToday ? "" : `${date.format(when)} `, time: clock.format(when), exact: exact.format(when) };
}
