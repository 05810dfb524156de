"""Counts by minute, stream and category, kept as predictions are written."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, connections, transaction

from dashboard import buckets
from dashboard.models import SentimentBucket, SentimentPeriod
from ingestion.models import Post
from modeling.models import Category, LabelScheme, ModelVersion, Prediction
from tests.dashboard.factories import judge, make_post, make_posts, make_stream, serving_version

NOON = datetime(2026, 3, 1, 12, 0, 41, tzinfo=UTC)
MINUTE = NOON.replace(second=0)

pytestmark = pytest.mark.django_db


def counts(stream_id: int | None = None) -> dict[tuple[datetime, str], int]:
    rows = SentimentBucket.objects.filter(stream=stream_id)
    return {(row.minute, row.category.key): row.count for row in rows.select_related("category")}


def test_posts_of_one_minute_and_category_share_a_row() -> None:
    judge(make_post(at=NOON), make_post(at=MINUTE), make_post(at=MINUTE + timedelta(seconds=59)))
    assert counts() == {(MINUTE, "positive"): 3}


def test_the_next_minute_has_a_row_of_its_own() -> None:
    judge(make_post(at=NOON), make_post(at=MINUTE + timedelta(seconds=60)))
    assert counts() == {
        (MINUTE, "positive"): 1,
        (MINUTE + timedelta(minutes=1), "positive"): 1,
    }


def test_categories_are_counted_apart() -> None:
    judge(make_post(at=NOON), category="negative")
    judge(make_post(at=NOON), make_post(at=NOON), category="neutral")
    assert counts() == {(MINUTE, "negative"): 1, (MINUTE, "neutral"): 2}


def test_the_minute_is_that_of_the_post_not_of_its_judgement() -> None:
    judge(make_post(at=datetime(2019, 5, 4, 3, 2, 1, 999999, tzinfo=UTC)))
    assert set(counts()) == {(datetime(2019, 5, 4, 3, 2, tzinfo=UTC), "positive")}


def test_a_post_of_two_streams_counts_in_each_and_once_overall() -> None:
    football, cricket = make_stream("football"), make_stream("cricket")
    judge(make_post(at=NOON, streams=[football, cricket]), make_post(at=NOON, streams=[football]))
    assert counts() == {(MINUTE, "positive"): 2}
    assert counts(football.pk) == {(MINUTE, "positive"): 2}
    assert counts(cricket.pk) == {(MINUTE, "positive"): 1}


def test_later_batches_add_to_the_row_that_is_there() -> None:
    stream = make_stream()
    for size in (1, 2, 3):
        judge(*(make_post(at=NOON, streams=[stream]) for _ in range(size)))
    assert counts() == counts(stream.pk) == {(MINUTE, "positive"): 6}
    assert SentimentBucket.objects.count() == 2


def test_confidence_is_summed_so_that_its_mean_can_be_told() -> None:
    judge(make_post(at=NOON), confidence=0.5)
    judge(make_post(at=NOON), make_post(at=NOON), confidence=0.8)
    row = SentimentBucket.objects.get()
    assert row.confidence_sum / row.count == pytest.approx(0.7)


def test_a_batch_of_many_minutes_is_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_ROWS_A_STATEMENT", 7)
    judge(*(make_post(at=NOON + timedelta(minutes=i // 2)) for i in range(40)))
    assert set(counts().values()) == {2}
    assert len(counts()) == 20


def test_no_predictions_make_no_rows() -> None:
    buckets.add([])
    assert not SentimentBucket.objects.exists()


def test_queries_do_not_grow_with_the_posts(django_assert_max_num_queries: Callable) -> None:
    stream = make_stream()
    posts = [make_post(at=NOON + timedelta(minutes=i), streams=[stream]) for i in range(100)]
    predictions = judge(*posts)
    SentimentBucket.objects.all().delete()
    SentimentPeriod.objects.all().delete()
    # Posts' times, posts' streams, PostgreSQL's lock; overall and streams' minutes and periods.
    with django_assert_max_num_queries(7):
        buckets.add(predictions)


def test_the_categories_of_another_scheme_have_rows_of_their_own() -> None:
    topics = LabelScheme.objects.create(key="topics", name="Topics")
    sport = Category.objects.create(scheme=topics, key="sport", name="Sport")
    version = ModelVersion.objects.create(scheme=topics, version=1, run_id="r", base_model="tiny")
    post = make_post(at=NOON)
    judge(post)
    prediction = Prediction.objects.create(
        post=post,
        scheme=topics,
        model_version=version,
        category=sport,
        confidence=1,
        scores={},
    )
    buckets.add([prediction])
    assert counts() == {(MINUTE, "positive"): 1, (MINUTE, "sport"): 1}


def test_counts_roll_back_with_the_predictions() -> None:
    judge(make_post(at=NOON))
    with pytest.raises(RuntimeError, match="the disk is full"), transaction.atomic():
        judge(make_post(at=NOON), make_post(at=NOON))
        raise RuntimeError("the disk is full")
    assert counts() == {(MINUTE, "positive"): 1}
    assert Prediction.objects.count() == 1


def test_when_counting_fails_no_prediction_stays() -> None:
    serving_version()
    post = make_post(at=NOON)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE dashboard_sentimentbucket RENAME COLUMN count TO total")
    with pytest.raises(DatabaseError, match="count"), transaction.atomic():
        judge(post)
    assert not Prediction.objects.exists()


def test_the_database_refuses_a_second_row_for_the_same_minute() -> None:
    judge(make_post(at=NOON, streams=[make_stream()]))
    for row in SentimentBucket.objects.all():
        row.pk = None
        with pytest.raises(IntegrityError), transaction.atomic():
            row.save(force_insert=True)


def test_a_stream_that_is_removed_takes_its_counts_along() -> None:
    stream = make_stream()
    judge(make_post(at=NOON, streams=[stream]))
    stream.delete()
    assert counts() == {(MINUTE, "positive"): 1}


@pytest.mark.django_db(transaction=True)
def test_no_count_is_lost_when_several_workers_write_at_once() -> None:
    football, cricket = make_stream("football"), make_stream("cricket")
    posts = make_posts(240)
    for i, post in enumerate(posts):
        Post.objects.filter(pk=post.pk).update(created_at=NOON + timedelta(minutes=i % 5))
        # Opposite orders, which would dead-lock if rows were not written in one order.
        post.streams.set([football, cricket] if i % 2 else [cricket, football])
    serving_version()
    failures: list[BaseException] = []

    def work(mine: list[Post]) -> None:
        try:
            for start in range(0, len(mine), 6):
                judge(*mine[start : start + 6])
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    shares = [posts[0:60], posts[60:120][::-1], posts[120:180], posts[180:240][::-1]]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum(counts().values()) == 240
    assert sum(counts(football.pk).values()) == sum(counts(cricket.pk).values()) == 240
    assert set(counts().values()) == {48}


def periods(seconds: int, stream_id: int | None = None) -> dict[tuple[datetime, str], int]:
    rows = SentimentPeriod.objects.filter(seconds=seconds, stream=stream_id)
    return {(row.start, row.category.key): row.count for row in rows.select_related("category")}


def test_hours_and_days_hold_the_sums_of_their_minutes() -> None:
    stream = make_stream()
    judge(make_post(at=NOON, streams=[stream]), make_post(at=NOON + timedelta(minutes=58)))
    judge(make_post(at=NOON + timedelta(hours=11, minutes=59)))
    judge(make_post(at=NOON + timedelta(hours=12)), category="negative")
    hour, day = NOON.replace(minute=0, second=0), NOON.replace(hour=0, minute=0, second=0)
    late, tomorrow = hour + timedelta(hours=11), day + timedelta(days=1)
    assert periods(3600) == {
        (hour, "positive"): 2,
        (late, "positive"): 1,
        (tomorrow, "negative"): 1,
    }
    assert periods(86400) == {(day, "positive"): 3, (tomorrow, "negative"): 1}
    assert periods(86400, stream.pk) == {(day, "positive"): 1}


def test_the_migration_fills_hours_and_days_from_the_minutes() -> None:
    judge(make_post(at=NOON, streams=[make_stream()]), make_post(at=NOON))
    kept = periods(3600) | periods(86400)
    SentimentPeriod.objects.all().delete()
    import_module("dashboard.migrations.0004_fill_periods").fill(apps, None)
    assert periods(3600) | periods(86400) == kept
