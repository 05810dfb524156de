// The panel of sources: status in words, why, what comes, what the month has used.
const number = new Intl.NumberFormat();
const percent = new Intl.NumberFormat(undefined, { style: "percent" });
const bytes = new Intl.NumberFormat(undefined, { style: "unit", unit: "kilobyte", maximumFractionDigits: 0 });
const HIGH = 0.8;

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
  state.append(element("span", "dot"), name, element("span", "", source.words));
  entry.append(state);
  const isAway = !["connected", "idle", "stopped"].includes(source.status);
  if (source.reason && isAway) entry.append(element("p", "reason", source.reason));
  entry.append(element("p", "", facts(source).join(" · ")));
  for (const held of source.held) entry.append(element("p", "reason", `Held: ${held}`));
  if (source.used !== null) entry.append(spend(source));
  return entry;
}

function facts(source) {
  const told = [`${number.format(source.rate)} posts/min`];
  if (source.last_event_at) told.push(`heard ${span(-since(source.last_event_at))} ago`);
  if (source.next_attempt_at && since(source.next_attempt_at) > 0) told.push(`next attempt in ${span(since(source.next_attempt_at))}`);
  if (source.waiting_bytes) told.push(`${bytes.format(Math.ceil(source.waiting_bytes / 1000))} wait for the database`);
  return told;
}

function spend(source) {
  const box = element("div", "spend");
  if (source.budget === null) {
    box.textContent = `${number.format(source.used)} posts read this month`;
    return box;
  }
  const share = source.used / source.budget;
  const bar = element("div", "bar");
  bar.dataset.high = String(share >= HIGH);
  const fill = document.createElement("i");
  fill.style.width = `${Math.min(100, 100 * share)}%`;
  bar.append(fill);
  box.append(bar, `${number.format(source.used)} of ${number.format(source.budget)} posts (${percent.format(share)})`);
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
  return `${Math.round(whole / 86400)} days`;
}
