"""Counts when posts are deleted, edited, or found by further streams: always those of the rows."""

import json
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction

from dashboard import buckets
from dashboard.models import SentimentBucket, SentimentPeriod, Withdrawal
from dashboard.rebuild import rebuild
from ingestion.models import Post
from ingestion.services import forget, store
from modeling.models import Category, LabelScheme, ModelVersion, Prediction
from tests.dashboard.factories import judge, make_stream, serving_version
from tests.ingestion.factories import incoming

NOON = datetime(2026, 3, 1, 12, 0, 41, tzinfo=UTC)

pytestmark = pytest.mark.django_db
on_postgresql = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one writer at a time"
)


def put(external_id: str, *streams: int, at: datetime = NOON, original: str = "") -> Post:
    """Store a post as a source delivers it."""
    history = (original,) if original else ()
    store(
        [
            incoming(
                external_id=external_id,
                created_at=at,
                stream_ids=frozenset(streams),
                edit_history=history,
            )
        ]
    )
    return Post.objects.get(external_id=external_id)


def counts(stream_id: int | None = None) -> dict[str, int]:
    """By category, all minutes together; what is 0 is left out."""
    found: dict[str, int] = {}
    rows = SentimentBucket.objects.filter(stream=stream_id, count__gt=0)
    for key, count in rows.values_list("category__key", "count"):
        found[key] = found.get(key, 0) + count
    return found


def is_right() -> bool:
    return list(filter(None, rebuild(mend=False))) == []


def test_a_deleted_post_leaves_every_count() -> None:
    one, two = make_stream("one").pk, make_stream("two").pk
    judge(put("1", one, two), put("2", one))
    forget("x", ["1"])
    assert (counts(), counts(one), counts(two)) == ({"positive": 1}, {"positive": 1}, {})
    row = SentimentBucket.objects.get(stream=two)
    assert (row.count, row.confidence_sum) == (0, 0)
    assert is_right()


def test_a_deletion_that_is_repeated_takes_off_once() -> None:
    judge(put("1"), put("2"))
    for _ in range(3):
        forget("x", ["1"])
    assert counts() == {"positive": 1}


def test_of_an_edited_post_the_newest_version_counts() -> None:
    judge(put("1"), category="negative")
    judge(put("2", original="1"), category="positive")
    judge(put("3", original="1"), category="neutral")
    assert counts() == {"neutral": 1}
    forget("x", ["1"])
    assert counts() == {}
    assert is_right()


def test_a_post_that_nobody_judged_takes_nothing_off() -> None:
    judge(put("1"))
    put("2")
    forget("x", ["2"])
    assert counts() == {"positive": 1}
    assert not Withdrawal.objects.exists()


def test_a_post_found_by_another_stream_later_counts_there_too() -> None:
    one, two = make_stream("one").pk, make_stream("two").pk
    judge(put("1", one))
    put("1", one, two)
    put("1", two)
    assert (counts(), counts(one), counts(two)) == ({"positive": 1},) * 3
    forget("x", ["1"])
    assert (counts(), counts(one), counts(two)) == ({},) * 3


def test_a_post_that_counts_no_more_does_not_join_a_stream_s_counts() -> None:
    one = make_stream().pk
    judge(put("1"), put("2"))
    forget("x", ["1"])
    put("3", original="2")
    put("1", one)
    put("2", one)
    assert counts(one) == {}
    assert is_right()


def test_a_batch_that_links_and_edits_counts_both() -> None:
    one, two = make_stream("one").pk, make_stream("two").pk
    judge(put("1", one), put("5", one))
    posts = [
        incoming(external_id="5", created_at=NOON, stream_ids=frozenset({two})),
        incoming(external_id="1", created_at=NOON, stream_ids=frozenset({two})),
        incoming(external_id="2", created_at=NOON, edit_history=("1",)),
    ]
    store(posts)
    assert (counts(one), counts(two)) == ({"positive": 1}, {"positive": 1})
    assert is_right()


def test_counts_of_every_scheme_are_taken_off() -> None:
    post = put("1")
    judge(post)
    topics = LabelScheme.objects.create(key="topics", name="Topics")
    sport = Category.objects.create(scheme=topics, key="sport", name="Sport")
    version = ModelVersion.objects.create(scheme=topics, version=1, run_id="r", base_model="tiny")
    fields = {"category": sport, "confidence": 1, "scores": {}, "model_version": version}
    buckets.add([Prediction.objects.create(post=post, scheme=topics, **fields)])
    forget("x", ["1"])
    assert counts() == {}


def test_a_count_never_falls_below_zero() -> None:
    judge(put("1"), put("2"))
    SentimentBucket.objects.update(count=1, confidence_sum=0.1)
    forget("x", ["1", "2"])
    row = SentimentBucket.objects.get()
    assert (row.count, row.confidence_sum) == (0, 0)


def test_counts_roll_back_with_the_deletion() -> None:
    judge(put("1"))
    with pytest.raises(RuntimeError, match="the disk is full"), transaction.atomic():
        forget("x", ["1"])
        raise RuntimeError("the disk is full")
    assert counts() == {"positive": 1}
    assert Post.objects.visible().count() == 1


def test_queries_do_not_grow_with_the_posts(django_assert_max_num_queries: Callable) -> None:
    one = make_stream().pk
    posts = [put(str(n), one, at=NOON + timedelta(minutes=n)) for n in range(120)]
    judge(*posts)
    with django_assert_max_num_queries(9):
        buckets.withdraw([post.pk for post in posts])
    assert counts() == counts(one) == {}


