"""Quality reports: how the incoming posts changed, and what that does to the model."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.text import capfirst
from django.views.decorators.http import require_safe

from dashboard import model_figures
from dashboard.model_pages import selectors, stories, tables
from dashboard.model_pages.access import for_watchers, scheme_of
from dashboard.model_pages.versions import shared
from modeling.models import LabelScheme, QualityReport

# So many of the newest reports the chart of accuracies shows: two days of hourly ones.
CHARTED = 48


@require_safe
@for_watchers
def index(request: HttpRequest) -> HttpResponse:
    """Every report, newest first, and what stands."""
    scheme = scheme_of(request)
    page = selectors.page_of(selectors.reports(scheme), request.GET.get("page"))
    context = {
        **shared(request, scheme, "model-reports"),
        "page": page,
        "rows": [_row(report, scheme) for report in page],
        "alerts": selectors.standing_alerts(scheme),
        "figures": {"accuracy": _chart(scheme)},
    }
    return render(request, "dashboard/report_list.html", context)


def _row(report: QualityReport, scheme: LabelScheme) -> dict[str, Any]:
    return {
        "report": report,
        "story": stories.report(report),
        "accuracy": stories.accuracy(report),
        "address": selectors.address("model-report", scheme, report.pk),
        "version_address": report.model_version
        and selectors.address("model", scheme, report.model_version.version),
    }


def _chart(scheme: LabelScheme) -> dict[str, Any] | None:
    newest = scheme.reports.exclude(accuracy={}).only("window_end", "accuracy", "scheme")
    rows = list(reversed(newest[:CHARTED]))
    if len(rows) < 2:
        return None
    told = [stories.accuracy(row) for row in rows]
    return model_figures.accuracies(
        [row.window_end.isoformat() for row in rows],
        [{"value": one.estimated, "low": one.low, "high": one.high} for one in told],
        [{"true": one.true, "expected": one.expected, "is_random": one.is_random} for one in told],
    )


@require_safe
@for_watchers
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One report: what moved, from what to what, and whether the model can still be believed."""
    rows = QualityReport.objects.select_related("scheme", "model_version")
    report = rows.filter(pk=pk).first() if pk < 2**63 else None
    if report is None:
        raise Http404(f"There is no report {pk}.")
    scheme = report.scheme
    drift = stories.drift(report)
    labels = stories.labels(report, tables.category_names(list(scheme.categories.all())))
    context = {
        **shared(request, scheme, "model-reports"),
        **_row(report, scheme),
        "drift": drift,
        "labels": labels,
        "summary": report.summary,
        "languages": (report.summary.get("language_shares") or {}).items(),
        "alerts": selectors.standing_alerts(scheme),
        "json_address": selectors.row_address("reports", report),
        "figures": {
            "drift": drift
            and model_figures.drift(
                [(capfirst(row.name), row.reach, row.is_drift) for row in drift]
            ),
            "labels": labels
            and model_figures.shares(
                [row.name for row in labels],
                [row.before for row in labels],
                [row.now for row in labels],
            ),
        },
    }
    return render(request, "dashboard/report_page.html", context)
