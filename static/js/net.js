// Net sentiment with its 95 % band, as `dashboard.selectors.net_band` counts it.
import { locale } from "./words.js";
const Z = 1.96;

export function netBand(counts, categories) {
  const known = categories.filter((c) => c.polarity !== null);
  const total = known.reduce((sum, c) => sum + (counts[c.key] || 0), 0);
  if (!total) return null;
  const mean = known.reduce((sum, c) => sum + c.polarity * (counts[c.key] || 0), 0) / total;
  const size = total + known.length;
  const moved = known.map((c) => [c.polarity, (counts[c.key] || 0) + 1]);
  const centre = moved.reduce((sum, [p, n]) => sum + p * n, 0) / size;
  const spread = moved.reduce((sum, [p, n]) => sum + (p - centre) ** 2 * n, 0) / size;
  const half = Z * Math.sqrt(spread / size);
  return { mean, low: Math.max(-1, mean - half), high: Math.min(1, mean + half) };
}

// With its sign, but for what is shown as nought.
export function signed(value, digits = 2) {
  const shown = Number(value.toFixed(digits));
  return (shown > 0 ? "+" : shown < 0 ? "−" : "") + decimals(Math.abs(shown), digits);
}

export function decimals(value, digits) {
  return value.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false });
}
