"""Trainings: the list with what would start one, and the page of a run, live."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_safe

from dashboard import model_figures
from dashboard.access import may_watch
from dashboard.model_pages import selectors, stories, tables
from dashboard.model_pages.access import for_trainers, for_watchers, may_retrain, scheme_of
from dashboard.model_pages.versions import shared
from dashboard.model_pages.words import english, filled
from modeling.exceptions import ModelingError
from modeling.forms import RetrainForm
from modeling.models import LabelScheme, TrainingRun
from modeling.services.retrain import evaluate_triggers


@require_safe
@for_watchers
def index(request: HttpRequest) -> HttpResponse:
    """Every run, newest first, and how near each trigger is to starting the next."""
    scheme = scheme_of(request)
    page = selectors.page_of(selectors.runs(scheme), request.GET.get("page"))
    context = {
        **shared(request, scheme, "model-runs"),
        "page": page,
        "rows": [_row(run, scheme) for run in page],
        "triggers": stories.triggers(evaluate_triggers(scheme)),
        "retrain_form": RetrainForm() if may_retrain(request.user) else None,
        "retrain_address": selectors.address("model-retrain", scheme),
    }
    return render(request, "dashboard/run_list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_trainers
def retrain_now(request: HttpRequest) -> HttpResponse:
    """Runs the retraining check, and leads to the run; or back to the list, with why there is
    none."""
    scheme = scheme_of(request)
    back = redirect(selectors.address("model-runs", scheme))
    if request.method != "POST":
        # Signing in leads here, for whoever was signed out when they asked.
        return back
    form = RetrainForm(request.POST)
    if not form.is_valid():
        messages.error(request, gettext("Choose when to train."))
        return back
    try:
        decision = form.start(scheme, request.user if isinstance(request.user, User) else None)
    except ModelingError as error:
        messages.error(request, english(error))
        return back
    if decision.run is None:
        said = gettext("No training is needed: %(reason)s")
        messages.info(request, filled(said, reason=english(decision.reason)))
        return back
    said = (
        gettext("This run is asked for now: %(reason)s")
        if decision.is_new
        else gettext("Nothing new was asked for: %(reason)s")
    )
    messages.success(request, filled(said, reason=english(decision.reason)))
    return redirect(selectors.address("model-run", scheme, decision.run.pk))


def _row(run: TrainingRun, scheme: LabelScheme) -> dict[str, Any]:
    return {
        "run": run,
        "state": stories.run_state(run),
        "address": selectors.address("model-run", scheme, run.pk),
        "version_address": run.version and selectors.address("model", scheme, run.version.version),
        "asker": stories.asker(run),
        "took": run.finished_at - run.started_at if run.finished_at and run.started_at else None,
        "why": run.error or run.gate.get("reason", "") or run.reason,
    }


@require_safe
@for_watchers
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One run: progress and loss as it goes, why it began, how it ended."""
    run = _found(pk)
    scheme = run.scheme
    context = {
        **shared(request, scheme, "model-runs"),
        **_row(run, scheme),
        "triggers": stories.triggers(run.triggers),
        "lineage": list(stories.lineage(run)),
        "parameters": tables.parameters(run.parameters or run.options.get("arguments", {})),
        "gate": tables.gate(run.gate) if run.gate else None,
        "epochs": run.history,
        "json_address": selectors.row_address("training-runs", run),
        "progress": stories.progress(run),
        "figures": {"history": model_figures.history(run.history, run.losses)},
    }
    return render(request, "dashboard/run_page.html", context)


@require_safe
def data(request: HttpRequest, pk: int) -> HttpResponse:
    """What the page of an active run asks for again and again."""
    if not may_watch(request.user):
        return JsonResponse({"title": "Sign in first", "status": 401}, status=401)
    run = _found(pk)
    return JsonResponse(
        {
            **stories.progress(run),
            "history": run.history,
            "figure": model_figures.history(run.history, run.losses),
        }
    )


def _found(pk: int) -> TrainingRun:
    rows = TrainingRun.objects.select_related("scheme", "version", "requested_by")
    run = rows.filter(pk=pk).first() if pk < 2**63 else None
    if run is None:
        raise Http404(f"There is no training run {pk}.")
    return run
