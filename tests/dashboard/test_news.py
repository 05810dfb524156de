"""Following predictions as they are written: each once, in order, in bounded pieces."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from dashboard import news, selectors
from dashboard.news import News
from ingestion.models import Post
from modeling.models import ModelVersion, Prediction
from tests.dashboard.factories import judge, make_post, make_posts, make_stream, serving_version

NOON = datetime(2026, 3, 1, 12, 0, 41, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def told(reader: News) -> list[int]:
    """The posts of the next piece of news."""
    return [post["id"] for post in reader.read().posts]


def test_what_was_judged_before_the_first_look_is_no_news() -> None:
    judge(make_post())
    assert News().read() == ([], [], [])


def test_a_judgement_is_told_once() -> None:
    reader = News()
    post = make_post()
    judge(post)
    assert told(reader) == [post.pk]
    assert told(reader) == []


def test_the_newest_judgement_comes_first() -> None:
    reader = News()
    first, second = make_post(), make_post()
    judge(second, first)
    assert told(reader) == [first.pk, second.pk]


def test_a_post_is_told_with_its_sentiment_and_streams() -> None:
    reader = News()
    stream = make_stream()
    post = make_post("the game today", at=NOON, streams=[stream], author_username="ada", lang="en")
    judge(post, category="negative", confidence=0.87654)
    assert reader.read().posts == [
        {
            "id": post.pk,
            "text": "the game today",
            "author": "ada",
            "source": "file",
            "lang": "en",
            "created_at": "2026-03-01T12:00:41+00:00",
            "category": "negative",
            "confidence": 0.877,
            "streams": [stream.pk],
        }
    ]


def test_counts_are_by_minute_category_and_stream() -> None:
    reader = News()
    stream = make_stream()
    judge(make_post(at=NOON, streams=[stream]), make_post(at=NOON))
    judge(make_post(at=NOON + timedelta(minutes=1)), category="neutral")
    counts = {(c["minute"], c["stream"], c["category"]): c["count"] for c in reader.read().counts}
    assert counts == {
        ("2026-03-01T12:00:00+00:00", None, "positive"): 2,
        ("2026-03-01T12:00:00+00:00", stream.pk, "positive"): 1,
        ("2026-03-01T12:01:00+00:00", None, "neutral"): 1,
    }


def test_a_flood_comes_in_bounded_pieces_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors.live, "TICK_LIMIT", 20)
    reader = News()
    judge(*make_posts(50))
    pieces = [sum(count["count"] for count in reader.read().counts) for _ in range(4)]
    assert pieces == [20, 20, 10, 0]


def test_of_a_flood_only_the_newest_posts_are_told() -> None:
    reader = News()
    posts = make_posts(selectors.NEWEST + 5)
    judge(*posts)
    assert told(reader) == [post.pk for post in reversed(posts[5:])]


def test_a_challenger_s_judgements_are_not_told() -> None:
    reader = News()
    post, version = make_post(), serving_version()
    Prediction.objects.create(
        post=post,
        scheme=version.scheme,
        model_version=version,
        category=version.scheme.categories.first(),
        confidence=1,
        scores={},
        is_serving=False,
    )
    assert reader.read() == ([], [], [])


def test_a_post_deleted_at_its_source_is_not_told() -> None:
    reader = News()
    post = make_post()
    judge(post)
    Post.objects.filter(pk=post.pk).update(text="", deleted_at=timezone.now())
    assert told(reader) == []


def test_a_judgement_that_commits_behind_a_later_one_is_told() -> None:
    reader = News()
    early, late = make_post(), make_post()
    (prediction,) = judge(early)
    # As if the first transaction were still open.
    Prediction.objects.filter(pk=prediction.pk).update(is_serving=False)
    judge(late)
    assert told(reader) == [late.pk]
    Prediction.objects.filter(pk=prediction.pk).update(is_serving=True)
    assert told(reader) == [early.pk]
    assert told(reader) == []


def test_an_id_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "GRACE_SECONDS", 0.0)
    reader = News()
    early, late = make_post(), make_post()
    (prediction,) = judge(early)
    Prediction.objects.filter(pk=prediction.pk).update(is_serving=False)
    judge(late)
    assert told(reader) == [late.pk]
    Prediction.objects.filter(pk=prediction.pk).update(is_serving=True)
    assert told(reader) == []


def test_a_jump_of_a_million_ids_is_looked_for_in_part(
    django_assert_num_queries: Callable,
) -> None:
    reader = News()
    post = make_post()
    (prediction,) = judge(post)
    Prediction.objects.filter(pk=prediction.pk).update(id=prediction.pk + 1_000_000)
    assert told(reader) == [post.pk]
    assert len(reader._judged.missing) == news.MAXIMUM_MISSING
    with django_assert_num_queries(2):
        assert told(reader) == []


def test_queries_do_not_grow_with_the_news(django_assert_num_queries: Callable) -> None:
    reader = News()
    stream = make_stream()
    judge(*(make_post(streams=[stream]) for _ in range(60)))
    # Rows, their streams, the newest posts, their streams; withdrawals.
    with django_assert_num_queries(5):
        reader.read()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_of_transactions_that_overlap_nothing_is_lost() -> None:
    version: ModelVersion = serving_version()
    early, late = make_post(), make_post()
    reader = News()
    written, go_on = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with transaction.atomic():
                Prediction.objects.create(
                    post=early,
                    scheme=version.scheme,
                    model_version=version,
                    category=version.scheme.categories.first(),
                    confidence=1,
                    scores={},
                )
                written.set()
                go_on.wait(60)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert written.wait(60)
    judge(late)
    assert told(reader) == [late.pk]
    go_on.set()
    thread.join()
    assert told(reader) == [early.pk]
