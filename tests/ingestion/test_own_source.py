"""The documented example of a source of one's own: installed as a package, and really run."""

from __future__ import annotations

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from ingestion import sources
from ingestion.events import IncomingPost, Malformed
from ingestion.exceptions import NeedsAttention, NotConfigured, RateLimited, Unavailable
from ingestion.models import Connection, Post, Stream
from ingestion.services import run_stream
from ingestion.sources import Resume

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = 3


class Forum:
    """A forum that lists its posts as Reddit does: newest first, by pages."""

    def __init__(self) -> None:
        self.posts: list[dict[str, object]] = []
        self.statuses: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.forum = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Forum:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def write(self, title: str, **fields: object) -> None:
        number = len(self.posts)
        post = {"name": f"t3_{number}", "title": title, "created_utc": 1_700_000_000 + number}
        self.posts.append({**post, "subreddit": "Cats", "author": "ann", "edited": False, **fields})

    def page(self, board: str, after: str) -> dict[str, object]:
        listed = [p for p in reversed(self.posts) if str(p["subreddit"]).lower() == board]
        names = [post["name"] for post in listed]
        start = names.index(after) + 1 if after else 0
        found = listed[start : start + PAGE]
        more = found[-1]["name"] if start + PAGE < len(listed) else None
        children = [{"kind": "t3", "data": post} for post in found]
        return {"kind": "Listing", "data": {"after": more, "children": children}}


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        forum: Forum = self.server.forum  # type: ignore[attr-defined]
        address = urlsplit(self.path)
        after = parse_qs(address.query).get("after", [""])[0]
        status = forum.statuses.pop() if forum.statuses else 200
        body = json.dumps(forum.page(address.path.split("/")[2], after)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def forum() -> Iterator[Forum]:
    with Forum() as site:
        yield site


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pip install` leaves behind for the example in the documentation."""
    text = (settings.BASE_DIR / "docs" / "sources.md").read_text("utf-8")
    text = text[text.index("## Add your own source") :]
    module, project = (_block(text, language) for language in ("python", "toml"))
    about = tomllib.loads(project)["project"]
    (tmp_path / "forum_source.py").write_text(module, "utf-8")
    info = tmp_path / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    (info / "METADATA").write_text(metadata, "utf-8")
    lines = [
        line
        for group, points in about["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "forum_source", raising=False)


def _block(text: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def follow(query: str = "cats") -> Stream:
    stream = Stream(name=query, source="forum", query=query)
    stream.full_clean()
    stream.save()
    return stream


def test_a_stream_of_it_can_be_made() -> None:
    assert follow().source == "forum"
    with pytest.raises(ValidationError):
        Stream(name="x", source="no-such", query="x").full_clean()


def test_it_is_named_and_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORUM_URL", raising=False)
    assert "forum" in sources.names()
    with pytest.raises(NotConfigured, match="FORUM_URL"):
        sources.create("forum")


def test_it_streams(forum: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORUM_URL", forum.url)
    stream = follow()
    for number in range(5):
        forum.write(f"post {number}")
    forum.write("elsewhere", subreddit="Dogs")
    forum.write("edited", edited=1_700_000_500.0)
    assert run_stream("forum", max_posts=PAGE, max_seconds=30).ended_by == "max_posts"
    # What is new after a break, on however many pages, is found from the cursor on.
    for number in range(5, 12):
        forum.write(f"post {number}")
    run_stream("forum", max_posts=7, max_seconds=30)
    texts = {post.text for post in Post.objects.filter(streams=stream)}
    assert texts >= {f"post {number}" for number in range(4, 12)} | {"edited"}
    edited = Post.objects.get(text="edited")
    assert (edited.original_id, edited.author_username) == ("t3_6", "ann")
    assert json.loads(Connection.objects.get().cursor) == {"cats": 1_700_000_013}


@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimited), (403, NeedsAttention), (502, Unavailable)]
)
def test_it_says_what_ended_it(
    forum: Forum, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]
) -> None:
    monkeypatch.setenv("FORUM_URL", forum.url)
    live = sources.create("forum")
    live.follow([follow()])
    forum.statuses = [status]
    with pytest.raises(kind):
        list(live.connect(Resume()))


def test_a_bad_query_and_a_bad_post_are_told(forum: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORUM_URL", forum.url)
    live = sources.create("forum")
    stream = follow("two boards")
    assert "one board" in live.follow([stream]).refused[stream.pk]
    (bad,) = live.parse(b'{"name": "t3_1"}')
    assert isinstance(bad, Malformed)
    assert [type(event) for event in live.parse(bad.excerpt)] == [Malformed]
    assert [type(event) for event in live.parse(b"[")] == [Malformed]
    whole = b'{"name": "t3_1", "title": "hi", "created_utc": 1700000000, "subreddit": "cats"}'
    (post,) = live.parse(whole)
    assert isinstance(post, IncomingPost) and post.text == "hi"


def test_a_source_that_is_none_is_refused_by_the_names_that_people_type() -> None:
    with pytest.raises(CommandError, match="choose from 'x', 'bluesky', 'mastodon', 'rss', 'file'"):
        call_command("stream", "--source", "nowhere")
