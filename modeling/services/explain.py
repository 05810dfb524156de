"""Why a text was judged as it was: what each word does to the judgement."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from modeling import serving
from modeling.models import LabelScheme
from modeling.services.classify import PATIENCE_SECONDS, Batch, keep, measured

# Each is one more text for the model.
WORD_LIMIT = 64


@dataclass(frozen=True)
class Influence:
    """A word, where it is (characters from, to), and by how much the label's probability drops when
    it is left out: below 0 the word speaks against the label."""

    word: str
    start: int
    end: int
    weight: float


def explain_text(
    text: str, *, channel: str, scheme_key: str = LabelScheme.DEFAULT_KEY
) -> tuple[Batch, list[Influence]]:
    """The champion's judgement of a text, and the influence of its first 64 words, by leaving each
    out in turn (occlusion: Zeiler & Fergus 2014). Raises as `classify_texts` does."""
    served = serving.champion(scheme_key)
    words = list(re.finditer(r"\S+", text))[:WORD_LIMIT]
    started = time.perf_counter()
    # In one call, so that one version judges them all.
    whole, *without = served.classify(
        [text, *(text[: word.start()] + text[word.end() :] for word in words)], PATIENCE_SECONDS
    )
    batch = measured(served, [whole], time.perf_counter() - started, channel)
    keep([text], channel)
    return batch, [
        Influence(
            word=word.group(),
            start=word.start(),
            end=word.end(),
            weight=round(whole.scores[whole.label] - other.scores[whole.label], 6),
        )
        for word, other in zip(words, without, strict=True)
    ]
