"""What a promotion or a training asks of a person: pages and admin share it."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from modeling.models import LabelScheme
from modeling.services import retrain
from modeling.tasks import hand_over


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


class RetrainForm(forms.Form):
    """Asks whether the triggers have a say."""

    ALWAYS = "always"

    when = forms.ChoiceField(
        choices=[("fired", _("if a trigger fires")), (ALWAYS, _("whatever the triggers say"))],
        label=_("Train"),
    )

    def start(self, scheme: LabelScheme, by: User | None) -> retrain.Decision:
        """Run the retraining check, and tell the workers of a new run.

        Raises BrokerAway: the run is kept then. Raises TrainingInProgress.
        """
        force = self.cleaned_data["when"] == self.ALWAYS
        decision = retrain.check(scheme, force=force, by=by)
        if decision.is_new and decision.run is not None:
            transaction.on_commit(partial(hand_over, decision.run))
        return decision


class RetrainSchemeForm(RetrainForm):
    """Asks for the scheme, too, where there are several."""

    scheme = forms.ModelChoiceField(LabelScheme.objects.all(), empty_label=None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["scheme"]
        keys = dict(LabelScheme.objects.values_list("key", "pk"))
        field.initial = keys.get(LabelScheme.DEFAULT_KEY)
        if len(keys) == 1:
            (field.initial,) = keys.values()
            field.widget = forms.HiddenInput()
