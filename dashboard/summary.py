"""The view in one sentence: what a passer-by should take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboard.events import TermEvent
from dashboard.selectors import Comparison

# Up to these values of net sentiment the mood has the name.
MOODS = (
    (-0.4, "very negative"),
    (-0.15, "mostly negative"),
    (0.15, "mixed"),
    (0.4, "mostly positive"),
    (1.0, "very positive"),
)

# Of a view by languages or words.
NO_MATCH = "No post of this time range is in these languages with these words."


def mood(net: float | None) -> str:
    """A name for a net sentiment between −1 and 1."""
    if net is None:
        return "no posts yet"
    return next(name for limit, name in MOODS if net <= limit)


def headline(
    counts: dict[str, int], net: float | None, terms: Mapping[str, Sequence[TermEvent]]
) -> str:
    """One sentence: the mood, the largest share that explains it, and what it is about."""
    total = sum(counts.values())
    if not total or net is None:
        return "Waiting for the first posts."
    key = "negative" if net < 0 else "positive"
    share = counts.get(key, 0) / total
    words = [entry["word"] for entry in terms.get(key, [])[:4]]
    about = f", about {_join(words)}" if words else ""
    return f"The mood is {mood(net)}: {share:.0%} of {total:,} posts are {key}{about}."


SIDES = {
    "before": "in the period before",
    "since": "in the other period",
}


def verdict(told: Comparison) -> str:
    """A comparison in one sentence; whether what differs is more than noise."""
    net, where = told["net"], SIDES.get(told["kind"]) or f"in “{told['stream']}”"
    if net["difference"] is None or net["low"] is None or net["high"] is None:
        side = "here" if net["this"] is None else where
        return f"No post {side} was judged: there is nothing to compare."
    band = f"95 %: {_signed(net['low'])} to {_signed(net['high'])}"
    if net["is_noise"]:
        return (
            f"Net sentiment is about as {where}: the difference of {_signed(net['difference'])} "
            f"is within noise ({band})."
        )
    how = "higher" if net["difference"] > 0 else "lower"
    return f"Net sentiment is {abs(net['difference']):.2f} {how} than {where} ({band})."


def _signed(value: float) -> str:
    shown = f"{value:+.2f}"
    return shown[1:] if float(shown) == 0 else shown.replace("-", "−")


def _join(words: list[str]) -> str:
    quoted = [f"“{word}”" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
