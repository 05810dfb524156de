// The viewer's own time zone, which charts, tables and lists show; addresses and files are in UTC.
const locale = undefined;
export const zone = new Intl.DateTimeFormat(locale).resolvedOptions().timeZone || "UTC";
const minutes = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dated = new Intl.DateTimeFormat(locale, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const offsets = new Intl.DateTimeFormat(locale, { timeZoneName: "short" });

export const moments = {
  // "28 Nov, 01:15 – 02:15"; with the year where it is not this one.
  between(from, to) {
    const [start, end] = [new Date(from), new Date(to)];
    const isThisYear = [start, end].every((each) => each.getFullYear() === new Date().getFullYear());
    return (isThisYear ? minutes : dated).formatRange(start, end);
  },
};

// What clocks of the zone are called at a moment: "CET", or "GMT+1".
export function offsetName(moment) {
  return offsets.formatToParts(new Date(moment)).find((part) => part.type === "timeZoneName")?.value ?? "UTC";
}

// "Europe/Berlin (GMT+2, GMT+1)": every name that holds somewhere between the two.
export function zoneName(from, to) {
  const steps = 24;
  const names = Array.from({ length: steps + 1 }, (_, i) => offsetName(from + ((to - from) * i) / steps));
  const short = [...new Set(names)].join(", ");
  return short === zone ? zone : `${zone} (${short})`;
}
