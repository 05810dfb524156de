"""Classifying: texts for callers, posts for good."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from dashboard.models import SentimentBucket
from ingestion.models import Post
from modeling import serving
from modeling.exceptions import NoChampion
from modeling.models import LabelScheme, ModelVersion, Prediction
from modeling.services import classify
from modeling.services.promote import promote


def make_posts(count: int, text: str = "i love this great phone") -> list[Post]:
    start = Post.objects.count()
    return Post.objects.bulk_create(
        Post(source="file", external_id=f"p{start + i}", text=text, created_at=timezone.now())
        for i in range(count)
    )


@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_waits_is_found_in_every_window(
    champion: ModelVersion, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(classify, "WINDOW", size)
    monkeypatch.setattr(classify, "CHUNK", 2)
    posts = make_posts(12)
    # Windows without posts, and with nothing left to do.
    Post.objects.filter(pk__in=[post.pk for post in posts[3:7]]).delete()
    classify.classify_posts([posts[8].pk, posts[9].pk])
    assert classify.classify_pending() == 6
    assert Prediction.objects.count() == Post.objects.count() == 8
    assert classify.classify_pending() == 0


def test_an_obvious_text_gets_its_label(champion: ModelVersion) -> None:
    batch = classify.classify_texts(
        ["the food wonderful today", "the food awful today"], channel="x"
    )
    assert [item.label for item in batch.items] == ["positive", "negative"]
    assert batch.version == "1"


def test_scores_cover_every_label_and_sum_to_one(champion: ModelVersion) -> None:
    item = classify.classify_texts(["hello"], channel="x").items[0]
    assert set(item.scores) == {"negative", "neutral", "positive"}
    assert sum(item.scores.values()) == pytest.approx(1, abs=1e-4)
    assert item.confidence == pytest.approx(max(item.scores.values()), abs=1e-4)


def test_a_long_text_is_cut_and_says_so(champion: ModelVersion) -> None:
    items = classify.classify_texts(["word " * 500, "short"], channel="x").items
    assert [item.truncated for item in items] == [True, False]


def test_without_a_champion_the_error_says_what_to_do(scheme: LabelScheme) -> None:
    serving.reset()
    with pytest.raises(NoChampion, match="bootstrap"):
        classify.classify_texts(["hello"], channel="x")


def test_a_post_is_classified_once_however_often_it_is_asked(champion: ModelVersion) -> None:
    ids = [post.pk for post in make_posts(3)]
    assert classify.classify_posts(ids) == 3
    assert classify.classify_posts(ids) == 0
    assert Prediction.objects.count() == 3


def test_pending_finds_what_was_left_and_leaves_deleted_posts(champion: ModelVersion) -> None:
    posts = make_posts(5)
    classify.classify_posts([posts[0].pk])
    Post.objects.filter(pk=posts[1].pk).update(deleted_at=timezone.now(), text="")
    seen: list[int] = []
    assert classify.classify_pending(progress=seen.append) == 3
    assert sum(seen) == 3


def test_pending_can_be_bounded_by_arrival(champion: ModelVersion) -> None:
    old, new = make_posts(2)
    Post.objects.filter(pk=old.pk).update(received_at=timezone.now() - timedelta(hours=2))
    hour_ago = timezone.now() - timedelta(hours=1)
    assert classify.classify_pending(received_since=hour_ago) == 1
    assert Prediction.objects.get().post_id == new.pk


def test_buckets_count_every_post_once(champion: ModelVersion) -> None:
    classify.classify_posts([post.pk for post in make_posts(7)])
    overall = SentimentBucket.objects.filter(stream__isnull=True)
    assert sum(overall.values_list("count", flat=True)) == 7


def test_queries_do_not_grow_with_the_posts(
    champion: ModelVersion, django_assert_max_num_queries: Callable
) -> None:
    ids = [post.pk for post in make_posts(200)]
    serving.champion()
    with django_assert_max_num_queries(16):
        classify.classify_posts(ids)


@pytest.mark.django_db(transaction=True)
def test_two_processes_at_once_classify_each_post_exactly_once(champion: ModelVersion) -> None:
    ids = [post.pk for post in make_posts(300)]
    counts: list[int] = []

    def work() -> None:
        try:
            counts.append(classify.classify_posts(ids))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 300
    assert Prediction.objects.serving().count() == 300
    overall = SentimentBucket.objects.filter(stream__isnull=True)
    assert sum(overall.values_list("count", flat=True)) == 300


def test_the_database_refuses_a_second_serving_prediction(
    champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    (post,) = make_posts(1)
    classify.classify_posts([post.pk])
    first = Prediction.objects.get()
    other = make_version(2)
    with pytest.raises(IntegrityError), transaction.atomic():
        Prediction.objects.create(
            post=post,
            scheme=first.scheme,
            model_version=other,
            category=first.category,
            confidence=0.5,
            scores={},
        )


def test_a_promotion_is_noticed_within_the_check_interval(
    champion: ModelVersion,
    make_version: Callable[..., ModelVersion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert serving.champion().version == "1"
    promote(make_version(2))
    monkeypatch.setattr(serving, "CHECK_SECONDS", 0)
    assert serving.champion().version == "2"


def test_a_broken_new_champion_leaves_the_old_one_serving(
    champion: ModelVersion,
    make_version: Callable[..., ModelVersion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serving.champion()
    # Its files are damaged after it was promoted, and before this process has read them.
    other = make_version(2)
    promote(other)
    ModelVersion.objects.filter(pk=other.pk).update(artifact_digests={"model.onnx": "0" * 64})
    monkeypatch.setattr(serving, "CHECK_SECONDS", 0)
    assert serving.champion().version == "1"
    assert "not the file that was registered" in serving.status()["error"]
