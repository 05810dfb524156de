"""A list of posts in which each is labelled by one click."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.utils.html import format_html, format_html_join

from ingestion.models import Post
from modeling.admin.base import badge, dot, user_of
from modeling.models import Annotation, Category, LabelScheme, Prediction
from modeling.services.annotate import annotate

FIELD = "label"


class LabelInList(admin.ModelAdmin):
    """Shows what the champion and others say of each post, and a button a category."""

    class Media:
        css = {"all": ("css/admin_label.css",)}

    def get_list_display(self, request: HttpRequest) -> list[str | Callable[[Any], str | bool]]:
        first, *rest = super().get_list_display(request)
        own: list[Any] = []
        if request.user.has_perm("modeling.add_annotation"):
            own.append(_choice(list(_categories())))
        # Beside the text, so that it is in reach on narrow screens, too.
        return [first, *own, _judgement, _said, *rest]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        judged = Prediction.objects.serving().filter(scheme__key=LabelScheme.DEFAULT_KEY)
        labels = Annotation.objects.current().filter(scheme__key=LabelScheme.DEFAULT_KEY)
        own = labels.filter(post=OuterRef("pk"), annotator=request.user.pk)
        return (
            super()
            .get_queryset(request)
            .annotate(own_category=Subquery(own.values("category")[:1]))
            .prefetch_related(
                Prefetch("predictions", judged.select_related("category"), to_attr="judged"),
                Prefetch("annotations", labels.select_related("category"), to_attr="labels"),
            )
        )

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if request.method == "POST" and FIELD in request.POST:
            return self._label(request)
        return super().changelist_view(request, extra_context)

    def _label(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm("modeling.add_annotation"):
            raise PermissionDenied
        post_id, _, category_id = request.POST[FIELD].partition(":")
        if not (post_id.isdecimal() and category_id.isdecimal()):
            return HttpResponseBadRequest("label must be POST:CATEGORY, two numbers")
        post = Post.objects.filter(pk=min(int(post_id), 2**63 - 1)).first()
        category = _categories().filter(pk=min(int(category_id), 2**63 - 1)).first()
        if post is None or category is None or post.deleted_at:
            self.message_user(request, "That post or category is gone.", messages.ERROR)
        else:
            annotate(post, category, annotator=user_of(request))
            self.message_user(request, f"Labelled {category.name}.", messages.SUCCESS)
        # The same page of the same list.
        return HttpResponseRedirect(request.get_full_path())


def _categories() -> QuerySet[Category]:
    return Category.objects.filter(scheme__key=LabelScheme.DEFAULT_KEY)


@admin.display(description="the model says")
def _judgement(post: Any) -> str:
    return format_html_join(
        "", "{} {}", ((badge(one.category), f"{one.confidence:.0%}") for one in post.judged)
    )


@admin.display(description="people say")
def _said(post: Any) -> str:
    distinct = {label.category_id: label.category for label in post.labels}
    return format_html_join(", ", "{}", ((badge(category),) for category in distinct.values()))


def _choice(categories: Sequence[Category]) -> Callable[[Any], str]:
    @admin.display(description="your label")
    def choice(post: Any) -> str:
        if post.deleted_at:
            return ""
        buttons = format_html_join(
            "",
            '<button type="submit" name="{}" value="{}:{}" aria-pressed="{}">{} {}</button>',
            (
                (
                    FIELD,
                    post.pk,
                    category.pk,
                    "true" if post.own_category == category.pk else "false",
                    dot(category),
                    category.name,
                )
                for category in categories
            ),
        )
        return format_html('<div class="label-choice">{}</div>', buttons)

    return choice
