"""What labels tell, once they have come, of the accuracy that a report estimated without them."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from ingestion.models import Post
from modeling.models import (
    Annotation,
    Assignment,
    Category,
    LabelScheme,
    ModelVersion,
    Prediction,
    QualityReport,
    TrainingPost,
)
from modeling.services import quality, truth
from modeling.services.annotate import annotate
from tests.modeling.watching import arrive, calm

pytestmark = pytest.mark.django_db(transaction=True)


def label(posts: Sequence[Post], person: User, reason: str = "", *, right: bool = True) -> None:
    """Has a person label posts as they were judged, or otherwise; handed to them for a reason."""
    for post in posts:
        judged = post.predictions.serving().get()
        wrong = judged.scheme.categories.exclude(pk=judged.category_id)[0]
        if reason:
            Assignment.objects.create(
                post=post,
                scheme=judged.scheme,
                annotator=person,
                reason=reason,
                why="?",
                expires_at=timezone.now() + timedelta(minutes=1),
            )
        annotate(post, judged.category if right else wrong, annotator=person, seconds=3)


def told(report: QualityReport) -> dict[str, Any]:
    truth.fill_in_truth(report.scheme)
    report.refresh_from_db()
    return report.accuracy


def test_enough_labels_of_a_random_draw_stand_for_themselves(
    watched: ModelVersion, scheme: LabelScheme, client: Client, admin_user: User
) -> None:
    posts = arrive(calm(80))
    report = quality.build_report(scheme)
    label(posts[:29], admin_user, "random")
    label(posts[40:60], admin_user, "uncertain", right=False)
    found = told(report)
    assert (found["drawn"], found["labelled"]) == ("chosen", 49)
    out = StringIO()
    call_command("check_quality", stdout=out)
    assert "on 49 posts that were chosen for labelling and may be harder" in out.getvalue()
    label(posts[29:31], admin_user, "random", right=False)
    found = told(report)
    assert (found["drawn"], found["labelled"]) == ("random", 31)
    assert found["true"] == pytest.approx(29 / 31, abs=1e-4)
    out = StringIO()
    call_command("check_quality", stdout=out)
    assert "on 31 labelled posts that were drawn at random" in out.getvalue()
    client.force_login(admin_user)
    page = client.get("/admin/modeling/qualityreport/").content.decode()
    assert "93.5% of 31 posts drawn at random" in page


def test_a_judgement_from_after_the_label_makes_no_random_draw(
    watched: ModelVersion, scheme: LabelScheme, admin_user: User
) -> None:
    posts = arrive(calm(60))
    report = quality.build_report(scheme)
    label(posts[:40], admin_user, "random")
    Assignment.objects.update(finished_at=timezone.now() - timedelta(hours=1))
    found = told(report)
    assert (found["drawn"], found["labelled"]) == ("chosen", 40)


def test_what_was_expected_of_labelled_posts_is_calibrated_as_the_estimate(
    watched: ModelVersion, scheme: LabelScheme, admin_user: User
) -> None:
    posts = arrive(calm(80))
    report = quality.build_report(scheme)
    label(posts, admin_user)
    mean = np.mean(Prediction.objects.values_list("confidence", flat=True))
    # The reference's labels are what the model says: it is right more often than it believes.
    found = told(report)
    assert found["estimated_on_labelled"] == pytest.approx(found["estimated"], abs=2e-4)
    assert found["estimated_on_labelled"] > mean + 0.005
    # As reports were before they kept what corrects confidence.
    del report.accuracy["correction"]
    report.save()
    assert told(report)["estimated_on_labelled"] == pytest.approx(mean, abs=1e-4)


def test_labels_that_vanish_take_the_truth_with_them(
    watched: ModelVersion, scheme: LabelScheme, admin_user: User
) -> None:
    posts = arrive(calm(60))
    report = quality.build_report(scheme)
    before = report.accuracy
    label(posts[:5], admin_user)
    assert told(report)["labelled"] == 5
    Annotation.objects.update(replaced_at=timezone.now())
    assert told(report) == before


def test_late_labels_are_held_against_the_estimate(
    watched: ModelVersion, scheme: LabelScheme, admin_user: Any
) -> None:
    posts = arrive(calm(80))
    report = quality.build_report(scheme)
    assert report.accuracy["estimated"] > 0.9 and "true" not in report.accuracy
    predicted = dict(Prediction.objects.values_list("post_id", "category_id"))
    for index, post in enumerate(posts[:20]):
        right = Category.objects.get(pk=predicted[post.pk])
        wrong = scheme.categories.exclude(pk=right.pk)[0]
        annotate(post, right if index % 4 else wrong, annotator=admin_user)
    assert truth.fill_in_truth(scheme) == 1
    assert truth.fill_in_truth(scheme) == 0
    report.refresh_from_db()
    told = report.accuracy
    assert (told["true"], told["labelled"]) == (0.75, 20)
    assert told["true_low"] < 0.75 < told["true_high"]
    assert told["drawn"] == "chosen"
    assert told["estimated_on_labelled"] == pytest.approx(told["estimated"], abs=0.02)


def test_labels_are_held_against_what_served_and_had_not_learned_from_them(
    watched: ModelVersion,
    scheme: LabelScheme,
    make_version: Callable[..., ModelVersion],
    admin_user: Any,
) -> None:
    posts = arrive(calm(20))
    other = make_version(2)
    wrong = scheme.categories.last()
    Prediction.objects.bulk_create(
        Prediction(
            post=post,
            model_version=other,
            scheme=scheme,
            category=wrong,
            confidence=0.4,
            scores={},
            is_serving=False,
        )
        for post in posts
    )
    report = quality.build_report(scheme)
    for post in posts:
        annotate(post, post.predictions.serving().get().category, annotator=admin_user)
    # The other version learned from all of them, the one that serves from the first five.
    for version, learned in ((other, posts), (watched, posts[:5])):
        TrainingPost.objects.bulk_create(
            TrainingPost(version=version, post=post, split=TrainingPost.Split.TRAIN)
            for post in learned
        )
    TrainingPost.objects.bulk_create(
        TrainingPost(version=watched, post=post, split=TrainingPost.Split.TEST)
        for post in posts[5:]
    )
    truth.fill_in_truth(scheme)
    report.refresh_from_db()
    assert (report.accuracy["true"], report.accuracy["labelled"]) == (1.0, 15)
