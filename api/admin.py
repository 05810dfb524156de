"""Tokens: made and revoked here, their secrets shown once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from api import tokens
from api.models import ApiToken
from ingestion.admin.base import actor

DEFAULT_DAYS = 365


class TokenForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=ApiToken.Scope.choices, widget=forms.CheckboxSelectMultiple
    )
    expires_at = forms.SplitDateTimeField(
        required=False,
        initial=lambda: timezone.now() + timedelta(days=DEFAULT_DAYS),
        widget=AdminSplitDateTime,
        help_text="Empty: never.",
    )

    class Meta:
        model = ApiToken
        fields = ["name", "user", "scopes", "expires_at"]

    def clean_scopes(self) -> str:
        return " ".join(self.cleaned_data["scopes"])


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    form = TokenForm
    list_display = [
        *("name", "prefix", "user", "scopes", "created_at", "created_by", "expires_at"),
        *("last_used_at", "revoked_at", "revoked_by"),
    ]
    list_filter = ["scopes", "user"]
    list_select_related = ["user", "created_by", "revoked_by"]
    search_fields = ["name", "prefix"]
    actions = ["revoke_selected"]

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        # What a token may do stays as it was granted; the list's action revokes.
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        # Who made and revoked it stays on record.
        return False

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return self.list_display if obj else TokenForm.Meta.fields

    def save_model(
        self, request: HttpRequest, obj: ApiToken, form: forms.ModelForm, change: bool
    ) -> None:
        secret = tokens.save_new(obj, by=actor(request))
        shown = format_html("Copy the token now, it is not shown again: <code>{}</code>", secret)
        self.message_user(request, shown, messages.WARNING)

    @admin.action(description="Revoke", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        count = tokens.revoke(ids, by=actor(request))
        self.message_user(request, f"{count} tokens revoked.")
