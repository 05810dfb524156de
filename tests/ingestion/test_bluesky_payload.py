"""Jetstream's messages as posts, of both versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion.events import IncomingPost, Reference
from ingestion.exceptions import BadPost
from ingestion.sources import bluesky_payload
from ingestion.sources.bluesky_payload import (
    Account,
    Commit,
    Failure,
    Identity,
    Info,
    Moment,
    Other,
    glance,
    read,
)
from tests.jetstream_events import ALICE, Happening, tid

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
REPLY = {
    "root": {"uri": f"at://{ALICE}/app.bsky.feed.post/root", "cid": "b"},
    "parent": {"uri": f"at://{ALICE}/app.bsky.feed.post/parent", "cid": "b"},
}


def message(version: int = 1, **changes: Any) -> bytes:
    """A created post; `changes` go to its commit, None removes."""
    commit = {
        "rev": "3l3qo2vutsw2b",
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": "3l3qo2vuowo2b",
        "record": {"text": "hi", "langs": ["en"], "createdAt": "2026-11-24T11:59:58Z"},
        "cid": "bafy",
    }
    body = {key: value for key, value in (commit | changes).items() if value is not None}
    return Happening(NOON_US, 7, ALICE, "commit", body).message(version)


def post(version: int = 1, **record: Any) -> IncomingPost:
    fields = {"text": "hi", "createdAt": "2026-11-24T11:59:58Z"} | record
    commit = read(message(version, record=fields))
    assert isinstance(commit, Commit)
    return bluesky_payload.post(commit, username="alice.test", stream_ids=frozenset({3}))


@pytest.mark.parametrize("version", [1, 2])
def test_a_post_holds_what_its_author_wrote(version: int) -> None:
    found = post(version, langs=["pt-BR", "en"], text="olá")
    assert found.external_id == f"at://{ALICE}/app.bsky.feed.post/3l3qo2vuowo2b"
    assert (found.text, found.lang, found.author_id) == ("olá", "pt", ALICE)
    assert (found.author_username, found.stream_ids) == ("alice.test", {3})
    assert found.created_at == NOON - timedelta(seconds=2)
    assert found.conversation_id == found.external_id


@pytest.mark.parametrize(
    ("embed", "quoted"),
    [
        (
            {
                "$type": "app.bsky.embed.record",
                "record": {"uri": f"at://{ALICE}/app.bsky.feed.post/q"},
            },
            True,
        ),
        (
            {
                "$type": "app.bsky.embed.recordWithMedia",
                "record": {"record": {"uri": f"at://{ALICE}/app.bsky.feed.post/q"}},
            },
            True,
        ),
        ({"record": {"uri": f"at://{ALICE}/app.bsky.graph.list/q"}}, False),
        ({"images": []}, False),
        ("nonsense", False),
    ],
)
def test_answers_and_quotes_are_references(embed: Any, quoted: bool) -> None:
    found = post(reply=REPLY, embed=embed)
    expected = [Reference("replied_to", REPLY["parent"]["uri"])]
    if quoted:
        expected.append(Reference("quoted", f"at://{ALICE}/app.bsky.feed.post/q"))
    assert list(found.references) == expected
    assert found.conversation_id == REPLY["root"]["uri"]


@pytest.mark.parametrize(
    "said",
    ["2031-01-01T00:00:00Z", "yesterday", "", None, 7, "0001-01-01T00:00:00+14:00", "1960-01-01"],
)
def test_a_time_that_cannot_be_true_is_when_it_was_seen(said: Any) -> None:
    assert post(createdAt=said).created_at == NOON


@pytest.mark.parametrize("said", ["2026-11-24T11:00:00.1234567Z", "2026-11-24T13:00:00.123+02:00"])
def test_every_spelling_of_a_time_is_read(said: str) -> None:
    assert post(createdAt=said).created_at.replace(microsecond=0) == NOON - timedelta(hours=1)


def test_an_edit_has_the_same_id_whichever_host_tells_of_it() -> None:
    edited_us = NOON_US - 5_000_000
    ids = set()
    for time_us in (NOON_US, NOON_US + 77):
        body = json.loads(message(operation="update", rev=tid(edited_us)))
        commit = read(json.dumps(body | {"time_us": time_us}).encode())
        assert isinstance(commit, Commit)
        found = bluesky_payload.post(commit, username="", stream_ids=frozenset())
        assert found.edit_history == (commit.uri,)
        ids.add(found.external_id)
    assert ids == {f"{commit.uri}@20261124T115955.000000Z"}


@pytest.mark.parametrize("version", [1, 2])
def test_accounts_and_identities_are_read(version: int) -> None:
    body = {"active": False, "did": ALICE, "status": "deleted", "seq": 1, "time": "x"}
    account = read(Happening(NOON_US, 7, ALICE, "account", body).message(version))
    assert isinstance(account, Account)
    assert (account.did, account.is_active, account.status) == (ALICE, False, "deleted")
    named = Happening(NOON_US, 8, ALICE, "identity", {"handle": "alice.test"}).message(version)
    identity = read(named)
    assert isinstance(identity, Identity) and identity.handle == "alice.test"
    assert identity.at == Moment(NOON_US, 8 if version == 2 else 0)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rkey": None}, "rkey"),
        ({"record": None}, "record"),
        ({"record": "text"}, "record"),
    ],
)
def test_a_post_that_cannot_be_read_says_why(
    version: int, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadPost, match=reason):
        read(message(version, **changes))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"did":"did:plc:x","time_us":17', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object"),
        (b'{"did":"did:plc:x","kind":"commit","commit":{}}', "time_us"),
        (b'{"did":"did:plc:x","time_us":true,"kind":"commit","commit":{}}', "time_us"),
        (b'{"did":"did:plc:x","time_us":99999999999999999999,"kind":"commit"}', "time_us"),
        (b'{"did":7,"time_us":1725911162329308,"kind":"commit","commit":{}}', "did"),
        (b'{"did":"did:plc:x","time_us":1725911162329308,"kind":"commit"}', "no commit"),
        (b'{"$type":"message"}', "payload"),
        (
            b'{"$type":"message","payload":{"$type":"x#commit","time":"2026-01-01T00:00:00Z"}}',
            "seq",
        ),
        (b'{"$type":"message","payload":{"$type":"x#commit","seq":1,"time":"now"}}', "time"),
    ],
)
def test_what_is_no_message_says_why(raw: bytes, reason: str) -> None:
    with pytest.raises(BadPost, match=reason):
        read(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"did":"did:plc:x","time_us":1725911162329308,"kind":"sync","sync":{}}',
        b'{"$type":"message","payload":{"$type":"x#sync","seq":1,"time":"2026-01-01T00:00:00Z"}}',
        b'{"$type":"message","payload":{"$type":"x#more"}}',
        b"{}",
    ],
)
def test_unknown_kinds_are_nothing_to_worry_about(raw: bytes) -> None:
    assert isinstance(read(raw), Other)


def test_other_collections_are_left_alone() -> None:
    assert isinstance(read(message(collection="app.bsky.feed.like")), Other)


def test_notices_and_farewells_are_told_apart() -> None:
    info = b'{"$type":"message","payload":{"$type":"x#info","name":"OutdatedCursor"}}'
    assert read(info) == Info("OutdatedCursor", "")
    farewell = b'{"$type":"error","error":"ConsumerTooSlow","message":"slow"}'
    assert read(farewell) == Failure("ConsumerTooSlow", "slow")


@pytest.mark.parametrize("version", [1, 2])
def test_a_glance_finds_the_same_moment_as_reading(version: int) -> None:
    raw = message(version)
    parsed = read(raw)
    assert isinstance(parsed, Commit)
    assert glance(raw) == parsed.at


@pytest.mark.parametrize("version", [1, 2])
def test_an_author_cannot_forge_the_moment(version: int) -> None:
    record = {"text": '{"did":"x","time_us":9999999999999999,"', "time_us": 9, "seq": 9}
    moment = glance(message(version, record=record))
    assert moment is not None and moment.time_us == NOON_US
    # Fields in another order are read whole.
    assert glance(b'{"commit":{"time_us":9},"did":"did:plc:x","time_us":1}') is None
