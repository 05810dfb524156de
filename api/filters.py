"""Filters of the lists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import django_filters as filters
from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.filters import OrderingFilter
from rest_framework.request import Request

from api.pagination import LARGEST_ID
from ingestion.models import (
    Alert,
    DailyUsage,
    Gap,
    Post,
    Stream,
    post_source_choices,
    source_choices,
)
from ingestion.models.posts import PostQuerySet
from ingestion.selectors import language_tags
from modeling.models import (
    Annotation,
    Category,
    ModelVersion,
    Prediction,
    Promotion,
    QualityReport,
    TrainingRun,
)

# Of larger numbers SQLite makes no question.
IN_THE_DATABASE = {"min_value": 0, "max_value": LARGEST_ID}
SEARCH = "all of these words (on SQLite parts of words, too)"


class OneOrder(OrderingFilter):
    """`ordering=created_at` or `-created_at`: one column of the view's, or a clear refusal."""

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> list[str]:
        asked = request.query_params.get(self.ordering_param, "")
        if not asked:
            return ["-id"]
        if asked.removeprefix("-") not in view.ordering_fields:
            known = ", ".join(view.ordering_fields)
            raise ValidationError({"ordering": f"Not one of: {known}; each also with a minus."})
        sign = "-" if asked.startswith("-") else ""
        return list(dict.fromkeys([asked, f"{sign}id"]))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        (parameter,) = super().get_schema_operation_parameters(view)
        names = [sign + name for name in view.ordering_fields for sign in ("", "-")]
        return [{**parameter, "schema": {"type": "string", "enum": names}}]


def _categories(key: str) -> list[Category]:
    """Those of every scheme that has one of that key."""
    found = list(Category.objects.filter(key=key))
    if not found:
        known = ", ".join(Category.objects.values_list("key", flat=True).distinct().order_by("key"))
        raise ValidationError({"category": f"{key!r} is not one of: {known}."})
    return found


