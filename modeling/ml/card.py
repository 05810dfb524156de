"""The model card: what a version is, what it learned from, how good it is, where it fails.

The form follows Mitchell et al. 2019 and the front matter that model hubs read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Licences of encoders that are often fine-tuned; for others the card says where to look.
LICENCES = {
    "all-MiniLM-L6-v2 (offline)": "apache-2.0",
    "sentence-transformers/all-MiniLM-L6-v2": "apache-2.0",
    "distilbert-base-uncased": "apache-2.0",
    "distilbert/distilbert-base-uncased": "apache-2.0",
    "distilbert-base-multilingual-cased": "apache-2.0",
    "bert-base-uncased": "apache-2.0",
    "bert-base-multilingual-cased": "apache-2.0",
    "roberta-base": "mit",
    "FacebookAI/roberta-base": "mit",
    "xlm-roberta-base": "mit",
    "FacebookAI/xlm-roberta-base": "mit",
    "vinai/bertweet-base": "mit",
}
HEADLINES = {
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "ece": "calibration error (ECE)",
}


@dataclass(frozen=True)
class CardFacts:
    """What a card tells. `metrics` is an evaluation as a dictionary; `sizes` counts the texts of
    each set by label; `files` are the digests of the model's files."""

    scheme: str
    labels: Sequence[str]
    base_model: str
    max_length: int
    temperature: float
    parameters: Mapping[str, Any]
    metrics: Mapping[str, Any]
    sizes: Mapping[str, Mapping[str, int]]
    dataset_digest: str
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def model_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    licence = LICENCES.get(facts.base_model)
    parts = [
        _front_matter(facts, licence),
        f"# {facts.scheme}: {', '.join(facts.labels)}\n",
        f"Gives a short social post one of the categories {_listed(facts.labels)}, with the "
        f"probability of each. Made by fine-tuning `{facts.base_model}`.\n",
        "## Use\n",
        _usage(),
        "## Data\n",
        _data(facts),
        "## Figures\n",
        _figures(facts),
        "## Limits\n",
        _limits(facts),
        "## Licence\n",
        _licence(facts.base_model, licence),
        "## Training\n",
        _table(("setting", "value"), [(k, str(v)) for k, v in sorted(facts.parameters.items())]),
    ]
    if facts.environment:
        rows = [(name, value) for name, value in facts.environment.items()]
        parts += ["## Environment\n", _table(("part", "version"), rows)]
    if facts.files:
        rows = [(name, f"`{digest}`") for name, digest in facts.files.items()]
        parts += ["## Files\n", _table(("file", "SHA-256"), rows)]
    return "\n".join(parts)


def _front_matter(facts: CardFacts, licence: str | None) -> str:
    lines = [
        "---",
        f"license: {licence or 'other'}",
        f"base_model: {_quoted(facts.base_model)}",
        "pipeline_tag: text-classification",
        "library_name: transformers",
        "---",
        "",
    ]
    return "\n".join(lines)


def _usage() -> str:
    return """```python
import mlflow, pandas as pd

model = mlflow.pyfunc.load_model("models:/NAME@champion")  # or this folder's path
model.predict(pd.DataFrame({"text": ["Great service!"]}))  # label, confidence, scores
```

`mlflow models serve -m URI --env-manager local` answers the same over HTTP. Texts are normalised
in the model: give them as people wrote them. `sha256sum --check SHA256SUMS` tells whether the files
are whole; loading checks it, too.
"""


def _data(facts: CardFacts) -> str:
    rows = [
        (name, str(sum(counts.values())), *(str(counts.get(label, 0)) for label in facts.labels))
        for name, counts in facts.sizes.items()
    ]
    return (
        f"{_table(('set', 'texts', *facts.labels), rows)}\n"
        "Texts are split by the hash of their normalised form: none is in two sets, and none moves "
        f"when labels are added. Digest of texts and labels: `{facts.dataset_digest}`.\n"
    )


def _figures(facts: CardFacts) -> str:
    size = facts.metrics.get("size", 0)
    intervals = facts.metrics.get("intervals") or {}
    rows = [
        (words, f"{facts.metrics[name]:.3f}", _interval(intervals.get(name)))
        for name, words in HEADLINES.items()
        if name in facts.metrics
    ]
    classes = [
        (name, *(f"{scores[key]:.3f}" for key in ("precision", "recall", "f1")), scores["support"])
        for name, scores in facts.metrics.get("per_class", {}).items()
    ]
    return (
        f"On the {size} texts of the test set, which training never saw:\n\n"
        f"{_table(('metric', 'value', '95 % interval'), rows)}\n"
        f"{_table(('category', 'precision', 'recall', 'F1', 'texts'), classes)}"
    )


def _limits(facts: CardFacts) -> str:
    scarce = [
        name
        for name, scores in facts.metrics.get("per_class", {}).items()
        if scores["support"] < 50
    ]
    lines = [
        f"- Only the first {facts.max_length} tokens of a text are read.",
        "- It judges the text alone: no images, links, earlier posts or who wrote it. Irony and "
        "quoted opinions are where it errs most.",
        "- The figures hold for texts like those of its data. Other topics, languages and years "
        "need labels of their own before its shares are believed.",
        f"- Confidence is calibrated on the validation set (temperature {facts.temperature:.2f}); "
        "it is a probability only while posts resemble it.",
        "- Not for decisions about single persons.",
    ]
    if scarce:
        lines.insert(
            0,
            f"- Fewer than 50 texts of the test set are {_listed(scarce)}: rough figures.",
        )
    return "\n".join(lines) + "\n"


def _licence(base: str, licence: str | None) -> str:
    if licence:
        return f"The base encoder is published under `{licence}`, which these weights inherit.\n"
    return f"These weights inherit the licence of `{base}`: look at where it is published.\n"


def _interval(bounds: Any) -> str:
    if not bounds:
        return ""
    low, high = bounds
    return f"{low:.3f} to {high:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(value) for value in line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
