"""Statuses, their HTML and their queries, without a network."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.events import IncomingPost, Malformed, PostDeleted, Reference
from ingestion.exceptions import BadPost, BadQuery
from ingestion.sources import (
    mastodon_payload,
    mastodon_positions,
    mastodon_problems,
    mastodon_query,
    mastodon_sse,
    mastodon_text,
)
from ingestion.sources.mastodon_positions import Positions

HOST = "mastodon.example"


def item(**fields: Any) -> dict[str, Any]:
    return {
        "id": "115000000000000001",
        "created_at": "2026-11-24T15:00:00.000Z",
        "content": "<p>cats</p>",
        "visibility": "public",
        "account": {"id": "7", "acct": "anna@example.org", "display_name": "Anna 🐱"},
        **fields,
    }


def post(**fields: Any) -> IncomingPost:
    found = mastodon_payload.status(item(**fields), HOST).post
    assert found is not None
    return found


def test_a_status_becomes_a_post() -> None:
    found = post(
        language="en",
        favourites_count=3,
        reblogs_count=2,
        replies_count=1,
        in_reply_to_id="5",
        quote={"state": "accepted", "quoted_status": item(id="6")},
    )
    assert (found.source, found.external_id) == ("mastodon", "mastodon.example/115000000000000001")
    assert (found.author_id, found.author_username, found.author_name) == (
        "mastodon.example/7",
        "anna@example.org",
        "Anna 🐱",
    )
    assert found.created_at == datetime(2026, 11, 24, 15, tzinfo=UTC)
    assert found.metrics == {"like_count": 3, "repost_count": 2, "reply_count": 1}
    assert found.references == (
        Reference("replied_to", "mastodon.example/5"),
        Reference("quoted", "mastodon.example/6"),
    )


def test_a_quote_may_be_a_bare_id() -> None:
    found = post(quote={"state": "pending", "quoted_status_id": "9"})
    assert found.references == (Reference("quoted", "mastodon.example/9"),)


def test_an_edit_is_a_version_that_leads_to_the_first() -> None:
    first = post(edited_at="2026-11-24T15:05:00.000Z")
    second = post(edited_at="2026-11-24T16:05:00.5+01:00")
    assert first.external_id == "mastodon.example/115000000000000001@20261124T150500.000000Z"
    assert second.external_id > first.external_id
    assert first.edit_history == second.edit_history == ("mastodon.example/115000000000000001",)


def test_a_boost_stands_for_what_it_boosts() -> None:
    status = mastodon_payload.status(item(id="9", content="", reblog=item(id="8")), HOST)
    assert status.id == "9"
    assert status.post is not None
    assert status.post.external_id == "mastodon.example/8"


@pytest.mark.parametrize(
    "fields", [{"content": ""}, {"content": "<p></p>"}, {"visibility": "private"}]
)
def test_without_words_or_a_public_there_is_no_post(fields: dict[str, Any]) -> None:
    status = mastodon_payload.status(item(**fields), HOST)
    assert (status.id, status.post) == ("115000000000000001", None)


@pytest.mark.parametrize(
    "wrong",
    [
        7,
        None,
        [],
        item(id=None),
        item(id="../x"),
        item(id="9" * 100),
        item(created_at="yesterday"),
        item(created_at="2026-11-24T15:00:00"),
        item(created_at="0001-01-01T00:00:00+23:00"),
        item(created_at=5),
        item(edited_at="soon"),
        item(reblog={"content": "x"}),
    ],
)
def test_what_is_no_status_says_why(wrong: object) -> None:
    with pytest.raises(BadPost):
        mastodon_payload.status(wrong, HOST)


def test_odd_fields_are_borne() -> None:
    found = post(account="?", tags=[1, {"name": None}], language=7, quote=3, favourites_count="x")
    assert (found.author_username, found.metrics, found.references) == ("", {}, ())


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>one</p><p>two<br>three<br />four</p>", "one\n\ntwo\nthree\nfour"),
        ("<p>a &amp; b &lt;3 &#x1F431;</p>", "a & b <3 🐱"),
        ("a < b", "a < b"),
        (
            '<p><span class="h-card"><a href="https://x/@anna" class="u-url mention">@<span>anna'
            '</span></a></span> <a class="mention hashtag">#<span>cats</span></a></p>',
            "@anna #cats",
        ),
        ("<ul><li>one</li><li>two</li></ul>after", "one\n\ntwo\n\nafter"),
        ("<p>x<script>alert(1)</script>y</p>", "xy"),
        ('<img alt=":blobcat:" src="x">!', ":blobcat:!"),
        ("</b></p>left <b>open", "left open"),
        ("<!-- no --><p>yes</p>", "yes"),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert mastodon_text.read(html).visible == text


def test_links_are_as_short_as_readers_see_them() -> None:
    text = mastodon_text.read(
        '<a href="https://example.org/long/path"><span class="invisible">https://</span>'
        '<span class="ellipsis">example.org/lo</span><span class="invisible">ng/path</span></a>'
    )
    assert text.visible == "example.org/lo…"
    assert text.full == "https://example.org/long/path"


def test_the_line_that_stands_for_a_quote_goes_where_the_quote_is_known() -> None:
    html = '<p class="quote-inline">RE: <a href="x">x</a></p><p>so true</p>'
    assert post(content=html, quote={"state": "accepted"}).text == "so true"
    assert post(content=html).text == "RE: x\n\nso true"


def test_a_content_warning_comes_first() -> None:
    assert post(spoiler_text="cat content").text == "cat content\n\ncats"
    assert post(spoiler_text="only this", content="").text == "only this"


@pytest.mark.parametrize(
    "piece", ["<b>x", "<!--", "<", "</", "<a ", '<a class="', "&", "<li>", "\n"]
)
def test_html_that_is_made_to_hurt_costs_linear_time(piece: str) -> None:
    began = time.process_time()
    mastodon_text.read(piece * (1_000_000 // len(piece)))
    assert time.process_time() - began < 2


def test_events_are_read_in_every_spelling() -> None:
    data = json.dumps(item())
    for message in (
        f"event: update\ndata: {data}",
        f"event:update\r\ndata:{data}\r",
        f"data: {data}\nid: 4\nevent: status.update",
        f"  {data}",
    ):
        (status,) = mastodon_payload.read(message.encode(), HOST)
        assert isinstance(status, mastodon_payload.Status)


def test_several_data_lines_are_one() -> None:
    lines = json.dumps(item(), indent=1).replace("\n", "\ndata: ")
    (status,) = mastodon_payload.read(f"event: update\ndata: {lines}".encode(), HOST)
    assert isinstance(status, mastodon_payload.Status)


@pytest.mark.parametrize("data", ["5", '"5"', "01H5XYZ", "a-b"])
def test_a_deletion_names_the_instances_own_id(data: str) -> None:
    (event,) = mastodon_payload.read(f"event: delete\ndata: {data}".encode(), HOST)
    assert event == PostDeleted((f"mastodon.example/{data.strip(chr(34))}",))


@pytest.mark.parametrize(
    "message",
    [b"", b"\xff\xfe", b"event: delete\ndata: ", b"event: update", b"event: update\ndata: []"]
    + [b"event: update\ndata: " + b"[" * 100_000, b'{"id":', b"event: delete\ndata: a/b c"],
)
def test_garbage_is_told_and_never_raised(message: bytes) -> None:
    (event,) = mastodon_payload.read(message, HOST)
    assert isinstance(event, Malformed)
    assert event.size == len(message)


def test_a_stream_is_cut_into_messages_wherever_its_pieces_end() -> None:
    stream = b":)\n:thump\nevent: update\ndata: 1\n\n\n\r\nevent: delete\r\ndata: 2\r\n\r\nrest"
    whole = list(mastodon_sse.Cutter().feed(stream))
    assert whole == [b"", b"", b"event: update\ndata: 1", b"event: delete\ndata: 2"]
    for size in range(1, len(stream)):
        cutter = mastodon_sse.Cutter()
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert [message for piece in pieces for message in cutter.feed(piece)] == whole


@pytest.mark.parametrize("line", [b"x" * 1000, b"data: " + b"y" * (3 << 20), b"data: 12"])
def test_what_is_too_long_is_skipped_whole(line: bytes) -> None:
    cutter = mastodon_sse.Cutter()
    stream = (line + b"\n") * ((2 << 20) // len(line) + 1) + b"\nevent: delete\ndata: 2\n\n"
    found = [
        message
        for start in range(0, len(stream), 60_000)
        for message in cutter.feed(stream[start : start + 60_000])
    ]
    assert isinstance(found[0], mastodon_sse.Oversized)
    assert found[0].size > 2 << 20
    assert found[1:] == [b"event: delete\ndata: 2"]


@pytest.mark.parametrize(
    ("query", "timelines"),
    [
        ("public", {"public"}),
        ("PUBLIC:local", {"public:local"}),
        ("#Cats OR #dogs public", {"#cats", "#dogs", "public"}),
        ("#ねこ #हिन्दी #a_1", {"#ねこ", "#हिन्दी", "#a_1"}),
        ("public | cats OR (dogs lang:en)", {"public"}),
        ("public |", {"public"}),
    ],
)
def test_queries_name_timelines(query: str, timelines: set[str]) -> None:
    assert mastodon_query.parse(query)[0] == timelines


def test_a_filter_is_what_follows_the_bar() -> None:
    condition = mastodon_query.parse("public | cats OR from:anna@example.org")[1]
    assert condition.matches(text="CATS!")
    assert condition.matches(text="-", author="Anna@example.org")
    assert not condition.matches(text="dogs")


@pytest.mark.parametrize(
    "query", ["", "OR", "cats", "#", "#1", "#a#b", "public cats", "public | ("]
)
def test_bad_queries_say_why(query: str) -> None:
    with pytest.raises(BadQuery):
        mastodon_query.parse(query)


def test_ids_tell_the_time() -> None:
    moment = datetime(2026, 11, 24, 15, tzinfo=UTC)
    identity = mastodon_positions.at(moment)
    assert mastodon_positions.moment(identity) == moment
    rewound = mastodon_positions.moment(mastodon_positions.rewound(identity, 60))
    assert rewound is not None and (moment - rewound).total_seconds() == 60
    for other in ("0", "17", "01H5XYZ", "9" * 40, "²"):
        assert mastodon_positions.moment(other) is None
        assert mastodon_positions.rewound(other, 60) == other


def test_what_comes_live_counts_only_once_the_past_is_there() -> None:
    positions = Positions(
        HOST, '{"host":"mastodon.example","at":{"public":"10","#x":"5"}}', ["public"]
    )
    assert positions.behind == {"public": "10"}
    positions.live("public", "99")
    positions.replayed("public", "50")
    assert json.loads(positions.cursor())["at"] == {"public": "50"}
    positions.caught_up("public")
    assert json.loads(positions.cursor())["at"] == {"public": "99"}
    positions.live("public", "98")
    positions.live("#new", "7")
    assert json.loads(positions.cursor())["at"] == {"public": "99", "#new": "7"}


def test_reset_times_are_read_by_the_servers_clock() -> None:
    headers = {
        "X-RateLimit-Reset": "2001-01-01T00:05:00.000Z",
        "Date": "Mon, 01 Jan 2001 00:04:00 GMT",
    }
    reset = mastodon_problems.reset_time(headers)
    assert reset is not None and 55 < reset - time.time() < 65
    assert mastodon_problems.reset_time({}) is None
    assert mastodon_problems.reset_time({"X-RateLimit-Reset": "soon", "Date": "?"}) is None
    after = mastodon_problems.reset_time({"Retry-After": "30"})
    assert after is not None and 25 < after - time.time() < 35
