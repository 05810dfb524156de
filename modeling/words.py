"""What stored keys are called, for pages in their language and for texts that stay English."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import translation
from django.utils.translation import gettext_lazy as _

# As amid a sentence.
STATISTICS = {
    "characters": _("length in characters"),
    "words": _("words"),
    "upper_share": _("share of capitals"),
    "exclamations": _("exclamation marks"),
    "questions": _("question marks"),
    "emoji": _("emoji"),
    "emoji_polarity": _("mood of emoji"),
    "hashtags": _("hashtags"),
    "mentions": _("mentions"),
    "links": _("links"),
    "elongations": _("stretched words"),
    "negations": _("negations"),
    "lexicon_score": _("mood by dictionary"),
    "confidence": _("confidence"),
    "labels": _("labels given"),
    "embedding": _("meaning (embedding)"),
    "domain_classifier": _("all together (classifier)"),
}


def statistic_name(name: str) -> str:
    """In the language that is active."""
    return str(STATISTICS.get(name, name.replace("_", " ")))


def english_names(statistics: Iterable[str]) -> str:
    """For what is kept or sent: whoever asked for it, whoever reads it."""
    with translation.override("en"):
        return ", ".join(map(statistic_name, statistics))
