"""The resources under /api/v1/."""

import csv
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from ingestion.models import Alert, Post, Stream
from modeling.models import Annotation, Category, ModelVersion
from modeling.services import classify
from modeling.services.annotate import annotate
from tests.verdicts import refusal

pytestmark = pytest.mark.django_db
JSON = "application/json"


@pytest.fixture
def posts(champion: ModelVersion) -> list[Post]:
    stream = Stream.objects.create(name="Food", source="file")
    words = ["awful", "wonderful", "opens"]
    made = Post.objects.bulk_create(
        Post(
            source="file",
            external_id=f"a{i}",
            text=f"the food {words[i % 3]} today",
            lang="en" if i % 2 else "de",
            created_at=timezone.now() - timedelta(hours=i),
        )
        for i in range(12)
    )
    stream.posts.add(*made[:4])
    classify.classify_posts([post.pk for post in made])
    return made


def results(client: Client, path: str) -> list[dict[str, Any]]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_posts_are_paged_newest_first_without_gap_or_repeat(
    client: Client, posts: list[Post]
) -> None:
    seen, path = [], "/api/v1/posts?limit=5"
    while path:
        page = client.get(path).json()
        seen += [row["id"] for row in page["results"]]
        path = page["next"]
    assert seen == sorted((post.pk for post in posts), reverse=True)


@pytest.mark.parametrize(
    ("query", "count"),
    [("stream={stream}", 4), ("language=de", 6), ("source=x", 0), ("search=WONDERFUL", 4)],
)
def test_posts_are_filtered(client: Client, posts: list[Post], query: str, count: int) -> None:
    stream = Stream.objects.get().pk
    assert len(results(client, f"/api/v1/posts/?{query.format(stream=stream)}")) == count


