"""What a promotion asks of a person: pages and admin share it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class PromoteForm(forms.Form):
    """Asks for a reason, which the ledger keeps; what the gate refuses takes one."""

    reason = forms.CharField(required=False, max_length=400, widget=forms.TextInput({"size": 80}))
    override = forms.BooleanField(
        required=False, label=_("Promote it even if the gate refuses it (say why above)")
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("override") and not data.get("reason"):
            self.add_error("reason", gettext("Say why the gate is overridden."))
        return data


class RollbackForm(forms.Form):
    """Asks for a reason, which the ledger keeps."""

    reason = forms.CharField(required=False, max_length=400, widget=forms.TextInput({"size": 80}))
