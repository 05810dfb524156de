"""Labelling's pages and what their script asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.models import Annotation, Assignment, LabelScheme, TrainingRun
from modeling.services import likeness
from modeling.services.annotate import annotate, flag
from tests.dashboard.factories import judge, judged, make_post

pytestmark = pytest.mark.django_db

PAGES = ["/label/", "/label/review/", "/label/search/?q=game"]
SCRIPTS = ["/label/next/", "/label/save/"]


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> Iterator[Settings]:
    settings.LABELLING_RANDOM_SHARE = settings.LABELLING_OVERLAP = settings.LABELLING_GOLD = 0
    yield settings
    likeness.reset()


def make_annotator(name: str) -> User:
    user = User.objects.create_user(name)
    user.user_permissions.add(Permission.objects.get(codename="add_annotation"))
    return user


@pytest.fixture
def ann(db: None) -> User:
    return make_annotator("ann")


@pytest.fixture
def bob(db: None) -> User:
    return make_annotator("bob")


@pytest.fixture
def desk(client: Client, ann: User) -> Client:
    """Signed in as somebody who may label."""
    client.force_login(ann)
    return client


def of_page(client: Client, path: str) -> str:
    """The path as the page of whoever is signed in asks for it."""
    return f"{path}{'&' if '?' in path else '?'}user={client.session.get('_auth_user_id', '')}"


def send(client: Client, path: str, body: Any = None) -> HttpResponse:
    sent = json.dumps(body or {})
    return client.post(of_page(client, path), sent, content_type="application/json")


def act(client: Client, **action: Any) -> dict[str, Any]:
    answer = send(client, "/label/save/", {"actions": [action]})
    assert answer.status_code == 200, answer.content
    result: dict[str, Any] = json.loads(answer.content)["results"][0]
    return result


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_signs_in_first_even_where_the_site_is_open(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 302 and answer.headers["Location"].startswith("/login/?next=")


@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_is_told_to_sign_in(client: Client, path: str) -> None:
    assert send(client, path).status_code == 401


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS, "/label/review/settle/"])
def test_who_may_not_annotate_is_refused(client: Client, path: str) -> None:
    client.force_login(User.objects.create_user("viewer"))
    answer = client.get(path) if path in PAGES else send(client, path)
    assert answer.status_code == 403


@pytest.mark.parametrize("path", [*SCRIPTS, "/label/review/settle/", "/label/search/"])
def test_another_site_s_form_is_refused(ann: User, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    assert client.post(path, {}).status_code == 403


@pytest.mark.parametrize("path", PAGES)
def test_pages_open(desk: Client, path: str) -> None:
    answer = desk.get(path)
    assert answer.status_code == 200 and 'href="/label/"' in answer.content.decode()


def test_the_way_there_is_shown_to_whom_it_is_open(
    client: Client, ann: User, settings: Settings
) -> None:
    def is_shown() -> bool:
        return 'href="/label/"' in client.get("/login/").content.decode()

    assert is_shown()
    settings.API_REQUIRE_AUTH = True
    assert not is_shown()
    client.force_login(User.objects.create_user("viewer"))
    assert not is_shown()
    client.force_login(ann)
    assert is_shown()


def test_posts_come_with_their_reason_and_the_model_s_opinion(desk: Client) -> None:
    post = judged("the game today", category="negative")
    item = send(desk, "/label/next/").json()["items"][0]  # type: ignore[attr-defined]
    assert item["post"] == post.pk and "wavers" in item["why"]
    assert item["suggestion"] == {"category": "negative", "confidence": 0.9}


def test_the_random_share_never_carries_the_model_s_opinion(
    desk: Client, settings: Settings
) -> None:
    settings.LABELLING_STRATEGY = "random"
    judged("the game today", category="negative")
    answer = send(desk, "/label/next/")
    item = json.loads(answer.content)["items"][0]
    assert item["is_blind"] and item["suggestion"] is None
    assert "egative" not in json.dumps(item)


def test_what_the_page_has_is_not_sent_again(desk: Client) -> None:
    judged("one")
    judged("two")
    items = json.loads(send(desk, "/label/next/").content)["items"]
    have = [item["id"] for item in items]
    assert len(have) == 2
    assert json.loads(send(desk, "/label/next/", {"have": have}).content)["items"] == []
    assert len(json.loads(send(desk, "/label/next/").content)["items"]) == 2


@pytest.mark.parametrize("path", SCRIPTS)
@pytest.mark.parametrize("user", ["", "?user=", "?user={ann}x", "?user={ann}"])
def test_a_page_of_somebody_else_is_told_to_sign_in(
    client: Client, ann: User, bob: User, path: str, user: str
) -> None:
    post = judged("one")
    client.force_login(bob)
    body = {"actions": [{"do": "label", "post": post.pk, "category": "positive"}]}
    path += user.format(ann=ann.pk)
    assert client.post(path, json.dumps(body), content_type="application/json").status_code == 401
    assert not Annotation.objects.exists() and not Assignment.objects.exists()


def test_labels_skips_flags_and_undo_are_saved(desk: Client, ann: User) -> None:
    post, skipped, flagged = judged("one"), judged("two"), judged("three")
    send(desk, "/label/next/")
    assert act(desk, do="label", post=post.pk, category="positive", seconds=1.5)["saved"]
    assert act(desk, do="skip", post=skipped.pk)["saved"]
    assert act(desk, do="flag", post=flagged.pk)["saved"]
    assert Annotation.objects.current().get().annotator == ann
    states = dict(Assignment.objects.values_list("post_id", "status"))
    assert states == {post.pk: "done", skipped.pk: "skipped", flagged.pk: "flagged"}
    act(desk, do="undo", post=post.pk, category="positive")
    act(desk, do="take_up", post=skipped.pk)
    assert not Annotation.objects.current().exists()
    assert Assignment.objects.waiting().count() == 2


def test_the_note_of_a_flag_is_shown_in_review_and_goes_with_the_flag(
    desk: Client, bob: User, scheme: LabelScheme
) -> None:
    post = judged("odd")
    note = "two\n languages, <i>both</i>\x00 "
    assert act(desk, do="flag", post=post.pk, note=note)["saved"]
    page = desk.get("/label/review/").content.decode()
    assert "“two languages, &lt;i&gt;both&lt;/i&gt;”" in page
    act(desk, do="take_up", post=post.pk)
    act(desk, do="flag", post=post.pk)
    assert Assignment.objects.get().note == ""
    assert "“" not in desk.get("/label/review/").content.decode()


def test_an_answer_that_is_sent_twice_counts_once(desk: Client) -> None:
    post = judged("one")
    for _ in range(2):
        act(desk, do="label", post=post.pk, category="positive")
    act(desk, do="label", post=post.pk, category="negative")
    for _ in range(2):
        act(desk, do="undo", post=post.pk, category="negative")
    assert Annotation.objects.current().get().category.key == "positive"


def test_a_review_of_an_earlier_visit_is_undone_once(
    desk: Client, ann: User, scheme: LabelScheme
) -> None:
    post, positive = judged("one"), scheme.categories.get(key="positive")
    annotate(post, positive, annotator=ann)
    settled = {"post": post.pk, "category": "positive"}
    desk.post("/label/review/settle/", settled)
    page = desk.get("/label/").content.decode()
    (earlier,) = json.loads(page.split('id="page-data"')[1].split(">")[1].split("<")[0])["history"]
    for _ in range(2):
        act(desk, do="undo", **settled, origin=earlier["origin"])
    assert Annotation.objects.current().get().origin == Annotation.Origin.HUMAN
    desk.post("/label/review/settle/", settled)
    for _ in range(2):
        desk.post("/label/review/settle/", {**settled, "undo": "1"})
    assert Annotation.objects.current().get().origin == Annotation.Origin.HUMAN


def test_what_cannot_be_saved_is_said_and_the_rest_is_saved(desk: Client) -> None:
    gone, post = judged("one"), judged("two")
    Post.objects.filter(pk=gone.pk).update(deleted_at=timezone.now(), text="")
    actions = [
        {"do": "label", "post": gone.pk, "category": "positive"},
        {"do": "label", "post": post.pk, "category": "<b>none</b>"},
        {"do": "label", "post": post.pk, "category": "positive"},
    ]
    answer = json.loads(send(desk, "/label/save/", {"actions": actions}).content)
    assert [result["saved"] for result in answer["results"]] == [False, False, True]
    assert "deleted" in answer["results"][0]["error"]
    assert answer["mine"] == {"total": 1, "day": 1, "hour": 1}


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"actions": "all"},
        {"actions": [{"do": "label", "post": 1, "category": "positive"}] * 51},
        {"actions": [{"do": "drop", "post": 1}]},
        {"actions": [{"do": ["label"], "post": 1, "category": "positive"}]},
        {"actions": [{"do": "label", "post": "1", "category": "positive"}]},
        {"actions": [{"do": "label", "post": True, "category": "positive"}]},
        {"actions": [{"do": "label", "post": 2**70, "category": "positive"}]},
        {"actions": [{"do": "label", "post": 1, "category": None}]},
        {"actions": [{"do": "undo", "post": 1, "category": "positive", "origin": ["review"]}]},
        {"actions": [{"do": "skip", "post": 1, "seconds": "long"}]},
        {"actions": [{"do": "flag", "post": 1, "note": ["spam"]}]},
        {"actions": [{"do": "flag", "post": 1, "note": "x" * 201}]},
    ],
)
def test_malformed_actions_are_refused_in_words(desk: Client, body: Any) -> None:
    path = of_page(desk, "/label/save/")
    answer = desk.post(path, json.dumps(body), content_type="application/json")
    assert answer.status_code == 400 and "must be" in json.loads(answer.content)["detail"]


def test_a_note_that_no_database_holds_is_kept_as_far_as_it_can_be(desk: Client) -> None:
    """Refused, or a 500, it would hold up every label that waits behind it in the browser."""
    post = make_post("a game")
    action = {"do": "flag", "post": post.pk, "note": "half \ud83d of\x00 one"}
    answer = json.loads(send(desk, "/label/save/", {"actions": [action]}).content)
    assert answer["results"][0]["saved"]
    note = Assignment.objects.get(post=post).note
    assert note.startswith("half ") and note.endswith(" one") and note.isprintable()


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b'{"have": [-1]}', b'{"have": 3}'])
def test_malformed_requests_for_posts_are_refused(desk: Client, body: bytes) -> None:
    answer = desk.post(of_page(desk, "/label/next/"), body, content_type="application/json")
    assert answer.status_code == 400


def test_endless_numbers_of_seconds_are_bounded(desk: Client) -> None:
    post = judged("one")
    send(desk, "/label/next/")
    act(desk, do="label", post=post.pk, category="positive", seconds=1e300)
    assert Assignment.objects.get().seconds == 3600


def test_an_unknown_scheme_is_not_found(desk: Client) -> None:
    assert desk.get("/label/?scheme=nothing").status_code == 404


def test_another_scheme_has_its_own_labels(desk: Client) -> None:
    mood = LabelScheme.objects.create(key="mood", name="Mood")
    mood.categories.create(key="calm", name="Calm")
    post = judged("one")
    page = desk.get("/label/?scheme=mood").content.decode()
    assert "Calm" in page and "Negative" not in page
    assert send(desk, "/label/next/?scheme=mood").status_code == 200
    body = {"actions": [{"do": "label", "post": post.pk, "category": "calm"}]}
    assert send(desk, "/label/save/?scheme=mood", body).status_code == 200
    assert Annotation.objects.get().scheme == mood


def test_the_way_to_the_next_training_is_told(
    desk: Client, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 40
    act(desk, do="label", post=judged("one").pk, category="positive")
    standing = json.loads(send(desk, "/label/next/").content)["standing"]
    assert standing["labels"] == {"new": 1, "needed": 40} and standing["run"] is None
    run = TrainingRun.objects.create(scheme=scheme, status="interrupted", progress=0.25)
    told = json.loads(send(desk, "/label/next/").content)["standing"]["run"]
    assert (told["id"], told["status"], told["progress"]) == (run.pk, "interrupted", 0.25)
    assert desk.get(told["url"]).status_code == 200


def test_one_s_own_history_and_nobody_else_s_is_on_the_page(
    desk: Client, ann: User, bob: User, scheme: LabelScheme
) -> None:
    positive = scheme.categories.get(key="positive")
    annotate(judged("said by ann"), positive, annotator=ann)
    annotate(judged("said by bob"), positive, annotator=bob)
    page = desk.get("/label/").content.decode()
    assert "said by ann" in page and "said by bob" not in page


Limit = Callable[[int], Any]


def test_questions_are_bounded(
    desk: Client, bob: User, scheme: LabelScheme, django_assert_max_num_queries: Limit
) -> None:
    positive, negative = (scheme.categories.get(key=key) for key in ("positive", "negative"))
    for number in range(30):
        post = judged(f"post number {number * 7919}")
        if number % 2:
            annotate(post, positive, annotator=bob)
            act(desk, do="label", post=post.pk, category=("positive", "negative")[number % 4 // 2])
    for _ in range(3):
        flag(judged("odd"), scheme, annotator=bob)
    assert negative
    for path, most in (("/label/", 20), ("/label/review/", 25), ("/label/search/?q=post", 15)):
        with django_assert_max_num_queries(most):
            assert desk.get(path).status_code == 200
    with django_assert_max_num_queries(35):
        assert send(desk, "/label/next/").status_code == 200


def disagree(ann: User, bob: User, scheme: LabelScheme) -> Post:
    post = judged("the <b>game</b> today")
    annotate(post, scheme.categories.get(key="positive"), annotator=ann)
    annotate(post, scheme.categories.get(key="negative"), annotator=bob)
    return post


def test_a_disagreement_is_settled_and_that_is_undone(
    desk: Client, ann: User, bob: User, scheme: LabelScheme
) -> None:
    post = disagree(ann, bob, scheme)
    page = desk.get("/label/review/").content.decode()
    assert "the &lt;b&gt;game&lt;/b&gt; today" in page and "Cohen&#x27;s kappa" in page
    settled = {"post": post.pk, "category": "neutral"}
    page = desk.post("/label/review/settle/", settled, follow=True).content.decode()
    assert "Settled as <strong>Neutral</strong>" in page and "they agree" in page
    review = Annotation.objects.current().get(origin=Annotation.Origin.REVIEW)
    assert (review.annotator, review.category.key) == (ann, "neutral")
    desk.post("/label/review/settle/", {**settled, "undo": "1"})
    votes = Annotation.objects.current().values_list("category__key", "origin")
    assert set(votes) == {("positive", "human"), ("negative", "human")}


def test_a_flag_is_settled_with_a_label_or_without(
    desk: Client, bob: User, scheme: LabelScheme
) -> None:
    for given in ({"category": "neutral"}, {"keep": "1"}):
        post = judged(f"odd {given}")
        flag(post, scheme, annotator=bob)
        desk.post("/label/review/settle/", {"post": post.pk, **given})
        assert not Assignment.objects.filter(status="flagged").exists()
    assert Annotation.objects.get().origin == Annotation.Origin.REVIEW


@pytest.mark.parametrize("given", ["", "x", "²", "0", "9" * 30, "-1"])
def test_settling_no_post_changes_nothing(desk: Client, given: str) -> None:
    answer = desk.post("/label/review/settle/", {"post": given, "category": "neutral"})
    assert answer.status_code == 302 and not Annotation.objects.exists()
    assert desk.get("/label/review/", {"post": given, "category": "neutral"}).status_code == 200


def test_many_posts_are_found_labelled_and_taken_back(desk: Client, ann: User) -> None:
    wanted = [make_post(f"the match was lost {number}") for number in range(3)]
    other = make_post("nothing of the kind")
    judge(*wanted, other)
    page = desk.get("/label/search/", {"q": "lost match"}).content.decode()
    assert page.count('type="checkbox"') == 3 and "nothing of the kind" not in page
    given = {"post": [post.pk for post in wanted[:2]], "category": "negative"}
    page = desk.post("/label/search/?q=lost match", given).content.decode()
    assert "2 posts labelled <strong>Negative</strong>" in page
    assert page.count('type="checkbox"') == 1
    assert set(Annotation.objects.values_list("post_id", "annotator")) == {
        (post.pk, ann.pk) for post in wanted[:2]
    }
    page = desk.post("/label/search/?q=lost match", {**given, "undo": "1"}).content.decode()
    assert "2 labels taken back" in page and page.count('type="checkbox"') == 3
    assert not Annotation.objects.current().exists()


def test_labelling_many_leaves_what_one_has_said_alone(
    desk: Client, ann: User, scheme: LabelScheme
) -> None:
    post = judged("the match was lost")
    annotate(post, scheme.categories.get(key="positive"), annotator=ann)
    desk.post("/label/search/?q=match", {"post": [post.pk], "category": "negative"})
    assert Annotation.objects.get().category.key == "positive"
    assert desk.post("/label/search/", {"post": [post.pk], "category": "?"}).status_code == 400
