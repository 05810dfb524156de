"""The list of versions with the promotion ledger, and the page of one version."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from dashboard import model_figures
from dashboard.model_pages import selectors, stories, tables
from dashboard.model_pages import words as told
from dashboard.model_pages.access import for_watchers, may_promote, scheme_of
from modeling.models import LabelScheme, ModelVersion, Promotion
from modeling.services.documents import calibration_of
from modeling.services.promote import way_back

# So many versions the chart over all of them shows.
CHARTED = 40
SECTIONS = {
    "models": _("Versions"),
    "model-compare": _("Compare"),
    "model-runs": _("Training"),
    "model-reports": _("Quality"),
}


def shared(request: HttpRequest, scheme: LabelScheme, section: str) -> dict[str, Any]:
    """What every page about the model needs."""
    return {
        "scheme": scheme,
        "schemes": selectors.schemes_to_choose(scheme),
        "section": section,
        "tabs": [
            (name, words, selectors.address(name, scheme)) for name, words in SECTIONS.items()
        ],
        "may_promote": may_promote(request.user),
    }


@require_safe
@for_watchers
def index(request: HttpRequest) -> HttpResponse:
    """What serves and how good it is, every version, and who promoted what."""
    scheme = scheme_of(request)
    champion = selectors.champion(scheme)
    page = selectors.page_of(
        selectors.versions(scheme), request.GET.get("page"), selectors.VERSIONS_A_PAGE
    )
    rows = [_row(version, champion) for version in page]
    ledger = selectors.page_of(
        selectors.ledger(scheme), request.GET.get("ledger"), selectors.LEDGER_LINES
    )
    back = way_back(scheme, champion)
    context = {
        **shared(request, scheme, "models"),
        "champion": next((row for row in rows if row["version"] == champion), None)
        or (champion and _row(champion, champion)),
        "rows": rows,
        "page": page,
        "ledger": ledger,
        "ledger_rows": [_ledger_row(line) for line in ledger],
        "back": back,
        "rollback_address": selectors.address("model-rollback", scheme),
        "alerts": selectors.standing_alerts(scheme),
        "figures": {"versions": _chart(scheme)},
    }
    return render(request, "dashboard/model_list.html", context)


def _row(version: ModelVersion, champion: ModelVersion | None) -> dict[str, Any]:
    scheme = version.scheme
    run = selectors.run_of(version)
    judged = tables.test_of(version)
    is_champion = version == champion
    return {
        "version": version,
        "address": selectors.address("model", scheme, version.version),
        "promote_address": selectors.address("model-promote", scheme, version.version),
        "compare_address": None
        if champion is None or is_champion
        else _compare_address(champion, version),
        "is_champion": is_champion,
        "metrics": tables.metrics(judged),
        "main": tables.figure(judged, "macro_recall"),
        "accuracy": tables.figure(judged, "accuracy"),
        "f1": tables.figure(judged, "macro_f1"),
        "ece": tables.figure(judged, "ece"),
        "test_size": judged.get("size", version.test_size),
        "data": version.parameters.get("data", ""),
        "run": run,
        "run_address": run and selectors.address("model-run", scheme, run.pk),
        "asker": run and stories.asker(run),
        "teacher": stories.teacher(run),
        "gate": tables.gate(version.gate),
        "mlflow": selectors.mlflow_address(version),
    }


def _compare_address(first: ModelVersion, second: ModelVersion) -> str:
    path = selectors.address("model-compare", second.scheme)
    joint = "&" if "?" in path else "?"
    return f"{path}{joint}a={first.version}&b={second.version}"


def _ledger_row(line: Promotion) -> dict[str, Any]:
    return {
        "line": line,
        "to": selectors.address("model", line.scheme, line.version.version),
        "from": line.previous and selectors.address("model", line.scheme, line.previous.version),
    }


def _chart(scheme: LabelScheme) -> dict[str, Any] | None:
    newest = scheme.versions.only("version", "metrics", "scheme").order_by("-version")[:CHARTED]
    known = [
        (version.version, tables.figure(tables.test_of(version), "macro_recall"))
        for version in reversed(newest)
        if "macro_recall" in tables.test_of(version)
    ]
    if len(known) < 2:
        return None
    rows = [{"value": f.value, "low": f.low, "high": f.high} for _, f in known]
    return model_figures.versions([number for number, _ in known], rows)


@require_safe
@for_watchers
def detail(request: HttpRequest, number: int) -> HttpResponse:
    """Everything that is known of one version."""
    scheme = scheme_of(request)
    version = found_or_404(scheme, number)
    champion = selectors.champion(scheme)
    names = tables.category_names(list(scheme.categories.all()))
    judged = tables.test_of(version)
    matrix = tables.confusion(version, names)
    bins = calibration_of(version)
    run = selectors.run_of(version)
    epochs = run.history if run is not None else []
    posts = selectors.provenance(version)
    context = {
        **shared(request, scheme, "models"),
        "row": _row(version, champion),
        "version": version,
        "metrics": tables.metrics(judged),
        "validation": tables.metrics(version.metrics.get("validation") or {}),
        "classes": tables.classes(judged, names),
        "slices": tables.slices(judged),
        "confusion": matrix,
        "bins": bins,
        "gate": tables.gate(version.gate),
        "parameters": tables.parameters(version.parameters),
        "lineage": list(stories.lineage(run)),
        "epochs": epochs,
        "posts": told.split_sizes(posts),
        "posts_total": sum(posts.values()),
        "alerts": selectors.file_alerts(version),
        "files": sorted(version.artifact_digests.items()),
        "promotions": [_ledger_row(line) for line in selectors.promotions_of(version)],
        "json_address": selectors.row_address("models", version),
        "figures": {
            "confusion": matrix and model_figures.confusion(matrix.names, matrix.counts),
            "calibration": bins and model_figures.calibration({told.version_name(number): bins}),
            "history": run and epochs and model_figures.history(epochs, run.losses),
        },
    }
    return render(request, "dashboard/model_page.html", context)


def found_or_404(scheme: LabelScheme, number: int) -> ModelVersion:
    """Raises Http404."""
    # More than any database's numbers hold is no version either.
    version = selectors.version(scheme, number) if number < 2**31 else None
    if version is None:
        raise Http404(f"There is no version {number}.")
    return version
