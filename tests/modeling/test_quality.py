"""The report on incoming posts: what it sums up, when it alarms, what accuracy it expects."""

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone, translation

from ingestion.models import Alert, Post
from modeling import serving
from modeling.exceptions import NoChampion
from modeling.ml import artifact, features, reference
from modeling.models import LabelScheme, ModelVersion, Prediction
from modeling.services import quality
from tests.modeling.watching import arrive, calm

# Alerts leave after the commit.
pytestmark = pytest.mark.django_db(transaction=True)


def test_shifted_posts_are_drift_and_an_alert_that_closes(
    watched: ModelVersion, scheme: LabelScheme
) -> None:
    arrive(calm(150))
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "ok", report.statistics
    assert report.accuracy["is_trusted"]
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        arrive([f"WHAT?!! NUMBER {i} @you #SHOUT" for i in range(150)])
        report = quality.build_report(scheme)
        assert report.has_drift
        moved = report.statistics["upper_share"]
        assert moved["verdict"] == "drift"
        assert moved["reference_mean"] < 0.2 < 0.5 < moved["window_mean"]
        assert report.statistics["embedding"]["verdict"] == "drift"
        assert set(report.summary["telltale"]) == set(features.NAMES)
        assert report.summary["telltale"]["upper_share"] > 0
        assert report.statistics["domain_classifier"]["auc"] > 0.9
        assert not report.accuracy["is_trusted"]
        told = [report.accuracy["reason"]]
        with translation.override("de"):
            quality.build_report(scheme)
        told.append(Alert.objects.standing().get(kind="drift", key=scheme.key).message)
        # In words, and in English whoever asked.
        assert all("share of capitals" in one and "_" not in one for one in told), told
    with time_machine.travel(timezone.now() + timedelta(days=4)):
        # A quiet hour is no sign that it is over.
        assert quality.build_report(scheme).summary["verdict"] == "too_few"
        assert Alert.objects.standing().count() == 1
        arrive(calm(150, first=30_000))
        # Near a threshold, the next draw of posts may tell of drift again.
        assert quality.build_report(scheme).summary["verdict"] == "ok"
        assert Alert.objects.standing().count() == 1
        with time_machine.travel(timezone.now() + timedelta(days=2)):
            assert quality.build_report(scheme).summary["verdict"] == "too_few"
        assert Alert.objects.standing().count() == 1
        assert quality.build_report(scheme).summary["verdict"] == "ok"
    alert = Alert.objects.get()
    assert alert.closing_message == "incoming posts resemble the champion's reference again"


def test_a_text_that_everybody_repeats_is_one_opinion(
    watched: ModelVersion, scheme: LabelScheme
) -> None:
    arrive(["LOUD!!!! #ONE"] * 200)
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "too_few" and report.statistics == {}
    assert report.summary["duplicate_share"] == 0.995


def test_an_estimate_that_hangs_on_one_text_is_not_trusted(
    watched: ModelVersion, scheme: LabelScheme
) -> None:
    arrive(calm(100) + ["the game love today"] * 99)
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "ok" and report.accuracy["is_trusted"]
    arrive(["the game love today"] * 30)
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "ok" and not report.accuracy["is_trusted"]
    assert report.accuracy["reason"].startswith("one text makes up 56% of the posts")


def test_without_a_champion_there_is_no_report(scheme: LabelScheme) -> None:
    with pytest.raises(NoChampion):
        quality.build_report(scheme)


def test_a_version_without_a_reference_says_so(champion: ModelVersion, scheme: LabelScheme) -> None:
    arrive(calm(60))
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "no_reference"
    assert report.accuracy["estimated"] and not report.accuracy["is_trusted"]


