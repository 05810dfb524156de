// The panel of sources: status in words, why, what comes, what the month has used.
import { fill, gettext, locale, ngettext } from "./words.js";
const number = new Intl.NumberFormat(locale);
const percent = new Intl.NumberFormat(locale, { style: "percent" });
const bytes = new Intl.NumberFormat(locale, { style: "unit", unit: "kilobyte", maximumFractionDigits: 0 });
const HIGH = 0.8;
// What the server says to viewers of every language at once.
const WORDS = {
  "not streamed yet": gettext("not streamed yet"),
  "not streamed: its process is gone": gettext("not streamed: its process is gone"),
  disconnected: gettext("disconnected"),
  connecting: gettext("connecting"),
  connected: gettext("connected"),
  "idle: nothing to follow": gettext("idle: nothing to follow"),
  "waiting to reconnect": gettext("waiting to reconnect"),
  stopped: gettext("stopped"),
  "failed: needs attention": gettext("failed: needs attention"),
};

export class SourceList {
  constructor(box, list) {
    Object.assign(this, { box, list });
    this.sources = [];
    setInterval(() => this.show(), 1000);
  }

  load(sources) {
    this.sources = sources;
    this.show();
  }

  show() {
    // Who copies an error message keeps it marked.
    const marked = getSelection();
    if (!marked.isCollapsed && this.list.contains(marked.anchorNode)) return;
    this.box.hidden = !this.sources.length;
    this.list.replaceChildren(...this.sources.map(item));
  }
}

function item(source) {
  const entry = document.createElement("li");
  entry.className = "source";
  entry.dataset.status = source.status;
  const state = document.createElement("div");
  state.className = "state";
  const name = document.createElement("strong");
  name.textContent = source.name;
  state.append(element("span", "dot"), name, element("span", "", WORDS[source.words] ?? source.words));
  entry.append(state);
  const isAway = !["connected", "idle", "stopped"].includes(source.status);
  if (source.reason && isAway) entry.append(element("p", "reason", source.reason));
  entry.append(element("p", "", facts(source).join(" · ")));
  for (const held of source.held) entry.append(element("p", "reason", fill(gettext("Held: %(stream)s"), { stream: held })));
  if (source.used !== null) entry.append(spend(source));
  return entry;
}

function facts(source) {
  const told = [fill(gettext("%(count)s posts/min"), { count: number.format(source.rate) })];
  if (source.last_event_at) told.push(fill(gettext("heard %(span)s ago"), { span: span(-since(source.last_event_at)) }));
  if (source.next_attempt_at && since(source.next_attempt_at) > 0) told.push(fill(gettext("next attempt in %(span)s"), { span: span(since(source.next_attempt_at)) }));
  if (source.waiting_bytes) told.push(fill(gettext("%(size)s wait for the database"), { size: bytes.format(Math.ceil(source.waiting_bytes / 1000)) }));
  return told;
}

function spend(source) {
  const box = element("div", "spend");
  if (source.budget === null) {
    box.textContent = fill(ngettext("%(count)s post read this month", "%(count)s posts read this month", source.used), { count: number.format(source.used) });
    return box;
  }
  const share = source.used / source.budget;
  const bar = element("div", "bar");
  bar.dataset.high = String(share >= HIGH);
  const used = document.createElement("i");
  used.style.width = `${Math.min(100, 100 * share)}%`;
  bar.append(used);
  box.append(bar, fill(gettext("%(used)s of %(budget)s posts (%(share)s)"), { used: number.format(source.used), budget: number.format(source.budget), share: percent.format(share) }));
  return box;
}

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = text;
  return made;
}

// Seconds from now; negative for what is past.
function since(moment) {
  return (Date.parse(moment) - Date.now()) / 1000;
}

function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  if (whole < 5400) return `${Math.round(whole / 60)} min`;
  if (whole < 172800) return `${Math.round(whole / 3600)} h`;
  return fill(ngettext("%(count)s day", "%(count)s days", Math.round(whole / 86400)), { count: Math.round(whole / 86400) });
}
