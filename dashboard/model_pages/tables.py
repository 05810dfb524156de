"""Stored figures as rows that templates can show; no queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import formats
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from dashboard import languages
from dashboard.model_pages import words as told
from modeling.models import Category, ModelVersion

# Name → words, and what it means.
METRICS = {
    "macro_recall": (
        _("Macro recall"),
        _("the mean of the categories' recall; what the gate tests"),
    ),
    "accuracy": (_("Accuracy"), _("the share of posts that it gets right")),
    "macro_f1": (_("Macro F1"), _("the mean of the categories' F1")),
    "ece": (
        _("Calibration error"),
        _("how far confidence is from the share that is right; less is better"),
    ),
}
SCORES = {
    "precision": pgettext_lazy("figure", "precision"),
    "recall": pgettext_lazy("figure", "recall"),
    "f1": pgettext_lazy("figure", "F1"),
}
# State, and what it is called.
OUTCOMES = {
    True: ("passed", pgettext_lazy("check", "passed")),
    False: ("failed", pgettext_lazy("check", "failed")),
    None: ("unknown", pgettext_lazy("check", "not judged")),
}
# What the gate is told of a version that nothing was held against yet.
UNJUDGED = _("Not judged yet: promoting it judges it first.")


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval; `start`, `end` and `at` are its places on a scale of 0 to
    100, for values between 0 and 1."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        return "–" if self.value is None else languages.number(self.value, 3)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        ends = {"low": languages.number(self.low, 3), "high": languages.number(self.high, 3)}
        return gettext("%(low)s to %(high)s") % ends

    @property
    def at(self) -> str:
        return _place(self.value)

    @property
    def start(self) -> str:
        return _place(self.low)

    @property
    def end(self) -> str:
        return _place(self.high)


def _place(share: float | None) -> str:
    return f"{100 * min(1.0, max(0.0, share or 0.0)):.1f}"


def figure(judged: Mapping[str, Any], name: str) -> Figure:
    """One figure of an evaluation, of a class or of a slice."""
    low, high = (judged.get("intervals") or {}).get(name) or (None, None)
    return Figure(judged.get(name), low, high)


def test_of(version: ModelVersion) -> dict[str, Any]:
    """The evaluation on the test set that its training made."""
    return dict(version.metrics.get("test") or {})


@dataclass(frozen=True)
class Metric:
    """A figure with its name and what it means."""

    name: str
    hint: str
    figure: Figure


def metrics(judged: Mapping[str, Any]) -> list[Metric]:
    """The headline figures of an evaluation."""
    return [
        Metric(str(words), str(hint), figure(judged, key))
        for key, (words, hint) in METRICS.items()
        if key in judged
    ]


@dataclass(frozen=True)
class ClassRow:
    """One category's figures, and how many test posts truly have it."""

    key: str
    name: str
    precision: Figure
    recall: Figure
    f1: Figure
    support: int


def classes(judged: Mapping[str, Any], names: Mapping[str, str]) -> list[ClassRow]:
    """Each category's figures, in the scheme's order; `names` by key."""
    scores = judged.get("per_class") or {}
    return [
        ClassRow(
            key,
            names.get(key, key),
            precision=figure(scores[key], "precision"),
            recall=figure(scores[key], "recall"),
            f1=figure(scores[key], "f1"),
            support=scores[key].get("support", 0),
        )
        for key in _ordered(scores, names)
    ]


