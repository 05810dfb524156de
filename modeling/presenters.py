"""Stored figures as HTML, for the admin."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

HEADLINES = {
    "macro_recall": "macro recall",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "ece": "calibration error (ECE)",
}
# A word beside the sign: colour and sign are never the only way to tell.
OUTCOMES = {True: "✓ passed", False: "✗ failed", None: "– not judged"}


def verdict_html(gate: dict[str, Any]) -> SafeString:
    """The gate's verdict: the outcome, each check, both sides' figures, each slice."""
    if not gate:
        return format_html("<p>{}</p>", "Not judged yet: promoting judges it first.")
    against = gate.get("champion")
    return format_html(
        "<p><strong>{}</strong>{} on {} held-out posts. {}</p>{}{}{}",
        "Passed" if gate.get("passed") else "Refused",
        "" if against is None else f", held against version {against},",
        gate.get("test_size", 0),
        gate.get("reason", ""),
        _checks(gate.get("checks", [])),
        _figures(gate.get("figures", {}), gate.get("intervals", {})),
        _slices(gate.get("slices", [])),
    )


def metrics_html(metrics: dict[str, Any]) -> SafeString:
    """A version's figures on the test set: headlines and categories, each with its interval."""
    test = metrics.get("test") or {}
    if not test:
        return format_html("<p>{}</p>", "No figures are stored.")
    intervals = test.get("intervals") or {}
    headlines = [
        [words, _with_interval(test[name], intervals.get(name))]
        for name, words in HEADLINES.items()
        if name in test
    ]
    categories = [
        [
            key,
            *(
                _with_interval(scores[name], (scores.get("intervals") or {}).get(name))
                for name in ("precision", "recall", "f1")
            ),
            str(scores["support"]),
        ]
        for key, scores in (test.get("per_class") or {}).items()
    ]
    return format_html(
        "<p>On {} held-out posts, with 95 % intervals.</p>{}{}{}",
        test.get("size", 0),
        _table(["figure", "value"], headlines),
        _table(["category", "precision", "recall", "F1", "posts"], categories),
        _own_slices(test.get("slices") or []),
    )


def _own_slices(slices: list[dict[str, Any]]) -> SafeString:
    rows = [
        [
            f"{part['dimension']} = {part['value']}" + ("" if part["is_judged"] else " (too few)"),
            str(part["size"]),
            *(
                _with_interval(part[name], part["intervals"].get(name))
                for name in ("accuracy", "macro_recall")
            ),
        ]
        for part in slices
    ]
    return _table(["slice", "posts", "accuracy", "macro recall"], rows)


def reference_html(reference: dict[str, Any]) -> SafeString:
    """What drift is measured against, in short: posts, their labels, confidence and length."""
    if not reference:
        return format_html("<p>{}</p>", "None: drift cannot be measured against this version.")
    labels = reference.get("labels") or {}
    total = sum(labels.values()) or 1
    rows = [[key, str(count), f"{count / total:.1%}"] for key, count in labels.items()]
    return format_html(
        "<p>{} posts; mean confidence {}, mean length {} characters.</p>{}",
        reference.get("size", sum(labels.values())),
        _number(reference.get("mean_confidence")),
        _number(reference.get("mean_length")),
        _table(["label given", "posts", "share"], rows),
    )


def mapping_html(values: dict[str, Any], heads: tuple[str, str]) -> SafeString:
    """Names and values as a table of two columns."""
    return _table([*heads], [[name, str(value)] for name, value in sorted(values.items())])


def _table(heads: list[str], rows: list[list[str]]) -> SafeString:
    if not rows:
        return SafeString("")
    return format_html(
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>",
        format_html_join("", '<th scope="col">{}</th>', ([head] for head in heads)),
        format_html_join(
            "",
            "<tr>{}</tr>",
            ([format_html_join("", "<td>{}</td>", ([c] for c in r))] for r in rows),
        ),
    )


def _checks(checks: list[dict[str, Any]]) -> SafeString:
    rows = [
        [
            str(check["name"]),
            OUTCOMES[check["passed"]],
            _number(check["value"]),
            _number(check["threshold"]),
            str(check["sentence"]),
        ]
        for check in checks
    ]
    return _table(["check", "outcome", "value", "threshold", "in words"], rows)


def _figures(
    figures: dict[str, dict[str, float]], intervals: dict[str, dict[str, list[float]]]
) -> SafeString:
    names = list(next(iter(figures.values()), {}))
    rows = [
        [side, *(_with_interval(judged[name], intervals.get(side, {}).get(name)) for name in names)]
        for side, judged in figures.items()
    ]
    return _table(["model", *(name.replace("_", " ") for name in names)], rows)


def _slices(slices: list[dict[str, Any]]) -> SafeString:
    rows = [
        [
            f"{part['dimension']} = {part['value']}" + ("" if part["is_judged"] else " (too few)"),
            str(part["size"]),
            *(
                _number(part[side][name]) if part[side] else "–"
                for name in ("accuracy", "macro_recall")
                for side in ("candidate", "champion")
            ),
        ]
        for part in slices
    ]
    heads = ["accuracy", "accuracy, champion", "macro recall", "macro recall, champion"]
    return _table(["slice", "posts", *heads], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _with_interval(value: float, ends: list[float] | None) -> str:
    return f"{value:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")
