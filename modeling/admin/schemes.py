"""Which categories posts are given."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.forms.formsets import DELETION_FIELD_NAME
from django.http import HttpRequest

from modeling.models import Category, LabelScheme


class KeyStays(forms.ModelForm):
    """The key of what exists is fixed: versions, files and addresses go by it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None and "key" in self.fields:
            self.fields["key"].disabled = True


class CategoryFormSet(forms.BaseInlineFormSet):
    """Says what a category is needed for where it cannot be deleted."""

    def clean(self) -> None:
        # First: Django's own look gathers all that would have to go, which may be millions of rows.
        for form in self.initial_forms:
            if form.cleaned_data.get(DELETION_FIELD_NAME):
                _check_deletion(form.instance)
        super().clean()


def _check_deletion(category: Category) -> None:
    needed = [
        words
        for words, rows in (
            ("the model has judged posts so", category.predictions),
            ("people or files have labelled posts so", category.annotations),
        )
        if rows.exists()
    ]
    if needed:
        raise ValidationError(
            f"{category.key!r} cannot be deleted: {' and '.join(needed)}. "
            "Rename it, or make a new scheme"
        )


class CategoryInline(admin.TabularInline):
    model = Category
    form = KeyStays
    formset = CategoryFormSet
    extra = 0


@admin.register(LabelScheme)
class LabelSchemeAdmin(admin.ModelAdmin):
    form = KeyStays
    list_display = ["name", "key", "category_count", "created_at"]
    inlines = [CategoryInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LabelScheme]:
        return super().get_queryset(request).annotate(count=Count("categories"))

    @admin.display(description="categories")
    def category_count(self, scheme: Any) -> int:
        return int(scheme.count)
