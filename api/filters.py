"""Filters of the lists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import django_filters as filters
from django.db.models import Q, QuerySet

from ingestion.models import DailyUsage, Gap, Post, Stream, source_choices
from modeling.models import Annotation, Category, ModelVersion, Prediction, Promotion


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
    source = filters.ChoiceFilter(choices=source_choices)
    language = filters.CharFilter(field_name="lang")
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    search = filters.CharFilter(field_name="text", lookup_expr="icontains")

    class Meta:
        model = Post
        fields = ["versions", "stream", "source", "language", "since", "until", "search"]

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        data = data.copy() if data else {}
        if not data.get("versions"):
            data["versions"] = "current"
        super().__init__(data, *args, **kwargs)

    def of_versions(self, posts: QuerySet[Post], name: str, value: str) -> QuerySet[Post]:
        return posts if value == "all" else posts.filter(is_superseded=False)


class PredictionFilter(filters.FilterSet):
    post = filters.NumberFilter()
    stream = filters.ModelChoiceFilter(field_name="post__streams", queryset=Stream.objects.all())
    category = filters.ModelChoiceFilter(
        field_name="category", to_field_name="key", queryset=Category.objects.all()
    )
    version = filters.NumberFilter(field_name="model_version__version")
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Prediction
        fields = ["post", "stream", "category", "version", "since", "until", "is_serving"]


class AnnotationFilter(filters.FilterSet):
    category = filters.CharFilter(field_name="category__key")

    class Meta:
        model = Annotation
        fields = ["post", "category", "origin"]


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
