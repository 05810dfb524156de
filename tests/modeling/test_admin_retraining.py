"""Asking for a training in the admin: who may, what is asked, what is told."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from modeling.models import LabelScheme, ModelVersion, TrainingRun
from tests.brokers import broker_away
from tests.dashboard.reading import text_of, words_of
from tests.site.test_roles import EVERY_ROLE, MODEL_MANAGERS, as_role

pytestmark = pytest.mark.django_db

LIST = reverse("admin:modeling_trainingrun_changelist")
RETRAIN = reverse("admin:modeling_trainingrun_retrain")


@pytest.fixture
def boss(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


def ask(client: Client, scheme: LabelScheme, when: str) -> str:
    """What the list says after the button was pressed."""
    answer = client.post(RETRAIN, {"scheme": scheme.pk, "when": when}, follow=True)
    assert answer.redirect_chain == [(LIST, 302)]
    return answer.content.decode()


def test_a_training_that_no_trigger_asks_for_is_not_needed(
    boss: Client, champion: ModelVersion
) -> None:
    said = words_of(ask(boss, champion.scheme, "fired"))
    assert "No training is needed: no trigger fired." in said
    assert not TrainingRun.objects.exists()


def test_a_training_is_asked_for_whatever_the_triggers_say(
    boss: Client, admin_user: User, champion: ModelVersion
) -> None:
    page = ask(boss, champion.scheme, "always")
    run = TrainingRun.objects.get()
    assert (run.requested_by, run.is_automatic, run.reason) == (admin_user, False, "forced")
    address = reverse("admin:modeling_trainingrun_change", args=[run.pk])
    assert f'<a href="{address}">Run {run.pk}</a> is queued: forced.' in page
    assert f"Run {run.pk}</a> is queued" in ask(boss, champion.scheme, "always")
    assert TrainingRun.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_workers_are_told_and_the_run_is_kept_while_that_fails(
    boss: Client, champion: ModelVersion
) -> None:
    with broker_away():
        said = words_of(ask(boss, champion.scheme, "always"))
    run = TrainingRun.objects.get()
    assert f"run {run.pk} is kept" in said and run.error
    ask(boss, champion.scheme, "fired")
    run.refresh_from_db()
    assert (run.status, run.error) == ("queued", "")


def test_the_scheme_is_asked_for_where_there_are_several(
    boss: Client, champion: ModelVersion
) -> None:
    assert "whatever the triggers say Retrain now" in text_of(boss, LIST)
    mood = LabelScheme.objects.create(key="mood", name="Mood")
    assert "Scheme: Mood Sentiment Retrain now" in text_of(boss, LIST)
    chosen = f'<option value="{champion.scheme.pk}" selected>'
    assert chosen in boss.get(LIST).content.decode()
    ask(boss, mood, "always")
    assert TrainingRun.objects.get().scheme == mood


def test_what_was_left_out_is_said(boss: Client, champion: ModelVersion) -> None:
    answer = boss.post(RETRAIN, {"when": "sometimes"}, follow=True)
    assert "Choose a scheme, and when to train." in answer.content.decode()
    assert boss.get(RETRAIN).status_code == 405
    assert not TrainingRun.objects.exists()


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_only_who_manages_models_may_ask(role: str, champion: ModelVersion) -> None:
    client = as_role(role, is_staff=True)
    may = role in MODEL_MANAGERS
    assert ("Retrain now" in client.get(LIST).content.decode()) is may
    answer = client.post(RETRAIN, {"scheme": champion.scheme.pk, "when": "always"})
    assert answer.status_code == (302 if may else 403)
    assert TrainingRun.objects.exists() is may
