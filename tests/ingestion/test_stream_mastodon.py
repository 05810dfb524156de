"""The runner on Mastodon's stand-in, over a real socket."""

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from ingestion import services
from ingestion.exceptions import NeedsAttention
from ingestion.models import Connection, Post, Stream
from ingestion.services import Tally
from ingestion.sources.mastodon import MastodonSource
from tests.conftest import wait_until
from tests.mastodon_api import MastodonApi
from tests.mastodon_api_server import Refusal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def m() -> Iterator[MastodonApi]:
    with MastodonApi(keep_alive_seconds=0.3) as api:
        yield api


@pytest.fixture
def run(m: MastodonApi) -> Iterator[Callable[..., Callable[[], Tally]]]:
    """Starts a runner in a thread; what it returns stops it and gives its tally."""
    stops: list[Callable[[], Tally]] = []

    def start() -> Callable[[], Tally]:
        stop = threading.Event()
        tallies: list[Tally] = []
        source = MastodonSource(m.url, m.token)

        def work() -> None:
            try:
                tallies.append(services.run_stream(source, stop=stop))
            finally:
                connections.close_all()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()

        def end() -> Tally:
            stop.set()
            thread.join(20)
            return tallies[0]

        stops.append(end)
        return end

    yield start
    for end in stops:
        end()


Run = Callable[..., Callable[[], Tally]]


def follow(query: str) -> Stream:
    return Stream.objects.create(name=query, source="mastodon", query=query)


def texts() -> list[str]:
    visible = Post.objects.filter(deleted_at__isnull=True)
    return list(visible.order_by("created_at", "id").values_list("text", flat=True))


def test_one_status_on_several_timelines_is_one_post_of_all_its_streams(
    m: MastodonApi, run: Run
) -> None:
    follow("public")
    follow("#cats")
    run()
    wait_until(lambda: m.channels() == ["#cats", "public"])
    m.publish("cats", tags=["cats"])
    wait_until(lambda: Post.objects.filter(streams__query="#cats").filter(streams__query="public"))
    wait_until(lambda: Post.streams.through.objects.count() == 2)
    assert Post.objects.count() == 1


def test_edits_are_chained_and_a_deletion_takes_all_versions(m: MastodonApi, run: Run) -> None:
    follow("public")
    run()
    wait_until(lambda: m.channels() == ["public"])
    identity = m.publish("one")
    wait_until(lambda: texts() == ["one"])
    m.edit(identity, "two")
    wait_until(lambda: texts() == ["one", "two"])
    current = Post.objects.get(is_superseded=False)
    assert current.text == "two"
    assert current.edited_from is not None
    m.delete(identity)
    wait_until(lambda: texts() == [])
    assert set(Post.objects.values_list("text", "author_id")) == {("", "")}


@pytest.mark.parametrize("how", ["close", "reset", "cut"])
def test_what_is_published_during_a_break_is_stored_once(
    m: MastodonApi, run: Run, how: str
) -> None:
    follow("public")
    stop = run()
    wait_until(lambda: m.channels() == ["public"] and m.pages())
    m.publish("before")
    wait_until(lambda: texts() == ["before"])
    wait_until(lambda: Connection.objects.exclude(cursor="").exists())
    gate = threading.Event()
    m.before_request = lambda: gate.wait(20)
    m.end(how)
    wait_until(lambda: m.channels() == [])
    m.publish("during")
    gate.set()
    wait_until(lambda: m.channels() == ["public"])
    m.publish("after")
    wait_until(lambda: texts() == ["before", "during", "after"])
    assert stop().reconnects == 1


def test_what_is_published_while_it_is_stopped_is_stored_at_the_next_start(
    m: MastodonApi, run: Run
) -> None:
    follow("public")
    stop = run()
    wait_until(lambda: m.channels() == ["public"] and m.pages())
    m.publish("before")
    wait_until(lambda: texts() == ["before"])
    assert stop().ended_by == "stopped"
    m.publish("between", is_live=False)
    run()
    wait_until(lambda: texts() == ["before", "between"])


def test_a_new_stream_is_read_without_a_break(m: MastodonApi, run: Run) -> None:
    follow("public")
    stop = run()
    wait_until(lambda: m.channels() == ["public"])
    follow("#cats")
    bad = follow("cats")
    wait_until(lambda: m.channels() == ["#cats", "public"])
    refused = Stream.objects.filter(pk=bad.pk)
    wait_until(lambda: refused.filter(last_error__contains="behind a |").exists())
    assert (m.connects, stop().reconnects) == (2, 0)


def test_a_token_that_is_not_accepted_needs_a_person(m: MastodonApi) -> None:
    follow("public")
    m.script["/api/v1/streaming"].append(Refusal(401, "Invalid access token"))
    with pytest.raises(NeedsAttention, match="MASTODON_ACCESS_TOKEN"):
        services.run_stream(MastodonSource(m.url, m.token))
    assert Connection.objects.get().status == Connection.Status.FAILED


def test_max_posts_ends_it(m: MastodonApi) -> None:
    follow("public")
    threading.Thread(target=lambda: (wait_until(m.channels), m.publish("enough"))).start()
    tally = services.run_stream(MastodonSource(m.url, m.token), max_posts=1, max_seconds=20)
    assert (tally.saved, tally.ended_by) == (1, "max_posts")