def _ordered(keys: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    known = [key for key in names if key in keys]
    return known + [key for key in keys if key not in names]


@dataclass(frozen=True)
class SliceRow:
    """Figures on one kind of posts; of a small slice (`is_judged` false) they mean little."""

    name: str
    size: int
    accuracy: Figure
    macro_recall: Figure
    is_judged: bool


def slices(judged: Mapping[str, Any]) -> list[SliceRow]:
    return [
        SliceRow(
            told.slice_name(part),
            part["size"],
            figure(part, "accuracy"),
            figure(part, "macro_recall"),
            bool(part.get("is_judged")),
        )
        for part in judged.get("slices") or []
    ]


@dataclass(frozen=True)
class Confusion:
    """How often each category (a row) was taken for each (a column): counts, and row shares."""

    names: list[str]
    rows: list[tuple[str, list[tuple[int, float]]]] = field(default_factory=list)

    @property
    def counts(self) -> list[list[int]]:
        return [[count for count, _ in cells] for _, cells in self.rows]

    @property
    def shares(self) -> list[list[float]]:
        return [[share for _, share in cells] for _, cells in self.rows]


def confusion(version: ModelVersion, names: Mapping[str, str]) -> Confusion | None:
    """The confusion matrix of the test set; None where there is none."""
    judged = test_of(version)
    counts = judged.get("confusion") or []
    # PostgreSQL sorts the keys of `per_class`; the order of the matrix is the labels' own.
    keys = version.reference.get("label_order") or _ordered(judged.get("per_class") or {}, names)
    if not counts or len(keys) != len(counts):
        return None
    said = [names.get(key, key) for key in keys]
    return Confusion(
        said,
        [
            (name, [(count, count / (sum(row) or 1)) for count in row])
            for name, row in zip(said, counts, strict=True)
        ],
    )


def category_names(categories: Sequence[Category]) -> dict[str, str]:
    return {category.key: category.title for category in categories}


@dataclass(frozen=True)
class CheckRow:
    """One check of the gate. `state` is passed, failed or unknown; `sentence` is English."""

    name: str
    state: str
    outcome: str
    value: str
    threshold: str
    sentence: str


@dataclass(frozen=True)
class GateRow:
    """A figure of the candidate beside the champion's."""

    name: str
    candidate: Figure
    champion: Figure | None


@dataclass(frozen=True)
class GateStory:
    """The gate's verdict. `state` is passed, failed or unknown; `words` are one sentence; `reason`
    is English, as it was stored."""

    state: str
    words: str
    reason: str = ""
    judged_at: datetime | None = None
    champion: int | None = None
    checks: list[CheckRow] = field(default_factory=list)
    figures: list[GateRow] = field(default_factory=list)
    slices: list[tuple[str, int, bool, list[GateRow]]] = field(default_factory=list)


def gate(verdict: Mapping[str, Any]) -> GateStory:
    """The verdict in words, with each figure behind it."""
    if not verdict:
        return GateStory("unknown", str(UNJUDGED))
    against = verdict.get("champion")
    return GateStory(
        "passed" if verdict.get("passed") else "failed",
        _gate_words(verdict),
        reason=str(verdict.get("reason", "")),
        judged_at=parse_datetime(str(verdict.get("judged_at", ""))),
        champion=against,
        checks=[_check(check) for check in verdict.get("checks", [])],
        figures=list(_gate_figures(verdict)),
        slices=[_gate_slice(part) for part in verdict.get("slices", [])],
    )


def _gate_words(verdict: Mapping[str, Any]) -> str:
    posts = verdict.get("test_size", 0)
    passed, is_first = bool(verdict.get("passed")), verdict.get("champion") is None
    if passed and is_first:
        said = ngettext(
            "Passed as the first version, on %(posts)s held-out post",
            "Passed as the first version, on %(posts)s held-out posts",
            posts,
        )
    elif passed:
        said = ngettext(
            "Passed against version %(champion)s, on %(posts)s held-out post",
            "Passed against version %(champion)s, on %(posts)s held-out posts",
            posts,
        )
    elif is_first:
        said = ngettext(
            "Refused as the first version, on %(posts)s held-out post",
            "Refused as the first version, on %(posts)s held-out posts",
            posts,
        )
    else:
        said = ngettext(
            "Refused against version %(champion)s, on %(posts)s held-out post",
            "Refused against version %(champion)s, on %(posts)s held-out posts",
            posts,
        )
    return said % {"champion": verdict.get("champion"), "posts": languages.number(posts)}


def _check(check: Mapping[str, Any]) -> CheckRow:
    name = str(check.get("name", ""))
    state, outcome = OUTCOMES[check.get("passed")]
    return CheckRow(
        name=str(told.CHECKS.get(name, name)),
        state=state,
        outcome=str(outcome),
        value=number(check.get("value")),
        threshold=number(check.get("threshold")),
        sentence=str(check.get("sentence", "")),
    )


def _gate_figures(verdict: Mapping[str, Any]) -> Iterator[GateRow]:
    sides = verdict.get("figures") or {}
    intervals = verdict.get("intervals") or {}
    for name, (words, _hint) in METRICS.items():
        found = {
            side: figure({**sides[side], "intervals": intervals.get(side)}, name)
            for side in ("candidate", "champion")
            if side in sides
        }
        if "candidate" in found:
            yield GateRow(str(words), found["candidate"], found.get("champion"))


def _gate_slice(part: Mapping[str, Any]) -> tuple[str, int, bool, list[GateRow]]:
    rows = [
        GateRow(
            str(METRICS[name][0]),
            Figure(part["candidate"].get(name)),
            Figure(part["champion"].get(name)) if part.get("champion") else None,
        )
        for name in ("accuracy", "macro_recall")
    ]
    is_judged = bool(part.get("is_judged"))
    return told.slice_name(part), part.get("size", 0), is_judged, rows


def number(value: Any) -> str:
    """A figure as short as it can be read; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        shown = languages.number(value, 3).rstrip("0").rstrip(_decimal_sign()) or "0"
        return shown.replace("-", "−")
    if isinstance(value, int) and not isinstance(value, bool):
        return languages.number(value).replace("-", "−")
    return str(value)


def _decimal_sign() -> str:
    return str(formats.get_format("DECIMAL_SEPARATOR", use_l10n=True))


def parameters(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a training was told, by name; texts are English."""
    shown = {name: value for name, value in values.items() if name not in {"dataset_digest"}}
    return [(told.parameter_name(name), _plain(value)) for name, value in sorted(shown.items())]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(told.ANSWERS["yes" if value else "no"])
    if isinstance(value, float):
        return f"{value:g}".replace(".", _decimal_sign())
    return told.english(value) if isinstance(value, str) and value else str(value)


@dataclass(frozen=True)
class Difference:
    """A figure of two versions; `change` is the second less the first, in words."""

    name: str
    first: Figure
    second: Figure
    hint: str = ""

    @property
    def change(self) -> str:
        if self.first.value is None or self.second.value is None:
            return "–"
        change = self.second.value - self.first.value
        return ("−" if change < 0 else "+") + languages.number(abs(change), 3)

    @property
    def is_apart(self) -> bool:
        """Whether the intervals do not touch: then the difference is hardly chance."""
        ends = (self.first.low, self.first.high, self.second.low, self.second.high)
        if None in ends:
            return False
        low, high, other_low, other_high = (float(end or 0) for end in ends)
        return low > other_high or other_low > high


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """The headline figures of two evaluations."""
    return [
        Difference(str(words), figure(first, name), figure(second, name), str(hint))
        for name, (words, hint) in METRICS.items()
    ]


def class_differences(
    first: Mapping[str, Any], second: Mapping[str, Any], names: Mapping[str, str]
) -> list[Difference]:
    """Each category's F1 and recall in two evaluations."""
    mine, others = first.get("per_class") or {}, second.get("per_class") or {}
    return [
        Difference(
            gettext("%(category)s: %(figure)s")
            % {"category": names.get(key, key), "figure": words},
            figure(mine.get(key, {}), name),
            figure(others.get(key, {}), name),
        )
        for key in _ordered({**mine, **others}, names)
        for name, words in SCORES.items()
    ]


def slice_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Accuracy on each kind of posts in two evaluations."""
    mine = {(p["dimension"], p["value"]): p for p in first.get("slices") or []}
    others = {(p["dimension"], p["value"]): p for p in second.get("slices") or []}
    return [
        Difference(
            told.slice_name({"dimension": key[0], "value": key[1]}),
            figure(mine.get(key, {}), "accuracy"),
            figure(others.get(key, {}), "accuracy"),
            _sizes(mine.get(key), others.get(key)),
        )
        for key in sorted({*mine, *others})
    ]


def _sizes(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> str:
    sizes = [0 if part is None else part["size"] for part in (first, second)]
    if sizes[0] == sizes[1]:
        said = ngettext("%(posts)s post", "%(posts)s posts", sizes[0])
        return said % {"posts": languages.number(sizes[0])}
    return gettext("%(first)s and %(second)s posts") % {
        "first": languages.number(sizes[0]),
        "second": languages.number(sizes[1]),
    }
