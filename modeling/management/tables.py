"""Figures as lines of text, for commands."""

from modeling.ml.evaluation import Evaluation


def evaluation_table(judged: Evaluation) -> str:
    """Accuracy, macro figures, and a line a category with its row of the confusion matrix."""
    labels = list(judged.per_class)
    lines = [
        f"accuracy {judged.accuracy:.4f}  macro F1 {judged.macro_f1:.4f}  "
        f"macro recall {judged.macro_recall:.4f}  ECE {judged.ece:.4f}",
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
