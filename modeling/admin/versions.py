"""Where versions are looked at and promoted."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from ingestion.admin import ReadOnly
from modeling.admin.base import user_of
from modeling.exceptions import GateRefused, ModelingError
from modeling.forms import PromoteForm
from modeling.ml.artifact import ArtifactError
from modeling.models import ModelVersion, Promotion
from modeling.presenters import mapping_html, metrics_html, reference_html, verdict_html
from modeling.services.promote import promote


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnly):
    list_display = [
        "version",
        "scheme",
        "stage",
        "outcome",
        "macro_recall",
        "accuracy",
        "train_size",
        "forgotten_posts",
        "base_model",
        "created_at",
        "promoted_at",
    ]
    list_filter = ["stage", "scheme"]
    list_select_related = ["scheme"]
    actions = ["promote_selected"]
    exclude = ["gate", "metrics", "parameters", "reference", "artifact_digests"]
    readonly_fields = ["figures", "verdict", "settings_used", "baseline", "files"]

    def has_promote_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("modeling.change_modelversion")

    @admin.action(description="Promote to champion …", permissions=["promote"])
    def promote_selected(
        self, request: HttpRequest, queryset: QuerySet[ModelVersion]
    ) -> HttpResponse | None:
        """Shows the gate's verdict and asks, then promotes."""
        if queryset.count() != 1:
            self.message_user(request, "Select exactly one version.", messages.ERROR)
            return None
        version = queryset.select_related("scheme").get()
        if "confirmed" not in request.POST:
            return self._ask(request, version, PromoteForm())
        form = PromoteForm(request.POST)
        if not form.is_valid():
            return self._ask(request, version, form)
        try:
            entry = promote(version, by=user_of(request), **form.cleaned_data)
        except GateRefused as error:
            # It may have been judged just now: the page shows the new verdict.
            form.add_error("override", str(error))
            return self._ask(request, version, form)
        except (ModelingError, ArtifactError) as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        outcome = "is the champion now" if entry else "is the champion already"
        self.message_user(request, f"Version {version.version} {outcome}.")
        return None

    def _ask(self, request: HttpRequest, version: ModelVersion, form: PromoteForm) -> HttpResponse:
        champion = ModelVersion.objects.champions().filter(scheme=version.scheme_id).first()
        context = {
            **admin.site.each_context(request),
            "version": version,
            "champion": champion,
            "verdict": verdict_html(version.gate),
            "form": form,
        }
        return TemplateResponse(request, "admin/modeling/promote.html", context)

    @admin.display(description="gate's verdict")
    def verdict(self, version: ModelVersion) -> str:
        return verdict_html(version.gate)

    @admin.display(description="figures")
    def figures(self, version: ModelVersion) -> str:
        return metrics_html(version.metrics)

    @admin.display(description="training parameters")
    def settings_used(self, version: ModelVersion) -> str:
        return mapping_html(version.parameters, ("parameter", "value"))

    @admin.display(description="reference for drift")
    def baseline(self, version: ModelVersion) -> str:
        return reference_html(version.reference)

    @admin.display(description="files")
    def files(self, version: ModelVersion) -> str:
        return mapping_html(version.artifact_digests, ("file", "SHA-256"))

    @admin.display(description="gate")
    def outcome(self, version: ModelVersion) -> str:
        return _outcome(version.gate)

    @admin.display(description="macro recall")
    def macro_recall(self, version: ModelVersion) -> str:
        return _figure(version, "macro_recall")

    @admin.display(description="accuracy")
    def accuracy(self, version: ModelVersion) -> str:
        return _figure(version, "accuracy")


def _figure(version: ModelVersion, name: str) -> str:
    value = version.metrics.get("test", {}).get(name)
    return "–" if value is None else f"{value:.3f}"


def _outcome(gate: dict[str, Any]) -> str:
    return "–" if not gate else "passed" if gate.get("passed") else "refused"


@admin.register(Promotion)
class PromotionAdmin(ReadOnly):
    list_display = ["promoted_at", "scheme", "version", "previous", "actor", "reason"]
    list_filter = ["scheme", "promoted_at"]
    list_select_related = ["scheme", "version", "previous"]
