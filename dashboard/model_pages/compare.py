"""Two versions side by side."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from dashboard import model_figures
from dashboard.model_pages import selectors, tables
from dashboard.model_pages import words as told
from dashboard.model_pages.access import for_watchers, may_promote, scheme_of
from dashboard.model_pages.versions import found_or_404, shared
from modeling.exceptions import ModelingError
from modeling.ml.artifact import ArtifactError
from modeling.models import LabelScheme, ModelVersion
from modeling.services import compare
from modeling.services.documents import calibration_of


@require_http_methods(["GET", "HEAD", "POST"])
@for_watchers
def page(request: HttpRequest) -> HttpResponse:
    """`?a=3&b=5`; without them the champion and the newest other one. POST lets both judge the
    newest stored posts, which takes the permission to promote: it costs seconds."""
    scheme = scheme_of(request)
    offered = selectors.choices(scheme)
    first, second = _chosen(request, scheme, offered)
    context: dict[str, Any] = {
        **shared(request, scheme, "model-compare"),
        "choices": offered,
        "first": first,
        "second": second,
    }
    if first is not None and second is not None:
        context |= _side_by_side(scheme, first, second)
        context |= _on_posts(request, first, second)
    return render(request, "dashboard/model_compare.html", context)


def _chosen(
    request: HttpRequest, scheme: LabelScheme, offered: list[ModelVersion]
) -> tuple[ModelVersion | None, ModelVersion | None]:
    standing = [row.version for row in offered if row.stage == ModelVersion.Stage.CHAMPION]
    numbers = [row.version for row in offered]
    first = _asked(request, "a") or next(iter([*standing, *numbers]), None)
    second = _asked(request, "b") or next((n for n in numbers if n != first), None)
    if first is None or second is None:
        return None, None
    return found_or_404(scheme, first), found_or_404(scheme, second)


def _asked(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Http404("A version is a number.")
    return int(text)


def _side_by_side(scheme: LabelScheme, first: ModelVersion, second: ModelVersion) -> dict[str, Any]:
    names = tables.category_names(list(scheme.categories.all()))
    judged = tables.test_of(first), tables.test_of(second)
    matrices = [tables.confusion(version, names) for version in (first, second)]
    curves = {told.version_name(v.version): calibration_of(v) for v in (first, second)}
    held = _held_against(first, second)
    return {
        "names": names,
        "differences": tables.differences(*judged),
        "class_differences": tables.class_differences(*judged, names),
        "slice_differences": tables.slice_differences(*judged),
        "sizes": [one.get("size", 0) for one in judged],
        # Figures on other posts differ by more than the models do.
        "same_data": bool(first.dataset_digest) and first.dataset_digest == second.dataset_digest,
        "matrices": list(zip((first, second), matrices, ("first", "second"), strict=True)),
        "curves": curves,
        "gate": held and tables.gate(held.gate),
        "gate_of": held,
        "figures": {
            "first": matrices[0] and model_figures.confusion(matrices[0].names, matrices[0].counts),
            "second": matrices[1]
            and model_figures.confusion(matrices[1].names, matrices[1].counts),
            "calibration": any(curves.values()) and model_figures.calibration(curves),
        },
    }


def _held_against(first: ModelVersion, second: ModelVersion) -> ModelVersion | None:
    """The one that the gate held against the other, if it did."""
    for version, other in ((second, first), (first, second)):
        if version.gate and version.gate.get("champion") == other.version:
            return version
    return None


def _on_posts(request: HttpRequest, first: ModelVersion, second: ModelVersion) -> dict[str, Any]:
    """Posts on which they differ: by stored predictions, or judged just now."""
    context: dict[str, Any] = {"sample": compare.SAMPLE, "judged_now": False}
    if request.method == "POST":
        if not may_promote(request.user):
            raise PermissionDenied("Judging anew takes the permission to change versions.")
        try:
            context["posts"] = compare.judge_newest(first, second)
            context["judged_now"] = True
        except (ModelingError, ArtifactError) as error:
            context["problem"] = str(error)
    if "posts" not in context:
        context["posts"] = compare.stored_judgements(first, second)
    return context