def test_posts_are_filtered_by_time(client: Client, posts: list[Post]) -> None:
    since = (timezone.now() - timedelta(hours=2, minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(results(client, f"/api/v1/posts/?since={since}")) == 3


@pytest.mark.parametrize("query", ["stream=999", "since=yesterday", "source=carrier-pigeon"])
def test_a_wrong_filter_is_refused(client: Client, posts: list[Post], query: str) -> None:
    answer = client.get(f"/api/v1/posts/?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == query.split("=")[0]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("posts/?lang=en", "lang: Unknown parameter; known are"),
        ("posts/?catgory=negative&format=csv", "catgory: Unknown parameter"),
        ("annotations/?is_current=yes", "is_current: Write true or false."),
        ("posts/?since=0001-01-01T00:00:00%2B14:00", "since: Write a year from 1900"),
        ("promotions/?at=9999-12-31T23:59:59-14:00", "at: Write a year from 1900"),
        ("posts/?ordering=created_at&cursor={}", "cursor: Not a cursor"),
    ],
)
def test_what_a_list_does_not_understand_is_told(
    client: Client, posts: list[Post], path: str, said: str
) -> None:
    beyond = json.dumps(["0001-01-01T00:00:00+14:00", 1, 0]).encode()
    answer = client.get(f"/api/v1/{path.format(urlsafe_b64encode(beyond).decode())}")
    assert answer.status_code == 400, answer.content
    errors = answer.json()["errors"]
    assert said in "; ".join(f"{error['field']}: {error['detail']}" for error in errors)


def test_fields_that_nothing_knows_are_refused(client: Client, admin_user: User) -> None:
    client.force_login(admin_user)
    for path, body in (
        ("streams", {"name": "a", "source": "file", "is_actve": False}),
        ("annotations", {"post": 1, "category": "positive", "scheme": "topic"}),
    ):
        answer = client.post(f"/api/v1/{path}/", json.dumps(body), "application/json")
        assert answer.status_code == 400, answer.content
        assert "Unknown field" in answer.content.decode()
    assert not Stream.objects.exists()


def test_a_deleted_post_is_hidden_with_its_predictions(client: Client, posts: list[Post]) -> None:
    Post.objects.filter(pk=posts[0].pk).update(deleted_at=timezone.now(), text="")
    assert len(results(client, "/api/v1/posts/")) == 11
    assert len(results(client, "/api/v1/predictions/")) == 11
    assert client.get(f"/api/v1/posts/{posts[0].pk}/").status_code == 404


def test_predictions_are_filtered_by_category(client: Client, posts: list[Post]) -> None:
    found = results(client, "/api/v1/predictions/?category=negative")
    assert len(found) == 4
    assert {row["category"] for row in found} == {"negative"}
    assert set(found[0]["scores"]) == {"negative", "neutral", "positive"}


@pytest.mark.parametrize(
    ("path", "queries"),
    [("posts", 2), ("predictions", 1), ("annotations", 1), ("models", 1), ("streams", 6)],
)
def test_a_list_asks_few_queries_however_long(
    client: Client,
    posts: list[Post],
    django_assert_num_queries: Callable,
    path: str,
    queries: int,
) -> None:
    with django_assert_num_queries(queries):
        client.get(f"/api/v1/{path}/")


def test_a_label_is_given_in_one_s_own_name(
    client: Client, posts: list[Post], admin_user: User
) -> None:
    body = {"post": posts[0].pk, "category": "positive"}
    assert client.post("/api/v1/annotations/", body, content_type=JSON).status_code == 401
    client.force_login(admin_user)
    first = client.post("/api/v1/annotations/", body, content_type=JSON)
    assert first.status_code == 201
    assert (first.json()["annotator"], first.json()["category"]) == ("boss", "positive")
    client.post("/api/v1/annotations/", {**body, "category": "neutral"}, content_type=JSON)
    assert Annotation.objects.current().get().category.key == "neutral"
    assert Annotation.objects.count() == 2


def test_an_unknown_category_lists_the_known_ones(
    client: Client, posts: list[Post], admin_user: User
) -> None:
    client.force_login(admin_user)
    body = {"post": posts[0].pk, "category": "angry"}
    answer = client.post("/api/v1/annotations/", body, content_type=JSON)
    assert answer.status_code == 400
    assert "negative, neutral, positive" in answer.json()["errors"][0]["detail"]


def test_a_version_is_promoted_and_rolled_back_and_the_ledger_tells(
    client: Client,
    champion: ModelVersion,
    make_version: Callable[..., ModelVersion],
    admin_user: User,
) -> None:
    other = make_version(2)
    before = timezone.now()
    answer = client.post(
        f"/api/v1/models/{other.pk}/promote/", {"reason": "irony"}, content_type=JSON
    )
    assert answer.status_code == 200 and answer.json()["stage"] == "champion"
    between = timezone.now()
    client.force_login(admin_user)
    answer = client.post("/api/v1/models/rollback", content_type=JSON)
    assert answer.status_code == 200 and answer.json()["version"] == 1
    ledger = results(client, "/api/v1/promotions/?scheme=sentiment")
    assert [(row["version"], row["previous"], row["actor"]) for row in ledger] == [
        (1, 2, "boss"),
        (2, 1, "API"),
    ]
    for moment, served in ((before, []), (between, [2]), (timezone.now(), [1])):
        at = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        found = results(client, f"/api/v1/promotions/?at={at}")
        assert [row["version"] for row in found] == served
    answer = client.post("/api/v1/models/rollback", content_type=JSON)
    assert answer.status_code == 409 and "no earlier champion" in answer.json()["detail"]


def test_what_the_gate_refuses_is_a_conflict_with_its_reason(
    client: Client, champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    gate = refusal(champion.scheme, "macro recall 0.4 against 0.9")
    digests = {name: d for name, d in champion.artifact_digests.items() if "json" not in name}
    path = f"/api/v1/models/{make_version(2, gate=gate, artifact_digests=digests).pk}/promote/"
    answer = client.post(path, content_type=JSON)
    assert answer.status_code == 409 and "macro recall 0.4" in answer.json()["detail"]
    answer = client.post(path, {"override": True}, content_type=JSON)
    assert answer.status_code == 409 and "say why" in answer.json()["detail"]
    body = {"override": True, "reason": "the labels are wrong"}
    assert client.post(path, body, content_type=JSON).json()["stage"] == "champion"
    answer = client.post("/api/v1/models/rollback/", {"scheme": "none"}, content_type=JSON)
    assert answer.status_code == 400


def test_files_that_cannot_be_fetched_are_a_state_that_passes(
    client: Client, champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    away = make_version(2, artifact_uri="http://127.0.0.1:9/model", artifact_digests={"a": "0"})
    answer = client.post(f"/api/v1/models/{away.pk}/promote/", content_type=JSON)
    assert answer.status_code == 503 and "cannot be fetched" in answer.json()["detail"]


def test_a_damaged_champion_is_a_conflict_that_an_override_ends(
    client: Client, make_version: Callable[..., ModelVersion]
) -> None:
    make_version(1, stage="champion", artifact_digests={"model.onnx": "0" * 64})
    path = f"/api/v1/models/{make_version(2).pk}/promote/"
    answer = client.post(path, content_type=JSON)
    detail = answer.json()["detail"]
    assert answer.status_code == 409 and "files of version 1 are damaged" in detail
    assert "model.onnx is not the file" in detail and "override with a reason" in detail
    body = {"override": True, "reason": "the disk died"}
    assert client.post(path, body, content_type=JSON).json()["stage"] == "champion"


def test_streams_are_made_changed_and_deleted(client: Client) -> None:
    body = {"name": "Cats", "source": "x", "query": "cats lang:en", "languages": ["en"]}
    made = client.post("/api/v1/streams/", body, content_type=JSON)
    assert made.status_code == 201, made.content
    path = f"/api/v1/streams/{made.json()['id']}/"
    changed = client.patch(path, {"is_active": False}, content_type=JSON)
    assert changed.json()["is_active"] is False
    assert client.delete(path).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        {"name": "No query", "source": "x", "query": ""},
        {"name": "Taken", "source": "x", "query": "dogs"},
        {"name": "Dogs", "source": "x", "query": "cats"},
        {"name": "Wrong", "source": "radio", "query": "cats"},
        {"name": "Codes", "source": "x", "query": "cats", "languages": "en"},
    ],
)
def test_a_stream_that_the_database_would_refuse_is_a_clear_error(
    client: Client, body: dict[str, Any]
) -> None:
    Stream.objects.create(name="Dogs", source="x", query="dogs")
    answer = client.post("/api/v1/streams/", body, content_type=JSON)
    assert answer.status_code == 400, answer.content
    assert answer.json()["errors"]


def pages(client: Client, path: str) -> list[dict[str, Any]]:
    """Every row, page by page; and back again the same rows."""
    forward, backward, last = [], [], ""
    while path:
        page = client.get(path).json()
        forward += page["results"]
        last, path = path, page["next"]
    path = client.get(last).json()["previous"] if last else ""
    while path:
        page = client.get(path).json()
        backward[:0] = page["results"]
        path = page["previous"]
    assert backward == forward[: len(backward)]
    return forward


@pytest.mark.parametrize("ordering", ["created_at", "-created_at", "id", "-received_at"])
def test_pages_of_any_order_show_each_row_once(
    client: Client, posts: list[Post], ordering: str
) -> None:
    # Ties, as of files that have days only.
    Post.objects.filter(pk__in=[post.pk for post in posts[3:9]]).update(
        created_at=posts[4].created_at, received_at=posts[0].received_at
    )
    rows = pages(client, f"/api/v1/posts/?limit=2&ordering={ordering}")
    expected = Post.objects.order_by(ordering, "-id" if ordering.startswith("-") else "id")
    assert [row["id"] for row in rows] == list(expected.values_list("pk", flat=True))


@pytest.mark.parametrize(
    "query",
    ["ordering=text", "ordering=id,created_at", "cursor=nonsense", "cursor=WzEsMiwzLDRd"]
    + ["category=angry", "search=" + "x" * 201, "search=%00", "limit=%00&cursor=%F0"],
)
def test_a_list_that_cannot_be_is_refused(client: Client, posts: list[Post], query: str) -> None:
    answer = client.get(f"/api/v1/posts/?{query}")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("posts/?category=negative", 4),
        ("posts/?category=negative&language=en", 2),
        ("posts/?search=food AWFUL", 4),
        ("posts/?search=food nowhere", 0),
        ("predictions/?source=file&language=de", 6),
        ("predictions/?source=x", 0),
        ("predictions/?stream={stream}&category=neutral", 1),
        ("predictions/?search=wonderful", 4),
        ("predictions/?ordering=confidence&version=1", 12),
        ("annotations/?is_current=true", 1),
        ("annotations/?category=positive", 1),
        ("annotations/?annotator=boss&is_current=false", 1),
        ("alerts/?is_standing=true&severity=warning", 1),
        ("alerts/?is_standing=false", 0),
        ("reports/?version=1", 0),
        ("training-runs/?status=failed", 0),
    ],
)
def test_lists_are_filtered(
    client: Client, posts: list[Post], admin_user: User, path: str, count: int
) -> None:
    for key in ("positive", "neutral"):
        annotate(posts[0], Category.objects.get(key=key), annotator=admin_user)
    Alert.objects.create(kind="stream", message="X is down")
    path = path.format(stream=Stream.objects.get().pk)
    assert len(results(client, f"/api/v1/{path}")) == count