def test_an_altered_reference_is_not_used(watched: ModelVersion, scheme: LabelScheme) -> None:
    arrive(calm(60))
    (Path(watched.artifact_uri) / reference.REFERENCE_FILE).write_bytes(b"altered")
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "no_reference"
    assert "not the file that was registered" in report.summary["problem"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (reference.REFERENCE_FILE, b"", "reference.npz is no reference"),
        (reference.REFERENCE_FILE, b"PK\x03\x04 cut short", "reference.npz is no reference"),
        (artifact.ONNX_FILE, b"no graph", "model.onnx cannot be read"),
        (artifact.ONNX_FILE, b"", "ends in no linear layer"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_and_no_end(
    watched: ModelVersion, scheme: LabelScheme, name: str, content: bytes, problem: str
) -> None:
    arrive(calm(60))
    folder = Path(watched.artifact_uri)
    (folder / name).write_bytes(content)
    watched.artifact_digests = artifact.digests(folder)
    watched.save()
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "no_reference"
    assert problem in report.summary["problem"]


def test_a_folder_that_cannot_be_looked_into_is_a_problem_and_no_end(
    watched: ModelVersion, scheme: LabelScheme
) -> None:
    arrive(calm(60))
    # Longer than a file system's names.
    watched.artifact_uri = f"/tmp/{'x' * 300}"
    watched.save()
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "no_reference" and report.summary["problem"]


def test_a_report_sums_the_window_up(champion: ModelVersion, scheme: LabelScheme) -> None:
    arrive(["the food awful today", "the food awful  today", "the song wonderful today", " "])
    Post.objects.filter(text__contains="song").update(lang="en-gb")
    report = quality.build_report(scheme)
    summary = report.summary
    assert (report.post_count, summary["sampled"]) == (4, 4)
    assert summary["categories"]["negative"] >= 2
    assert summary["language_shares"] == {"unknown": 0.75, "en": 0.25}
    assert summary["sources"] == {"x": 4}
    assert (summary["duplicate_share"], summary["empty_share"]) == (0.25, 0.25)
    assert sum(summary["confidence_histogram"]) == 4


def test_only_the_champion_s_own_judgements_of_the_window_count(
    make_version: Callable[..., ModelVersion], scheme: LabelScheme
) -> None:
    first = make_version(1, stage="champion")
    arrive(calm(3))
    ModelVersion.objects.filter(pk=first.pk).update(stage="archived")
    make_version(2, stage="champion")
    serving.reset()
    kept, old, gone = arrive(calm(3, first=10))
    Prediction.objects.filter(post=old).update(created_at=timezone.now() - timedelta(days=2))
    Post.objects.filter(pk=gone.pk).update(deleted_at=timezone.now())
    report = quality.build_report(scheme)
    assert (report.post_count, report.summary["sampled"]) == (4, 1)
    serving.reset()


def test_the_command_and_the_route_tell_the_same(
    watched: ModelVersion, scheme: LabelScheme, client: Client, admin_user: Any
) -> None:
    arrive(calm(60))
    out = StringIO()
    call_command("check_quality", "--json", stdout=out)
    told = json.loads(out.getvalue())
    answer = client.get("/data/quality").json()
    assert answer["status"] == told["verdict"] == "ok"
    assert answer["statistics"] == told["statistics"]
    assert answer["accuracy"] == told["accuracy"]
    out = StringIO()
    call_command("check_quality", stdout=out)
    assert "posts are like the champion's reference" in out.getvalue()
    assert "estimated accuracy" in out.getvalue()
    client.force_login(admin_user)
    page = client.get("/admin/modeling/qualityreport/").content.decode()
    assert f"{told['accuracy']['estimated']:.1%}" in page


@pytest.mark.parametrize("hours", ["-5", "0", "nan", "inf", "1e12", "8785"])
def test_a_window_without_a_length_is_refused(
    watched: ModelVersion, scheme: LabelScheme, hours: str
) -> None:
    with pytest.raises(CommandError, match="more than 0 and at most 8,784"):
        call_command("check_quality", f"--hours={hours}")
    assert not scheme.reports.exists()
