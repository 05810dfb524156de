"""Asking for a training on the pages: who may, what is asked, where it leads."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from modeling.models import LabelScheme, ModelVersion, TrainingRun
from tests.brokers import broker_away
from tests.dashboard.model_rows import a_report
from tests.dashboard.reading import HTML, text_of, words_of

pytestmark = pytest.mark.django_db

RUNS, RETRAIN = "/models/runs/", "/models/runs/retrain/"


@pytest.fixture
def trainer(looker: Client) -> Client:
    """Somebody who may ask for trainings, where the site is closed."""
    user = User.objects.get()
    user.user_permissions.add(Permission.objects.get(codename="add_trainingrun"))
    return looker


def test_a_training_is_asked_for_and_leads_to_its_page(
    trainer: Client, champion: ModelVersion
) -> None:
    assert "whatever the triggers say Retrain now" in text_of(trainer, RUNS)
    answer = trainer.post(RETRAIN, {"when": "always"}, follow=True)
    run = TrainingRun.objects.get()
    assert answer.redirect_chain == [(f"/models/runs/{run.pk}/", 302)]
    assert "This run is asked for now: forced" in words_of(answer.content.decode())
    assert run.requested_by is not None and run.requested_by.username == "ann"
    again = trainer.post(RETRAIN, {"when": "fired"}, follow=True)
    assert again.redirect_chain == [(f"/models/runs/{run.pk}/", 302)]
    assert TrainingRun.objects.count() == 1


def test_why_none_is_needed_is_said_on_the_list_in_the_page_s_language(
    trainer: Client, champion: ModelVersion
) -> None:
    answer = trainer.post(RETRAIN, {"when": "fired"}, follow=True)
    assert answer.redirect_chain == [(RUNS, 302)]
    assert "No training is needed: no trigger fired" in words_of(answer.content.decode())
    german = {"Accept-Language": "de"}
    answer = trainer.post(RETRAIN, {"when": "fired"}, follow=True, headers=german)
    page = answer.content.decode()
    assert 'Es ist kein Training nötig: <span lang="en">no trigger fired</span>' in page
    assert "wenn ein Auslöser anschlägt" in page and "Jetzt trainieren" in page
    assert "Wähle" in trainer.post(RETRAIN, follow=True, headers=german).content.decode()


def test_who_had_to_sign_in_first_is_led_to_the_list(
    trainer: Client, champion: ModelVersion
) -> None:
    assert trainer.get(RETRAIN, follow=True).redirect_chain == [(RUNS, 302)]
    assert not TrainingRun.objects.exists()


def test_what_would_fire_but_for_want_of_labels_is_told(
    trainer: Client, champion: ModelVersion, scheme: LabelScheme
) -> None:
    report = a_report(scheme, model_version=champion, window_end=timezone.now())
    assert report.has_drift
    assert "waits for new labels" in text_of(trainer, RUNS)
    german = trainer.get(RUNS, headers={"Accept-Language": "de", **HTML})
    assert "wartet auf neue Einordnungen" in german.content.decode()


def test_the_scheme_is_the_one_that_is_looked_at(trainer: Client, champion: ModelVersion) -> None:
    mood = LabelScheme.objects.create(key="mood", name="Mood")
    assert f'action="{RETRAIN}?scheme=mood"' in trainer.get(f"{RUNS}?scheme=mood").content.decode()
    trainer.post(f"{RETRAIN}?scheme=mood", {"when": "always"})
    assert TrainingRun.objects.get().scheme == mood


@pytest.mark.django_db(transaction=True)
def test_while_no_worker_can_be_told_the_run_is_kept(
    trainer: Client, champion: ModelVersion
) -> None:
    with broker_away():
        answer = trainer.post(RETRAIN, {"when": "always"}, follow=True)
    run = TrainingRun.objects.get()
    assert f"run {run.pk} is kept" in words_of(answer.content.decode()) and run.error


def test_who_may_only_look_finds_no_button_and_is_refused(
    looker: Client, champion: ModelVersion
) -> None:
    assert "Retrain now" not in text_of(looker, RUNS)
    assert looker.post(RETRAIN, {"when": "always"}, headers=HTML).status_code == 403
    assert looker.get(RETRAIN).status_code == 403
    assert not TrainingRun.objects.exists()