@pytest.mark.parametrize("how", ["query", "accept"])
def test_a_filtered_list_is_exported_whole(client: Client, posts: list[Post], how: str) -> None:
    def export(name: str, media_type: str) -> Any:
        if how == "query":
            return client.get(f"/api/v1/posts/?search=food&format={name}")
        return client.get("/api/v1/posts/?search=food", headers={"Accept": media_type})

    answer = export("csv", "text/csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="posts.csv"'
    rows = list(csv.DictReader(answer.getvalue().decode().splitlines()))
    assert [int(row["id"]) for row in rows] == [post.pk for post in reversed(posts)]
    assert json.loads(rows[-1]["streams"]) == [Stream.objects.get().pk]

    answer = export("ndjson", "application/x-ndjson")
    lines = [json.loads(line) for line in answer.getvalue().splitlines()]
    assert lines == pages(client, "/api/v1/posts/?search=food")


def test_a_table_without_rows_still_names_its_columns(client: Client, posts: list[Post]) -> None:
    def lines(search: str) -> list[str]:
        answer = client.get(f"/api/v1/posts/?search={search}&format=csv")
        return answer.getvalue().decode().splitlines()

    assert lines("nowhere") == lines("food")[:1]
    assert client.get("/api/v1/posts/?search=nowhere&format=ndjson").getvalue() == b""


def test_no_cell_of_an_export_is_a_formula(client: Client, posts: list[Post]) -> None:
    Post.objects.filter(pk=posts[0].pk).update(text='=HYPERLINK("http://evil.example.org")')
    answer = client.get("/api/v1/posts/?format=csv").getvalue().decode()
    assert "\"'=HYPERLINK(" in answer


def test_a_wrong_filter_of_an_export_is_a_problem(client: Client, posts: list[Post]) -> None:
    answer = client.get("/api/v1/posts/?source=pigeon&format=csv")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "source"


@pytest.mark.parametrize("path", ["posts", "predictions", "streams", "annotations", "alerts"])
def test_an_export_asks_few_queries_however_long(
    client: Client, posts: list[Post], django_assert_max_num_queries: Callable, path: str
) -> None:
    with django_assert_max_num_queries(6):
        client.get(f"/api/v1/{path}/?format=ndjson").getvalue()


@pytest.mark.django_db(transaction=True)
def test_an_export_streams_from_the_site(posts: list[Post], live_site: str) -> None:
    with urlopen(f"{live_site}/api/v1/posts?format=ndjson", timeout=20) as answer:
        assert len(answer.read().splitlines()) == 12


@pytest.mark.parametrize("number", [str(10**25), str(-(10**25)), "1e400", "NaN", "1.5"])
@pytest.mark.parametrize(
    "path",
    ["annotations?post=", "predictions?version=", "reports?version=", "posts?stream=", "posts/"],
)
def test_a_number_that_no_database_holds_is_refused(
    admin_client: Client, path: str, number: str
) -> None:
    assert admin_client.get(f"/api/v1/{path}{number}").status_code in {200, 400, 404}
