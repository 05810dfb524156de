"""Figures as lines of text, for commands."""

from modeling.ml.evaluation import Evaluation
from modeling.services.gate import Verdict

OUTCOMES = {True: "pass", False: "FAIL", None: "-"}


def evaluation_table(judged: Evaluation) -> str:
    """Accuracy, macro figures, and a line a category with its row of the confusion matrix."""
    labels = list(judged.per_class)
    lines = [
        f"accuracy {judged.accuracy:.4f}  macro F1 {judged.macro_f1:.4f}  "
        f"macro recall {judged.macro_recall:.4f}  ECE {judged.ece:.4f}",
        "95 % intervals: "
        + ", ".join(
            f"{name.replace('_', ' ')} {low:.3f}–{high:.3f}"
            for name, (low, high) in judged.intervals.items()
        ),
        f"{'':<12}{'precision':>10}{'recall':>10}{'F1':>10}{'posts':>8}   judged "
        + " ".join(f"{label:>9}" for label in labels),
    ]
    for label, row in zip(labels, judged.confusion, strict=True):
        scores = judged.per_class[label]
        lines.append(
            f"{label:<12}{scores.precision:>10.3f}{scores.recall:>10.3f}{scores.f1:>10.3f}"
            f"{scores.support:>8}          " + " ".join(f"{count:>9}" for count in row)
        )
    return "\n".join(lines)


def slice_table(judged: Evaluation) -> str:
    """A line a slice; those that the gate does not judge are marked."""
    lines = [f"{'slice':<28}{'posts':>7}{'accuracy':>10}{'macro recall':>14}   95 % interval"]
    for part in judged.slices:
        low, high = part.intervals["accuracy"]
        small = "" if part.is_judged else "  (too few to judge)"
        lines.append(
            f"{part.dimension + ' = ' + part.value:<28}{part.size:>7}{part.accuracy:>10.3f}"
            f"{part.macro_recall:>14.3f}   {low:.3f}–{high:.3f}{small}"
        )
    return "\n".join(lines)


def verdict_table(verdict: Verdict) -> str:
    """Both sides' figures, and a line a check."""
    outcome = "passes" if verdict.passed else "is refused"
    lines = [f"version {verdict.candidate} {outcome}, held against version {verdict.champion}"]
    for side, figures in verdict.figures.items():
        said = "  ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        lines.append(f"{side:<10} {said}")
    lines += [
        f"{OUTCOMES[check.passed]:<5} {check.name}: {check.sentence}" for check in verdict.checks
    ]
    return "\n".join(lines)
