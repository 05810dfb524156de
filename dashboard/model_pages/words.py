"""What stored keys are called on pages, in the page's language; and text that stays English."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import dateformat, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext, pgettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from modeling.models import ModelVersion, TrainingRun

STAGES: Mapping[str, Any] = {
    ModelVersion.Stage.CANDIDATE: pgettext_lazy("stage", "candidate"),
    ModelVersion.Stage.CHALLENGER: pgettext_lazy("stage", "challenger"),
    ModelVersion.Stage.CHAMPION: pgettext_lazy("stage", "champion"),
    ModelVersion.Stage.ARCHIVED: pgettext_lazy("stage", "archived"),
}
STATUSES: Mapping[str, Any] = {
    TrainingRun.Status.QUEUED: pgettext_lazy("training run", "queued"),
    TrainingRun.Status.RUNNING: pgettext_lazy("training run", "running"),
    TrainingRun.Status.SUCCEEDED: pgettext_lazy("training run", "succeeded"),
    TrainingRun.Status.REJECTED: pgettext_lazy("training run", "rejected by the gate"),
    TrainingRun.Status.FAILED: pgettext_lazy("training run", "failed"),
    TrainingRun.Status.INTERRUPTED: pgettext_lazy(
        "training run", "interrupted, goes on from its checkpoint"
    ),
}
ALERTS = {
    "drift": pgettext_lazy("alert", "Drift"),
    "quality": pgettext_lazy("alert", "Quality"),
    "model": pgettext_lazy("alert", "Model"),
    "training": pgettext_lazy("alert", "Training"),
}
# Whom the ledger names where no person did it.
ACTORS = {"web page": _("web page")}
TRAINING_RUN = "training run "
CHECKS = {
    "macro recall": _("macro recall"),
    "slices": pgettext_lazy("check", "slices"),
    "int8": pgettext_lazy("check", "int8"),
    "latency": pgettext_lazy("check", "latency"),
    "categories": pgettext_lazy("check", "categories"),
    "unseen posts": pgettext_lazy("check", "unseen posts"),
}
DIMENSIONS = {
    "language": pgettext_lazy("kind of posts", "language"),
    "source": pgettext_lazy("kind of posts", "source"),
    "stream": pgettext_lazy("kind of posts", "stream"),
    "length": pgettext_lazy("kind of posts", "length"),
    "emoji": pgettext_lazy("kind of posts", "emoji"),
    "negation": pgettext_lazy("kind of posts", "negation"),
}
# A stream or language may be called as one of these: told apart by its dimension.
LENGTHS = {
    "short": pgettext_lazy("length", "short"),
    "medium": pgettext_lazy("length", "medium"),
    "long": pgettext_lazy("length", "long"),
}
ANSWERS = {"yes": _("yes"), "no": _("no")}
VALUES: Mapping[str, Mapping[str, Any]] = {
    "length": LENGTHS,
    "emoji": ANSWERS,
    "negation": ANSWERS,
}
SPLITS = {
    "train": _("%(posts)s training"),
    "validation": _("%(posts)s validation"),
    "test": _("%(posts)s test"),
}
PARAMETERS = {
    "base_model": _("base model"),
    "batch_size": _("batch size"),
    "batch_size_in_memory": _("batch size that memory held"),
    "class_weights": _("class weights"),
    "data": _("data"),
    "distillation_temperature": _("distillation temperature"),
    "distillation_weight": _("distillation weight"),
    "epochs": _("epochs"),
    "freeze_embeddings": _("freeze embeddings"),
    "gradient_accumulation_steps": _("gradient accumulation steps"),
    "label_smoothing": _("label smoothing"),
    "layer_decay": _("layer decay"),
    "learning_rate": _("learning rate"),
    "max_length": _("max length"),
    "patience": _("patience"),
    "schedule": _("schedule"),
    "seed": _("seed"),
    "teacher": _("teacher"),
    "teacher_digest": _("teacher's digest"),
    "train_size": _("train size"),
    "unlabelled_texts": _("texts without a label"),
    "warmup": _("warmup"),
    "weight_decay": _("weight decay"),
}


def slice_name(part: Mapping[str, Any]) -> str:
    """A kind of posts: “length: short”."""
    dimension, value = str(part.get("dimension")), part.get("value")
    return gettext("%(dimension)s: %(value)s") % {
        "dimension": DIMENSIONS.get(dimension, dimension),
        "value": VALUES.get(dimension, {}).get(str(value), value),
    }


def split_sizes(posts: Mapping[str, int]) -> list[str]:
    """How many posts each part of a data set has."""
    return [
        str(SPLITS.get(split, f"%(posts)s {split}")) % {"posts": posts[split]} for split in posts
    ]


def parameter_name(key: str) -> str:
    return str(PARAMETERS.get(key, key.replace("_", " ")))


def actor_name(actor: str) -> str:
    """Who promoted, as the ledger keeps it."""
    if actor.startswith(TRAINING_RUN):
        return gettext("training run %(run)s") % {"run": actor.removeprefix(TRAINING_RUN)}
    return str(ACTORS.get(actor, actor))


def version_name(number: int | str) -> str:
    return gettext("version %(version)s") % {"version": number}


def amid(name: str) -> str:
    """A name amid a sentence, where English has no capitals."""
    return name.lower() if (get_language() or "en").partition("-")[0] == "en" else name


def moment(at: datetime | None) -> SafeString | str:
    """A time as HTML, which the page's script tells anew in the viewer's zone; a dash for none."""
    if at is None:
        return "–"
    local = timezone.localtime(at)
    told = dateformat.format(local, pgettext("format of a moment", "j M Y, H:i"))
    return format_html('<time datetime="{}">{} UTC</time>', local.isoformat(), told)


def english(text: object) -> SafeString:
    """What is kept in English, said to be so."""
    return format_html('<span lang="en">{}</span>', text)


def filled(text: str, **parts: str) -> SafeString:
    """A text as HTML with its parts put in, each escaped but for what is HTML already."""
    # Every second piece is the name of a part.
    pieces = re.split(r"%\((\w+)\)s", text)
    return format_html_join(
        "",
        "{}",
        (
            (parts[piece] if number % 2 else piece.replace("%%", "%"),)
            for number, piece in enumerate(pieces)
        ),
    )
