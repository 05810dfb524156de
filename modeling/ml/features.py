"""Explicit features of a post: for drift monitoring, baselines and explanations.

Each is a plain number that a person can check by eye. The lexicon is VADER (Hutto & Gilbert 2014).
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import emoji
import numpy as np
from numpy.typing import NDArray

from modeling.ml import text as text_module

NAMES = (
    "characters",
    "words",
    "upper_share",
    "exclamations",
    "questions",
    "emoji",
    "emoji_polarity",
    "hashtags",
    "mentions",
    "links",
    "elongations",
    "negations",
    "lexicon_score",
)

_ELONGATED = re.compile(r"([a-zA-Z])\1{2,}")
NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|nowhere|cannot|without|hardly|barely"
    r"|aint|cant|dont|wont|isnt|wasnt|didnt|doesnt|\w+n['’]t)\b",
    re.IGNORECASE,
)
_LINK = re.compile(r"https?://\S+|\bhttp\b", re.IGNORECASE)


@cache
def _lexicon() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def lexicon_score(text: str) -> float:
    """VADER's compound score: −1 (most negative) to 1 (most positive)."""
    return float(_lexicon().polarity_scores(text)["compound"])


def _emoji_polarity(symbols: Sequence[str]) -> float:
    """Mean lexicon score of the emoji's names; 0 where there are none."""
    if not symbols:
        return 0.0
    return float(np.mean([lexicon_score(text_module.spell_emoji(symbol)) for symbol in symbols]))


def extract(text: str) -> NDArray[np.float32]:
    """The features of one raw (not normalised) text, in the order of `NAMES`."""
    tokens = text_module.tweet_tokenizer().tokenize(text)
    letters = sum(char.isalpha() for char in text)
    symbols = [] if text.isascii() else [match["emoji"] for match in emoji.emoji_list(text)]
    return np.array(
        [
            len(text),
            sum(token[0].isalnum() for token in tokens),
            sum(char.isupper() for char in text) / letters if letters else 0.0,
            text.count("!"),
            text.count("?"),
            len(symbols),
            _emoji_polarity(symbols),
            sum(token[0] == "#" and len(token) > 1 for token in tokens),
            sum(token[0] == "@" and len(token) > 1 for token in tokens),
            len(_LINK.findall(text)),
            len(_ELONGATED.findall(text)),
            len(NEGATION.findall(text)),
            lexicon_score(text),
        ],
        dtype=np.float32,
    )


def matrix(texts: Sequence[str]) -> NDArray[np.float32]:
    """Features of many texts, shape (n, len(NAMES))."""
    if not texts:
        return np.zeros((0, len(NAMES)), dtype=np.float32)
    return np.stack([extract(text) for text in texts])