class LanguageFilter(filters.CharFilter):
    """Of tags in any case, as the pages take them: en is en-gb, too."""

    def __init__(self, field_name: str) -> None:
        label = "a tag as en or pt-BR; en finds en-GB, too"
        super().__init__(field_name=field_name, lookup_expr="in", max_length=16, label=label)

    def filter(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return rows
        tags = language_tags([value])
        if not tags:
            raise ValidationError({"language": f"{value!r} is no language tag: write en or pt-BR."})
        return super().filter(rows, tags)


class StreamFilter(filters.FilterSet):
    source = filters.ChoiceFilter(choices=source_choices)
    is_active = filters.BooleanFilter()

    class Meta:
        model = Stream
        fields = ["source", "is_active"]


class GapFilter(filters.FilterSet):
    source = filters.ChoiceFilter(choices=source_choices)
    since = filters.IsoDateTimeFilter(method="lasting_since", label="not over before this")
    until = filters.IsoDateTimeFilter(field_name="started_at", lookup_expr="lt")

    class Meta:
        model = Gap
        fields = ["source", "state", "since", "until"]

    def lasting_since(self, gaps: QuerySet[Gap], name: str, value: datetime) -> QuerySet[Gap]:
        return gaps.filter(Q(ended_at__isnull=True) | Q(ended_at__gte=value))


class UsageFilter(filters.FilterSet):
    source = filters.ChoiceFilter(choices=source_choices)
    since = filters.DateFilter(field_name="day", lookup_expr="gte")
    until = filters.DateFilter(field_name="day", lookup_expr="lte")

    class Meta:
        model = DailyUsage
        fields = ["source", "stream", "since", "until"]


class PostFilter(filters.FilterSet):
    versions = filters.ChoiceFilter(
        choices=[
            ("current", "the newest of each post"),
            ("all", "earlier ones of edited posts too"),
        ],
        method="of_versions",
        label="current (unless told otherwise) or all",
    )
    stream = filters.ModelChoiceFilter(field_name="streams", queryset=Stream.objects.all())
    source = filters.ChoiceFilter(choices=post_source_choices)
    category = filters.CharFilter(method="judged_as", max_length=50, label="what serves says so")
    language = LanguageFilter("lang")
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    search = filters.CharFilter(method="with_words", max_length=200, label=SEARCH)

    class Meta:
        model = Post
        fields = [
            *("versions", "stream", "source", "category", "language", "since", "until", "search"),
        ]

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        data = data.copy() if data else {}
        if not data.get("versions"):
            data["versions"] = "current"
        super().__init__(data, *args, **kwargs)

    def judged_as(self, posts: QuerySet[Post], name: str, value: str) -> QuerySet[Post]:
        judged = Prediction.objects.serving().filter(category__in=_categories(value))
        return posts.filter(Exists(judged.filter(post=OuterRef("pk"))))

    def with_words(self, posts: PostQuerySet, name: str, value: str) -> PostQuerySet:
        return posts.matching(value)

    def of_versions(self, posts: QuerySet[Post], name: str, value: str) -> QuerySet[Post]:
        return posts if value == "all" else posts.filter(is_superseded=False)


class OfPosts(filters.FilterSet):
    """By what the judged post is."""

    post = filters.NumberFilter(**IN_THE_DATABASE)
    stream = filters.ModelChoiceFilter(field_name="post__streams", queryset=Stream.objects.all())
    source = filters.ChoiceFilter(field_name="post__source", choices=post_source_choices)
    language = LanguageFilter("post__lang")
    category = filters.CharFilter(method="of_category", max_length=50)
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    search = filters.CharFilter(method="with_words", max_length=200, label=SEARCH)

    def of_category(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(category__in=_categories(value))

    def with_words(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(post__in=Post.objects.matching(value))


class PredictionFilter(OfPosts):
    version = filters.NumberFilter(field_name="model_version__version", **IN_THE_DATABASE)

    class Meta:
        model = Prediction
        fields = ["version", "is_serving"]


class AnnotationFilter(OfPosts):
    scheme = filters.CharFilter(field_name="scheme__key", max_length=50)
    annotator = filters.CharFilter(field_name="annotator__username", max_length=150)
    is_current = filters.BooleanFilter(
        field_name="replaced_at", lookup_expr="isnull", label="not replaced by a later one"
    )

    class Meta:
        model = Annotation
        fields = ["scheme", "annotator", "origin", "is_current"]


class TrainingRunFilter(filters.FilterSet):
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = TrainingRun
        fields = ["status", "is_automatic", "since", "until"]


class QualityReportFilter(filters.FilterSet):
    version = filters.NumberFilter(field_name="model_version__version", **IN_THE_DATABASE)
    since = filters.IsoDateTimeFilter(field_name="window_end", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="window_end", lookup_expr="lt")

    class Meta:
        model = QualityReport
        fields = ["has_drift", "version", "since", "until"]


class AlertFilter(filters.FilterSet):
    is_standing = filters.BooleanFilter(
        field_name="closed_at", lookup_expr="isnull", label="not over"
    )
    since = filters.IsoDateTimeFilter(field_name="raised_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="raised_at", lookup_expr="lt")

    class Meta:
        model = Alert
        fields = ["kind", "severity", "is_standing", "since", "until"]


class ModelVersionFilter(filters.FilterSet):
    scheme = filters.CharFilter(field_name="scheme__key")

    class Meta:
        model = ModelVersion
        fields = ["scheme", "stage"]


class PromotionFilter(filters.FilterSet):
    scheme = filters.CharFilter(field_name="scheme__key")
    at = filters.IsoDateTimeFilter(method="serving_at", label="what served at this moment")

    class Meta:
        model = Promotion
        fields = ["scheme", "at"]

    def serving_at(self, lines: Any, name: str, value: datetime) -> Any:
        return lines.at(value)
