"""How models came to be, and how they fare."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator

from ingestion.admin import EXCERPT, ReadOnly
from modeling.admin.base import user_of
from modeling.exceptions import ModelingError
from modeling.forms import RetrainSchemeForm
from modeling.models import Attempt, Experiment, QualityReport, TrainingRun
from modeling.presenters import verdict_html
from modeling.services import truth


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnly):
    list_display = ["id", "scheme", "status", "progress_percent", "message", "reason", "created_at"]
    list_filter = ["status", "is_automatic", "scheme"]
    list_select_related = ["scheme"]
    exclude = ["gate"]
    readonly_fields = ["verdict"]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.retrain_now)
        own = path("retrain/", view, name="modeling_trainingrun_retrain")
        return [own, *super().get_urls()]

    def has_retrain_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("modeling.add_trainingrun")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        form = RetrainSchemeForm() if self.has_retrain_permission(request) else None
        return super().changelist_view(request, {**(extra_context or {}), "retrain_form": form})

    def retrain_now(self, request: HttpRequest) -> HttpResponse:
        """Runs the retraining check, as the command and the API do, and says what came of it."""
        if not self.has_retrain_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = RetrainSchemeForm(request.POST)
        if form.is_valid():
            self._start(request, form)
        else:
            self.message_user(request, "Choose a scheme, and when to train.", messages.ERROR)
        return HttpResponseRedirect(reverse("admin:modeling_trainingrun_changelist"))

    def _start(self, request: HttpRequest, form: RetrainSchemeForm) -> None:
        try:
            decision = form.start(form.cleaned_data["scheme"], user_of(request))
        except ModelingError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        if decision.run is None:
            self.message_user(request, f"No training is needed: {decision.reason}.")
            return
        address = reverse("admin:modeling_trainingrun_change", args=[decision.run.pk])
        link = format_html('<a href="{}">Run {}</a>', address, decision.run.pk)
        said = format_html("{} is {}: {}.", link, decision.status, decision.reason)
        self.message_user(request, said, messages.SUCCESS)

    @admin.display(description="gate's verdict")
    def verdict(self, run: TrainingRun) -> str:
        return verdict_html(run.gate)

    @admin.display(description="progress", ordering="progress")
    def progress_percent(self, run: TrainingRun) -> str:
        return f"{run.progress:.0%}"


@admin.register(QualityReport)
class QualityReportAdmin(ReadOnly):
    list_display = [
        "created_at",
        "scheme",
        "post_count",
        "verdict",
        "estimated_accuracy",
        "true_accuracy",
        "model_version",
    ]
    list_filter = ["has_drift", "scheme"]
    list_select_related = ["scheme", "model_version"]

    @admin.display(description="verdict", ordering="has_drift")
    def verdict(self, report: QualityReport) -> str:
        return str(report.summary.get("verdict", "–"))

    @admin.display(description="estimated accuracy")
    def estimated_accuracy(self, report: QualityReport) -> str:
        if "estimated" not in (told := report.accuracy):
            return "–"
        shown = f"{told['estimated']:.1%} ({told['low']:.1%} – {told['high']:.1%})"
        return shown if told["is_trusted"] else f"{shown}, not to be trusted"

    @admin.display(description="true accuracy")
    def true_accuracy(self, report: QualityReport) -> str:
        if "true" not in (told := report.accuracy):
            return "–"
        drawn = "drawn at random" if told.get("drawn") == truth.RANDOM else "chosen for labelling"
        return f"{told['true']:.1%} of {told['labelled']} posts {drawn}"


@admin.register(Attempt)
class AttemptAdmin(ReadOnly):
    list_display = ["excerpt", "count", "error", "started_at"]
    list_select_related = ["post"]
    actions = ["try_again"]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("modeling.change_modelversion")

    @admin.action(description="Try again", permissions=["retry"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Attempt]) -> None:
        count, _ = queryset.delete()
        self.message_user(
            request,
            f"{count} posts: the next sweep tries them again; `classify --pending` does where they "
            "came over an hour ago.",
        )

    @admin.display(description="post")
    def excerpt(self, attempt: Attempt) -> str:
        return Truncator(attempt.post.text).chars(EXCERPT)


@admin.register(Experiment)
class ExperimentAdmin(ReadOnly):
    list_display = ["started_at", "mode", "champion", "challenger", "share", "stopped_at"]
    list_select_related = ["champion", "challenger"]
