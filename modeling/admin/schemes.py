"""Which categories posts are given."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from modeling.models import Category, LabelScheme


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
