"""Where people label posts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.text import Truncator

from ingestion.admin import EXCERPT, PostAdmin, ReadOnly
from ingestion.models import Post
from modeling.admin.base import badge, user_of
from modeling.admin.choice import LabelInList
from modeling.admin.filters import LabellingFilter
from modeling.admin.label_files import LabelFiles
from modeling.models import Annotation, Category, LabelScheme, Prediction
from modeling.selectors import versions_of
from modeling.services.annotate import annotate, annotate_many


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
            annotator=user_of(request),
            origin=Annotation.Origin.HUMAN,
        )
        modeladmin.message_user(request, f"{changed} posts labelled {category.name}.")

    action.__name__ = f"label_{category.scheme.key}_{category.key}"
    return action


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
class LabelledPostAdmin(LabelActions, LabelInList, PostAdmin):
    """Posts with their predictions and labels; a post is labelled on its page or in the list."""

    list_filter = [LabellingFilter, *PostAdmin.list_filter]

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
            annotate(obj, category, annotator=user_of(request))


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
class AnnotationAdmin(LabelFiles):
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
        saved = annotate(obj.post, obj.category, annotator=user_of(request))
        obj.pk, obj.scheme_id = saved.pk, saved.scheme_id

    @admin.display(description="post")
    def post_text(self, annotation: Annotation) -> str:
        return Truncator(annotation.post.text).chars(EXCERPT)

    @admin.display(description="label", ordering="category")
    def judgement(self, annotation: Annotation) -> str:
        return badge(annotation.category)
