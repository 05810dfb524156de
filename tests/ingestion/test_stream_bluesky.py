"""The runner on Jetstream's stand-in, over a real socket, in both versions."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ingestion.models import Connection, DeadLetter, Gap, Post, Stream
from ingestion.services import run_stream
from ingestion.sources.bluesky import BlueskySource
from tests.conftest import wait_until
from tests.jetstream import Jetstream, Refusal
from tests.jetstream_events import ALICE, BOB

pytestmark = pytest.mark.django_db(transaction=True)
# Where the versions do not differ.
ONE_VERSION = pytest.mark.parametrize("source", [2], indirect=True)


@pytest.fixture
def bluesky() -> Iterator[Jetstream]:
    with Jetstream() as server:
        yield server


@pytest.fixture(params=[1, 2])
def source(request: pytest.FixtureRequest, bluesky: Jetstream) -> Callable[[], BlueskySource]:
    """Makes the source anew, as each process does."""
    return lambda: BlueskySource(
        [bluesky.url], request.param, settle_seconds=0.1, quiet_seconds=5.0
    )


def follow(query: str) -> Stream:
    return Stream.objects.create(name=query, source="bluesky", query=query)


def texts() -> set[str]:
    return set(Post.objects.filter(deleted_at=None).values_list("text", flat=True))


def test_posts_are_stored_with_their_streams(
    bluesky: Jetstream, source: Callable, run: Callable
) -> None:
    cats, pets = follow("cats"), follow("cats OR dogs")
    with run(source()) as it:
        bluesky.wait_for_stream()
        bluesky.publish("cats")
        bluesky.publish("dogs")
        bluesky.publish("birds")
        wait_until(lambda: Post.objects.count() == 2)
    assert set(Post.objects.get(text="cats").streams.all()) == {cats, pets}
    assert (it.tally.saved, it.tally.malformed) == (2, 0)


def test_what_is_taken_back_is_forgotten(
    bluesky: Jetstream, source: Callable, run: Callable
) -> None:
    follow("cats")
    with run(source()):
        bluesky.wait_for_stream()
        uri = bluesky.publish("cats one", did=BOB)
        bluesky.update(uri, "cats one, mended")
        bluesky.publish("cats two", did=ALICE)
        bluesky.publish("cats three", did=BOB)
        wait_until(lambda: Post.objects.filter(is_superseded=True).exists())
        wait_until(lambda: len(texts()) == 4)
        bluesky.delete(uri)
        bluesky.account(ALICE, "deleted")
        wait_until(lambda: texts() == {"cats three"})
    assert not Post.objects.exclude(deleted_at=None).exclude(text="").exists()
    assert not Post.objects.filter(author_id=ALICE).exists()


@pytest.mark.parametrize("how", ["abort", "too_slow"])
def test_nothing_is_missed_while_the_connection_is_gone(
    bluesky: Jetstream, source: Callable, run: Callable, how: str
) -> None:
    follow("cats")
    with run(source()):
        bluesky.wait_for_stream()
        bluesky.publish("cats before")
        wait_until(lambda: "cats before" in texts())
        bluesky.script += [Refusal(how="reset")]
        bluesky.end(how)
        wait_until(lambda: bluesky.connects >= 2)
        bluesky.publish("cats meanwhile")
        bluesky.wait_for_stream(connects=3)
        bluesky.publish("cats after")
        wait_until(lambda: len(texts()) == 3)
        wait_until(lambda: Gap.objects.filter(state=Gap.State.FILLED, filled_by="cursor replay"))
    assert Post.objects.count() == 3


def test_the_next_process_goes_on_where_the_last_one_stopped(
    bluesky: Jetstream, source: Callable, run: Callable
) -> None:
    follow("cats")
    with run(source()):
        bluesky.wait_for_stream()
        bluesky.publish("cats one")
        wait_until(lambda: "cats one" in texts())
    assert Connection.objects.get().cursor
    bluesky.publish("cats two")
    tally = run_stream(source(), max_posts=1)
    assert (tally.saved, texts()) == (1, {"cats one", "cats two"})


@ONE_VERSION
def test_what_is_kept_no_longer_is_told_in_the_gap(
    bluesky: Jetstream, source: Callable, run: Callable
) -> None:
    follow("cats")
    now = datetime.now(UTC)
    bluesky.publish("cats, kept", at=now - timedelta(hours=35))
    Connection.objects.create(
        source="bluesky",
        cursor=f'{{"time_us": {int((now - timedelta(days=4)).timestamp()) * 1_000_000}}}',
        covered_until=now - timedelta(days=4),
    )
    with run(source()):
        bluesky.wait_for_stream()
        bluesky.publish("something new")
        wait_until(lambda: Gap.objects.filter(note__contains="nothing from"))
    assert texts() == {"cats, kept"}
    assert Gap.objects.get(note__contains="nothing from").state == Gap.State.PARTIAL


@ONE_VERSION
def test_garbage_becomes_a_dead_letter(bluesky: Jetstream, source: Callable, run: Callable) -> None:
    follow("cats")
    with run(source()):
        bluesky.wait_for_stream()
        bluesky.send(b'{"did":"did:plc:x","time_us":17')
        bluesky.publish("cats")
        wait_until(lambda: texts() == {"cats"})
        wait_until(DeadLetter.objects.exists)
    assert bytes(DeadLetter.objects.get().excerpt) == b'{"did":"did:plc:x","time_us":17'


@ONE_VERSION
def test_a_new_stream_is_followed_on_the_open_connection(
    bluesky: Jetstream, source: Callable, run: Callable
) -> None:
    follow("cats")
    with run(source()):
        bluesky.wait_for_stream()
        bluesky.publish("dogs, too early")
        dogs = follow("dogs")
        refused = follow("((")
        wait_until(lambda: Stream.objects.exclude(last_error="").filter(pk=refused.pk))
        bluesky.publish("dogs")
        wait_until(lambda: dogs.posts.filter(text="dogs"))
    assert bluesky.connects == 1


@ONE_VERSION
def test_a_flood_is_stored_whole(bluesky: Jetstream, source: Callable, run: Callable) -> None:
    follow("cats")
    with run(source()):
        bluesky.wait_for_stream()
        for number in range(2000):
            bluesky.publish(f"cats {number}" if number % 2 else f"dogs {number}")
        wait_until(lambda: Post.objects.count() == 1000, 30)