def test_every_story_ends_with_the_numbers_of_the_rows() -> None:
    chance = random.Random(7)
    streams = [make_stream(name).pk for name in "abc"]
    for step in range(120):
        name = str(chance.randrange(1, 30))
        move = chance.randrange(5)
        if move < 2:
            put(name, *chance.sample(streams, chance.randrange(3)), at=_minute(chance))
        elif move == 2:
            put(f"{name}{step:03}", *chance.sample(streams, 1), original=name, at=_minute(chance))
        elif move == 3:
            forget("x", [name])
        unjudged = Post.objects.current().filter(predictions=None)
        judge(*unjudged[: chance.randrange(3)], category=chance.choice(["positive", "negative"]))
        assert is_right(), step
    assert sum(counts().values()) > 10


def _minute(chance: random.Random) -> datetime:
    return NOON + timedelta(minutes=chance.randrange(3))


def test_rebuilding_puts_right_what_differs() -> None:
    one = make_stream().pk
    judge(put("1", one), put("2", at=NOON + timedelta(days=2)))
    overall, ours = (SentimentBucket.objects.filter(stream=s).first() for s in (None, one))
    assert overall is not None and ours is not None
    SentimentBucket.objects.filter(pk=overall.pk).update(count=9)
    ours.delete()
    SentimentBucket.objects.create(minute=NOON, category=overall.category, count=4)
    told = [
        (each.stream_id, each.found, each.expected) for day in rebuild(mend=False) for each in day
    ]
    assert set(told) == {(None, 4, 0), (None, 9, 1), (one, 0, 1)}
    assert sorted(len(day) for day in rebuild()) == [1, 2]
    assert is_right()
    assert (counts(), counts(one)) == ({"positive": 2}, {"positive": 1})


def test_rebuilding_puts_hours_and_days_right() -> None:
    judge(put("1"), put("2"))
    SentimentPeriod.objects.filter(seconds=3600).update(count=9)
    SentimentPeriod.objects.filter(seconds=86400).delete()
    told = [(each.seconds, each.found, each.expected) for day in rebuild() for each in day]
    assert sorted(told) == [(3600, 9, 2), (86400, 0, 2)]
    assert is_right()


def test_the_command_says_what_differed() -> None:
    judge(put("1"))
    SentimentBucket.objects.update(count=5)
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("rebuild_buckets", "--check", stdout=out)
    assert ended.value.code == 1
    assert "all streams" in out.getvalue() and "5, but the rows say 1" in out.getvalue()
    out = StringIO()
    call_command("rebuild_buckets", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["differences"], told["mended"], told["first"][0]["found"]) == (1, True, 5)
    out = StringIO()
    call_command("rebuild_buckets", "--check", stdout=out)
    assert out.getvalue() == "Every number is right.\n"


def in_threads(*work: Callable[[], object]) -> list[BaseException]:
    """Run all at the same moment; what they raised."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> None:
        try:
            start.wait(60)
            one()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failures


@pytest.mark.django_db(transaction=True)
def test_whatever_processes_do_at_once_the_counts_stay_those_of_the_rows(
    champion: ModelVersion,
) -> None:
    """Two classify, one deletes, one edits, one links: all the same posts, in other orders."""
    from modeling.services import classify

    one, two = make_stream("one").pk, make_stream("two").pk
    names = [str(n) for n in range(10, 70)]
    minutes = [NOON + timedelta(minutes=n % 4) for n in range(60)]
    texts = ["the game awful today", "the game great today"]
    fields = [
        {"external_id": name, "created_at": at, "text": texts[n % 2]}
        for n, (name, at) in enumerate(zip(names, minutes, strict=True))
    ]
    posts = [incoming(**each, stream_ids=frozenset({one})) for each in fields]
    ids = store(posts, announce=False).post_ids
    edits = [
        incoming(**{**each, "external_id": f"1{each['external_id']}"}, edit_history=(name,))
        for each, name in zip(fields[20:40], names[20:40], strict=True)
    ]
    links = [incoming(**each, stream_ids=frozenset({two})) for each in fields]

    def in_parts(work: Callable[[list], object], items: list, size: int) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, len(items), size):
                work(items[start : start + size])

        return run

    failures = in_threads(
        in_parts(classify.classify_posts, ids, 7),
        in_parts(classify.classify_posts, ids[::-1], 5),
        in_parts(lambda part: forget("x", part), names[:20][::-1], 3),
        in_parts(lambda part: store(part, announce=False), edits[::-1], 4),
        in_parts(lambda part: store(part, announce=False), links[::-1], 6),
    )
    assert failures == []
    classify.classify_pending()
    assert is_right()
    assert sum(counts().values()) == sum(counts(one).values()) + 20 == 60 - 20
    assert sum(counts(two).values()) == 20


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_deletion_waits_for_the_judgement_in_progress_and_takes_it_off() -> None:
    post = put("1")
    serving_version()
    judged, go_on = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with transaction.atomic():
                Post.objects.select_for_update(no_key=True).get(pk=post.pk)
                judge(post)
                judged.set()
                go_on.wait(60)
        finally:
            connections.close_all()

    def delete() -> None:
        try:
            forget("x", ["1"])
        finally:
            connections.close_all()

    threads = [threading.Thread(target=each) for each in (work, delete)]
    threads[0].start()
    assert judged.wait(60)
    threads[1].start()
    threads[1].join(0.2)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert counts() == {}
    assert is_right()
