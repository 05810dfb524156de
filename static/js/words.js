// Words, numbers and dates in the page's language. The catalog ran before this module.
const told = document.documentElement.lang || "en";

export const { gettext, ngettext, pgettext } = globalThis.django;

// The browser's own variant of the page's language, as en-GB of en, for the way of numbers and dates.
export const locale = navigator.languages.find((each) => each.toLowerCase().split("-")[0] === told) ?? told;

// "%(count)s posts" with its parts put in.
export function fill(text, parts) {
  return text.replace(/%\((\w+)\)s/g, (_, name) => String(parts[name]));
}

// How Plotly is told to write numbers: the decimal sign, and what sets thousands apart.
const parts = new Intl.NumberFormat(locale).formatToParts(12345.6);
export const separators = ["decimal", "group"].map((type) => parts.find((part) => part.type === type)?.value ?? "").join("");
