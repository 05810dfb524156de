"""Posts that make classifying fail cost no other post its judgement."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Alert, Post
from modeling.exceptions import NoChampion
from modeling.models import Attempt, LabelScheme, ModelVersion, Prediction
from modeling.services import attempts, classify
from modeling.services.annotate import UnknownCategory
from modeling.serving import Served

pytestmark = pytest.mark.django_db

Fail = Callable[[Callable[[], BaseException]], None]


class Died(BaseException):
    """Ends the sweep at once, as the death of its process does: nothing is tidied up."""


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """The model fails as told, whenever a text of a batch holds the word POISON."""
    judge = Served.classify

    def fail(error: Callable[[], BaseException]) -> None:
        def classify_texts(served: Served, texts: Sequence[str], *rest: Any) -> Any:
            if any("POISON" in text for text in texts):
                raise error()
            return judge(served, texts, *rest)

        monkeypatch.setattr(Served, "classify", classify_texts)

    return fail


@pytest.fixture
def posts(champion: ModelVersion) -> list[Post]:
    return Post.objects.bulk_create(
        Post(
            source="x",
            external_id=f"a{number}",
            text="this is POISON" if number == 3 else f"post {number} awful",
            created_at=timezone.now(),
        )
        for number in range(6)
    )


def sweep_later(minutes: int) -> int:
    with time_machine.travel(timezone.now() + timedelta(minutes=minutes)):
        return classify.classify_pending()


def classified() -> set[str]:
    return set(Prediction.objects.values_list("post__external_id", flat=True))


OTHERS = {"a0", "a1", "a2", "a4", "a5"}


def test_a_sweep_leaves_no_note_where_all_goes_well(posts: list[Post]) -> None:
    assert classify.classify_pending() == 6
    assert not Attempt.objects.exists()


def test_a_post_that_the_model_fails_on_is_found_and_set_aside(
    posts: list[Post], fail: Fail, scheme: LabelScheme
) -> None:
    fail(lambda: RuntimeError("no such shape"))
    assert classify.classify_pending() == 0
    assert Attempt.objects.count() == 6
    # Nobody takes what somebody may still be at.
    assert classify.classify_pending() == 0
    assert sweep_later(2) == 5
    assert classified() == OTHERS
    left = Attempt.objects.get()
    assert (left.post, left.count, left.error) == (posts[3], 2, "RuntimeError: no such shape")
    assert not Alert.objects.exists()
    sweep_later(4)
    sweep_later(6)
    assert Attempt.objects.get().count == Attempt.MOST
    alert = Alert.objects.standing().get(kind=attempts.ALERT, key=scheme.key)
    assert alert.message.startswith("1 posts make the model fail")
    # It is not tried any more, and new posts go their way.
    Post.objects.create(source="x", external_id="new", text="fine", created_at=timezone.now())
    assert sweep_later(8) == 1
    assert Attempt.objects.get().count == Attempt.MOST


@pytest.mark.parametrize("error", [RuntimeError, Died])
def test_a_model_that_fails_on_every_text_is_no_fault_of_the_posts(
    posts: list[Post], monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def classify_texts(*arguments: Any) -> Any:
        raise error("broken")

    with monkeypatch.context() as patch:
        patch.setattr(Served, "classify", classify_texts)
        for minutes in (0, 2, 4, 6):
            with pytest.raises(error):
                sweep_later(minutes)
    assert not Attempt.objects.exists()
    assert sweep_later(8) == 6


def test_a_model_that_breaks_in_the_middle_is_no_fault_of_the_posts_either(
    posts: list[Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, calls = Served.classify, count()

    def classify_texts(served: Served, *arguments: Any) -> Any:
        if next(calls):
            raise RuntimeError("broken")
        return judge(served, *arguments)

    monkeypatch.setattr(Served, "classify", classify_texts)
    with pytest.raises(RuntimeError, match="broken"):
        classify.classify_pending()
    assert not Attempt.objects.exists()


def test_a_scheme_that_has_lost_a_category_is_no_fault_of_the_posts(
    posts: list[Post], scheme: LabelScheme
) -> None:
    scheme.categories.filter(key="negative").update(key="bad")
    for minutes in (0, 2, 4, 6):
        with pytest.raises(UnknownCategory, match="answers 'negative', which 'sentiment' does not"):
            sweep_later(minutes)
    assert not Attempt.objects.exists() and not Prediction.objects.exists()
    scheme.categories.filter(key="bad").update(key="negative")
    assert sweep_later(8) == 6


def test_a_post_that_kills_the_process_costs_no_other_its_judgement(
    posts: list[Post], fail: Fail
) -> None:
    fail(Died)
    for minutes in (0, 2):
        with pytest.raises(Died):
            sweep_later(minutes)
    # It died in the middle of trying each alone; the next one goes on behind it.
    while sweep_later_or_die(minutes := minutes + 2):
        assert minutes < 20
    assert classified() == OTHERS
    left = Attempt.objects.get()
    assert (left.post, left.count, left.error) == (posts[3], Attempt.MOST, "")


def sweep_later_or_die(minutes: int) -> bool:
    """Whether the sweep died."""
    try:
        sweep_later(minutes)
    except Died:
        return True
    return False


@pytest.mark.parametrize("error", [NoChampion("none"), OperationalError("away")])
def test_no_post_is_to_blame_for_what_is_away(
    posts: list[Post], fail: Fail, error: Exception, champion: ModelVersion
) -> None:
    fail(lambda: error)
    with pytest.raises(type(error)):
        classify.classify_pending()
    assert not Attempt.objects.exists()
    Attempt.objects.create(
        post=posts[3],
        scheme=champion.scheme,
        count=2,
        started_at=timezone.now() - timedelta(minutes=5),
    )
    with pytest.raises(type(error)):
        classify.classify_pending()
    assert Attempt.objects.filter(post=posts[3]).get().count == 2


def test_once_it_is_classified_after_all_the_note_goes_and_the_alert_closes(
    posts: list[Post], champion: ModelVersion
) -> None:
    for post in posts[:2]:
        Attempt.objects.create(
            post=post,
            scheme=champion.scheme,
            count=Attempt.MOST,
            started_at=timezone.now() - timedelta(minutes=5),
        )
    classify.classify_pending()
    assert Alert.objects.standing().get().message.startswith("2 posts")
    classify.classify_posts([post.pk for post in posts[:2]])
    classify.classify_pending()
    assert not Attempt.objects.exists()
    assert not Alert.objects.standing().exists()


def test_a_person_has_it_tried_again(
    client: Client, admin_user: User, posts: list[Post], champion: ModelVersion
) -> None:
    attempt = Attempt.objects.create(
        post=posts[3], scheme=champion.scheme, count=Attempt.MOST, error="RuntimeError: odd"
    )
    client.force_login(admin_user)
    path = reverse("admin:modeling_attempt_changelist")
    page = client.get(path).content.decode()
    assert "this is POISON" in page and "RuntimeError: odd" in page
    client.post(path, {"action": "try_again", "_selected_action": [attempt.pk]})
    assert classify.classify_pending() == 6
