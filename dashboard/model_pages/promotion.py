"""Promoting and rolling back: a page that says what will change, then the one service."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from dashboard.model_pages import selectors, tables
from dashboard.model_pages.access import for_promoters, scheme_of, who
from dashboard.model_pages.versions import found_or_404, shared
from dashboard.model_pages.words import english, filled
from modeling.exceptions import GateRefused, ModelingError
from modeling.forms import PromoteForm, RollbackForm
from modeling.ml.artifact import ArtifactError
from modeling.models import LabelScheme, ModelVersion
from modeling.services import gate
from modeling.services.promote import promote, rollback, way_back

CHANGED = _(
    "Another version has become the champion since this page was opened: look again at what "
    "will change."
)


@require_http_methods(["GET", "HEAD", "POST"])
@for_promoters
def promote_page(request: HttpRequest, number: int) -> HttpResponse:
    """Shows the gate's verdict and what changes; POST judges (`judge`) or promotes."""
    scheme = scheme_of(request)
    version = found_or_404(scheme, number)
    if request.method != "POST":
        return _ask(request, version, PromoteForm())
    if "judge" in request.POST:
        return _judge(request, version)
    form = PromoteForm(request.POST)
    if form.is_valid() and _is_as_shown(request, scheme, form):
        try:
            entry = promote(version, **who(request), **form.cleaned_data)
        except GateRefused as error:
            # It may have been judged just now: the page shows the new verdict.
            form.add_error("override", english(error))
        except (ModelingError, ArtifactError) as error:
            form.add_error(None, english(error))
        else:
            said = (
                gettext("Version %(version)s is the champion now.")
                if entry
                else gettext("Version %(version)s is the champion already.")
            )
            messages.success(request, said % {"version": version.version})
            return redirect(selectors.address("models", scheme))
    return _ask(request, version, form)


def _judge(request: HttpRequest, version: ModelVersion) -> HttpResponse:
    form = PromoteForm()
    try:
        gate.judge_version(version, selectors.champion(version.scheme))
    except (ModelingError, ArtifactError) as error:
        form = PromoteForm({})
        form.is_valid()
        said = gettext("It could not be judged: %(problem)s")
        form.add_error(None, filled(said, problem=english(error)))
    return _ask(request, version, form)


def _is_as_shown(request: HttpRequest, scheme: LabelScheme, form: forms.Form) -> bool:
    """Whether the champion is the one that the person saw."""
    champion = selectors.champion(scheme)
    if request.POST.get("champion", "") == (str(champion.version) if champion else ""):
        return True
    form.add_error(None, CHANGED)
    return False


def _ask(request: HttpRequest, version: ModelVersion, form: forms.Form) -> HttpResponse:
    champion = selectors.champion(version.scheme)
    verdict = tables.gate(version.gate)
    mine = tables.test_of(version)
    context: dict[str, Any] = {
        **shared(request, version.scheme, "models"),
        "version": version,
        "champion": champion,
        "is_champion": version == champion,
        "gate": verdict,
        # What was held against another champion says little of this one.
        "is_current": bool(version.gate)
        and version.gate.get("champion") == (champion.version if champion else None),
        "differences": []
        if champion is None
        else tables.differences(tables.test_of(champion), mine),
        "form": form,
        "back": selectors.address("model", version.scheme, version.version),
    }
    return render(request, "dashboard/model_promote.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_promoters
def rollback_page(request: HttpRequest) -> HttpResponse:
    """Shows what a rollback would change; POST does it."""
    scheme = scheme_of(request)
    form = RollbackForm(request.POST) if request.method == "POST" else RollbackForm()
    if request.method == "POST" and form.is_valid() and _is_as_shown(request, scheme, form):
        try:
            version = rollback(scheme, **who(request), **form.cleaned_data)
        except (ModelingError, ArtifactError) as error:
            form.add_error(None, english(error))
        else:
            said = gettext("Version %(version)s is the champion again.")
            messages.success(request, said % {"version": version.version})
            return redirect(selectors.address("models", scheme))
    champion = selectors.champion(scheme)
    latest = way_back(scheme, champion)
    context = {
        **shared(request, scheme, "models"),
        "champion": champion,
        "latest": latest,
        "version": latest and latest.previous,
        "gate": tables.gate(latest.previous.gate) if latest and latest.previous else None,
        "differences": tables.differences(tables.test_of(champion), tables.test_of(latest.previous))
        if champion and latest and latest.previous
        else [],
        "form": form,
        "back": selectors.address("models", scheme),
    }
    return render(request, "dashboard/model_rollback.html", context)
