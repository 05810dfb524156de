"""Where people label posts and promote models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator

from ingestion.admin import EXCERPT, PostAdmin, ReadOnly
from ingestion.models import Post
from modeling.exceptions import GateRefused, ModelingError
from modeling.forms import PromoteForm
from modeling.ml.artifact import ArtifactError
from modeling.models import (
    Annotation,
    Category,
    Experiment,
    LabelScheme,
    ModelVersion,
    Prediction,
    Promotion,
    QualityReport,
    TrainingRun,
)
from modeling.presenters import mapping_html, metrics_html, reference_html, verdict_html
from modeling.selectors import versions_of
from modeling.services.annotate import annotate, annotate_many
from modeling.services.promote import promote


def badge(category: Category) -> str:
    """A category as a coloured dot beside its name: colour is never the only sign."""
    return format_html('<span style="color:{}">●</span> {}', category.color, category.name)


class ReadOnlyInline(admin.TabularInline):
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class PredictionInline(ReadOnlyInline):
    model = Prediction
    fields = ["category", "confidence", "scores", "model_version", "is_serving", "created_at"]


class AnnotationInline(ReadOnlyInline):
    model = Annotation
    fields = ["category", "annotator", "origin", "created_at", "replaced_at"]


def label_action(category: Category) -> Callable[..., None]:
    """An admin action that labels the selected rows' posts as `category`."""

    def action(modeladmin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        column = "pk" if queryset.model is Post else "post_id"
        ids = queryset.values_list(column, flat=True)
        changed = annotate_many(
            category.scheme,
            dict.fromkeys(ids, category.key),
            annotator=_user(request),
            origin=Annotation.Origin.HUMAN,
        )
        modeladmin.message_user(request, f"{changed} posts labelled {category.name}.")

    action.__name__ = f"label_{category.scheme.key}_{category.key}"
    return action


def _user(request: HttpRequest) -> User:
    # Only signed-in staff reach the admin.
    if not isinstance(request.user, User):
        raise TypeError("the admin was reached without signing in")
    return request.user


class LabelActions(admin.ModelAdmin):
    """Adds an action a category to a list of posts or predictions."""

    def get_actions(self, request: HttpRequest) -> Any:
        actions: dict[str, Any] = super().get_actions(request)
        if not request.user.has_perm("modeling.add_annotation"):
            return actions
        for category in Category.objects.select_related("scheme"):
            name = f"label_{category.scheme.key}_{category.key}"
            actions[name] = (label_action(category), name, f"Label as {category.name}")
        return actions


class LabelForm(forms.ModelForm):
    """A post's page: everything is read only but the label."""

    label = forms.ModelChoiceField(
        Category.objects.none(),
        required=False,
        empty_label="no label",
        widget=forms.RadioSelect,
        help_text="Your judgement of this post; saving replaces your earlier one.",
    )

    class Meta:
        model = Post
        fields: list[str] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["label"]
        if isinstance(choice, forms.ModelChoiceField):
            choice.queryset = Category.objects.filter(scheme__key=LabelScheme.DEFAULT_KEY)


admin.site.unregister(Post)


@admin.register(Post)
class LabelledPostAdmin(LabelActions, PostAdmin):
    """Posts with their predictions and labels; a post is labelled on its page or in the list."""

    form = LabelForm
    inlines = [PredictionInline, AnnotationInline]
    readonly_fields = [*PostAdmin.readonly_fields, "versions"]
    fields = (*PostAdmin.fields, "versions")

    @admin.display(description="versions, oldest first")
    def versions(self, post: Post) -> str:
        return format_html_join(
            "",
            '<div><a href="{}">{}</a> {} UTC: {}</div>',
            (
                (
                    reverse("admin:ingestion_post_change", args=[version.pk]),
                    version.external_id,
                    f"{version.created_at:%Y-%m-%d %H:%M}",
                    _standing(version, post),
                )
                for version in versions_of(post)
            ),
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = list(super().get_fieldsets(request, obj))
        names = [name for name in self.get_fields(request, obj) if name != "label"]
        return [("Label", {"fields": ["label"]}), *fieldsets] if names else fieldsets

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        own = obj and obj.annotations.current().filter(annotator=request.user.pk).first()
        form.base_fields["label"].initial = own.category_id if own else None
        return form

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("modeling.add_annotation")

    def save_model(
        self, request: HttpRequest, obj: Post, form: forms.ModelForm, change: bool
    ) -> None:
        if category := form.cleaned_data["label"]:
            annotate(obj, category, annotator=_user(request))


def _standing(version: Post, shown: Post) -> str:
    state = "counts"
    if version.deleted_at:
        state = "deleted at its source"
    elif version.is_superseded:
        state = "replaced by a later edit"
    return f"{state}; this page" if version == shown else state


@admin.register(Prediction)
class PredictionAdmin(LabelActions, ReadOnly):
    list_display = ["post_text", "judgement", "confidence_percent", "model_version", "created_at"]
    list_filter = ["category", "is_serving", "model_version", "post__source", "created_at"]
    list_select_related = ["post", "category", "model_version"]
    search_fields = ["post__text"]
    show_full_result_count = False
    list_per_page = 50

    @admin.display(description="post")
    def post_text(self, prediction: Prediction) -> str:
        return Truncator(prediction.post.text).chars(EXCERPT)

    @admin.display(description="sentiment", ordering="category")
    def judgement(self, prediction: Prediction) -> str:
        return badge(prediction.category)

    @admin.display(description="confidence", ordering="confidence")
    def confidence_percent(self, prediction: Prediction) -> str:
        return f"{prediction.confidence:.0%}"


@admin.register(Annotation)
class AnnotationAdmin(admin.ModelAdmin):
    list_display = ["post_text", "judgement", "annotator", "origin", "created_at", "replaced_at"]
    list_filter = ["category", "origin", "annotator", ("replaced_at", admin.EmptyFieldListFilter)]
    list_select_related = ["post", "category", "annotator"]
    search_fields = ["post__text"]
    raw_id_fields = ["post"]
    fields = ["post", "category"]
    show_full_result_count = False

    def has_change_permission(self, request: HttpRequest, obj: Annotation | None = None) -> bool:
        # A label is replaced by a new one, so that its history stays.
        return False

    def save_model(
        self, request: HttpRequest, obj: Annotation, form: forms.ModelForm, change: bool
    ) -> None:
        saved = annotate(obj.post, obj.category, annotator=_user(request))
        obj.pk, obj.scheme_id = saved.pk, saved.scheme_id

    @admin.display(description="post")
    def post_text(self, annotation: Annotation) -> str:
        return Truncator(annotation.post.text).chars(EXCERPT)

    @admin.display(description="label", ordering="category")
    def judgement(self, annotation: Annotation) -> str:
        return badge(annotation.category)


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
            entry = promote(version, by=_user(request), **form.cleaned_data)
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


class CategoryInline(admin.TabularInline):
    model = Category
    extra = 0


@admin.register(LabelScheme)
class LabelSchemeAdmin(admin.ModelAdmin):
    list_display = ["name", "key", "category_count", "created_at"]
    inlines = [CategoryInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LabelScheme]:
        return super().get_queryset(request).annotate(count=Count("categories"))

    @admin.display(description="categories")
    def category_count(self, scheme: Any) -> int:
        return int(scheme.count)


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnly):
    list_display = ["id", "scheme", "status", "progress_percent", "message", "reason", "created_at"]
    list_filter = ["status", "is_automatic", "scheme"]
    list_select_related = ["scheme"]
    exclude = ["gate"]
    readonly_fields = ["verdict"]

    @admin.display(description="gate's verdict")
    def verdict(self, run: TrainingRun) -> str:
        return verdict_html(run.gate)

    @admin.display(description="progress", ordering="progress")
    def progress_percent(self, run: TrainingRun) -> str:
        return f"{run.progress:.0%}"


@admin.register(Promotion)
class PromotionAdmin(ReadOnly):
    list_display = ["promoted_at", "scheme", "version", "previous", "actor", "reason"]
    list_filter = ["scheme", "promoted_at"]
    list_select_related = ["scheme", "version", "previous"]


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
        return f"{told['true']:.1%} of {told['labelled']} labelled posts"


@admin.register(Experiment)
class ExperimentAdmin(ReadOnly):
    list_display = ["started_at", "mode", "champion", "challenger", "share", "stopped_at"]
    list_select_related = ["champion", "challenger"]
