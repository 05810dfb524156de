// The viewer's own time zone, which charts, tables and lists show; addresses and files are in UTC.
// Charts stay on an axis of moments and only name them by the zone's clock: when clocks change, an
// hour is neither drawn twice in one place nor left out.
import { locale } from "./words.js";
const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const clock = new Intl.DateTimeFormat(locale, time);
const day = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" });
const month = new Intl.DateTimeFormat(locale, { month: "short", year: "numeric" });
const dayTime = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", ...time });
const yearTime = new Intl.DateTimeFormat(locale, { year: "numeric", day: "numeric", month: "short", ...time });
const offsets = new Intl.DateTimeFormat(locale, { timeZoneName: "short" });

const MINUTE = 60000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const MINUTES = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720];
const DAYS = [1, 2, 7, 14];
const MONTHS = [1, 2, 3, 6, 12, 24, 60];
// Every zone's clock differs from UTC by a multiple of this.
const QUARTER = 15;
const LABEL_WIDTH = 90;

// "28 Nov, 01:15 – 02:15"; with the year where it is not this one.
export function between(from, to) {
  const [start, end] = [new Date(from), new Date(to)];
  const thisYear = new Date().getFullYear();
  return ([start, end].every((each) => each.getFullYear() === thisYear) ? dayTime : yearTime).formatRange(start, end);
}

// What the zone's time is called at a moment: "CET", or "GMT+1".
export function offsetName(moment) {
  return offsets.formatToParts(new Date(moment)).find((part) => part.type === "timeZoneName")?.value ?? "UTC";
}

// "Europe/Berlin (GMT+2, GMT+1)": every name that holds between the two.
export function zoneName(from, to) {
  const names = Array.from({ length: 25 }, (_, i) => offsetName(from + ((to - from) * i) / 24));
  const short = [...new Set(names)].join(", ");
  return short === zone ? zone : `${zone} (${short})`;
}

// What Plotly's axis needs to name the moments between two by the zone's clock, on so many pixels.
export function axisBetween(from, to, width) {
  const found = ticks(from, to, Math.max(2, Math.floor(width / LABEL_WIDTH)));
  return {
    tickmode: "array",
    tickvals: found.map((tick) => new Date(tick.at).toISOString()),
    ticktext: found.map((tick) => tick.text),
    title: { text: zoneName(from, to), standoff: 6, font: { size: 11 } },
  };
}

// At most `most` moments that are round by the zone's clock, each with what it is called there.
export function ticks(from, to, most) {
  const span = to - from;
  const minutes = MINUTES.find((step) => span / (step * MINUTE) <= most);
  if (minutes) return named(clockTicks(from, to, minutes), (date) => clock.format(date), (date) => day.format(date));
  const days = DAYS.find((step) => span / (step * DAY) <= most);
  if (days) return named(dayTicks(from, to, days), (date) => day.format(date), (date) => String(date.getFullYear()));
  const months = MONTHS.find((step) => span / (step * 30 * DAY) <= most) ?? MONTHS[MONTHS.length - 1];
  return monthTicks(from, to, months).map((at) => ({ at, text: month.format(new Date(at)) }));
}

// The second line stands where it changes.
function named(moments, first, second) {
  let told = null;
  return moments.map((at) => {
    const date = new Date(at);
    const below = second(date);
    const text = below === told ? first(date) : `${first(date)}<br>${below}`;
    told = below;
    return { at, text };
  });
}

function clockTicks(from, to, minutes) {
  const unit = (minutes < QUARTER ? 1 : QUARTER) * MINUTE;
  const found = [];
  for (let at = Math.ceil(from / unit) * unit; at <= to; at += unit) {
    const date = new Date(at);
    if ((60 * date.getHours() + date.getMinutes()) % minutes === 0) found.push(at);
  }
  return found;
}

function dayTicks(from, to, days) {
  const first = new Date(from);
  const found = [];
  for (let i = 0; ; i += 1) {
    const date = new Date(first.getFullYear(), first.getMonth(), first.getDate() + i);
    if (date.getTime() > to) return found;
    // By the calendar, weeks from Monday: a window that moves on keeps its ticks.
    const number = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / DAY;
    if (date.getTime() >= from && (number + 3) % days === 0) found.push(date.getTime());
  }
}

function monthTicks(from, to, months) {
  const first = new Date(from);
  const found = [];
  for (let i = 0; ; i += 1) {
    const date = new Date(first.getFullYear(), first.getMonth() + i, 1);
    if (date.getTime() > to) return found;
    const number = 12 * date.getFullYear() + date.getMonth();
    if (date.getTime() >= from && number % months === 0) found.push(date.getTime());
  }
}
