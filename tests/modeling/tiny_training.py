"""What a quick training of the tiny model is given."""

from pathlib import Path

from modeling.ml.arguments import Labelled, TrainingArguments
from tests.conftest import obvious_posts


def quick(base: Path, **changes: object) -> TrainingArguments:
    values = {"base_model": str(base), "max_length": 32, "batch_size": 16, "epochs": 1}
    return TrainingArguments(**{**values, **changes})  # type: ignore[arg-type]


def data() -> tuple[Labelled, Labelled]:
    texts, labels = obvious_posts()
    return Labelled(texts, labels), Labelled(texts[:60], labels[:60])
