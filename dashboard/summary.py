"""The view in one sentence: what a passer-by should take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from dashboard.events import TermEvent
from dashboard.languages import number, per_cent
from dashboard.selectors import Comparison

# Up to these values of net sentiment the mood has the name.
MOODS = (
    (-0.4, _("very negative")),
    (-0.15, _("mostly negative")),
    (0.15, _("mixed")),
    (0.4, _("mostly positive")),
    (1.0, _("very positive")),
)

# Of a view by languages or words.
NO_MATCH = _("No post of this time range is in these languages with these words.")


def mood(net: float | None) -> str:
    """A name for a net sentiment between −1 and 1."""
    if net is None:
        return gettext("no posts yet")
    return str(next(name for limit, name in MOODS if net <= limit))


def headline(
    counts: dict[str, int], net: float | None, terms: Mapping[str, Sequence[TermEvent]]
) -> str:
    """One sentence: the mood, the largest share that explains it, and what it is about."""
    total = sum(counts.values())
    if not total or net is None:
        return gettext("Waiting for the first posts.")
    key = "negative" if net < 0 else "positive"
    words = [entry["word"] for entry in terms.get(key, [])[:4]]
    return _sentence(key, bool(words), total) % {
        "mood": mood(net),
        "share": per_cent(counts.get(key, 0) / total),
        "total": number(total),
        "words": _join(words),
    }


def _sentence(key: str, names_words: bool, total: int) -> str:
    if key == "negative" and names_words:
        return ngettext(
            "The mood is %(mood)s: %(share)s of %(total)s post is negative, about %(words)s.",
            "The mood is %(mood)s: %(share)s of %(total)s posts are negative, about %(words)s.",
            total,
        )
    if key == "negative":
        return ngettext(
            "The mood is %(mood)s: %(share)s of %(total)s post is negative.",
            "The mood is %(mood)s: %(share)s of %(total)s posts are negative.",
            total,
        )
    if names_words:
        return ngettext(
            "The mood is %(mood)s: %(share)s of %(total)s post is positive, about %(words)s.",
            "The mood is %(mood)s: %(share)s of %(total)s posts are positive, about %(words)s.",
            total,
        )
    return ngettext(
        "The mood is %(mood)s: %(share)s of %(total)s post is positive.",
        "The mood is %(mood)s: %(share)s of %(total)s posts are positive.",
        total,
    )


SIDES = {
    "before": _("in the period before"),
    "since": _("in the other period"),
}


def verdict(told: Comparison) -> str:
    """A comparison in one sentence; whether what differs is more than noise."""
    net = told["net"]
    where = SIDES.get(told["kind"]) or gettext("in “%(stream)s”") % {"stream": told["stream"]}
    if net["difference"] is None or net["low"] is None or net["high"] is None:
        return _nothing(here=net["this"] is None) % {"where": where}
    parts = {
        "where": where,
        "low": _signed(net["low"]),
        "high": _signed(net["high"]),
        "difference": _signed(net["difference"]),
        "distance": number(abs(net["difference"]), 2),
    }
    return _told(net["difference"] > 0, bool(net["is_noise"])) % parts


def _nothing(*, here: bool) -> str:
    if here:
        return gettext("No post here was judged: there is nothing to compare.")
    return gettext("No post %(where)s was judged: there is nothing to compare.")


def _told(is_higher: bool, is_noise: bool) -> str:
    if is_noise:
        return gettext(
            "Net sentiment is about as %(where)s: the difference of %(difference)s is within "
            "noise (95 %%: %(low)s to %(high)s)."
        )
    if is_higher:
        return gettext(
            "Net sentiment is %(distance)s higher than %(where)s (95 %%: %(low)s to %(high)s)."
        )
    return gettext(
        "Net sentiment is %(distance)s lower than %(where)s (95 %%: %(low)s to %(high)s)."
    )


def _signed(value: float) -> str:
    shown = round(value, 2)
    sign = "+" if shown > 0 else "−" if shown < 0 else ""
    return sign + number(abs(shown), 2)


def _join(words: list[str]) -> str:
    quoted = [gettext("“%(word)s”") % {"word": word} for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return gettext("%(first)s and %(last)s") % {"first": ", ".join(quoted[:-1]), "last": quoted[-1]}
