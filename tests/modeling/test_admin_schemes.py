"""Schemes and their categories in the admin: keys stay, and so does what is in use."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Post
from modeling.models import Category, LabelScheme, ModelVersion, Prediction
from modeling.services.annotate import annotate_many

pytestmark = pytest.mark.django_db

Save = Callable[..., str]


@pytest.fixture
def save(client: Client, admin_user: User, scheme: LabelScheme) -> Save:
    """Posts the scheme's page with some fields changed; the page that one then sees."""
    client.force_login(admin_user)

    def save(new: int = 0, **fields: Any) -> str:
        rows = list(scheme.categories.all())
        data: dict[str, Any] = {"key": scheme.key, "name": scheme.name}
        data["categories-TOTAL_FORMS"] = len(rows) + new
        data["categories-INITIAL_FORMS"] = len(rows)
        for number, row in enumerate(rows):
            for name in ("id", "key", "name", "color", "polarity", "position"):
                data[f"categories-{number}-{name}"] = _text(getattr(row, name))
        data |= {name.replace("__", "-"): value for name, value in fields.items()}
        path = reverse("admin:modeling_labelscheme_change", args=[scheme.pk])
        return client.post(path, data, follow=True).content.decode()

    return save


@pytest.fixture
def version(scheme: LabelScheme) -> ModelVersion:
    return ModelVersion.objects.create(scheme=scheme, version=1, run_id="r", base_model="tiny")


def _text(value: object) -> str:
    return "" if value is None else str(value)


def keys(scheme: LabelScheme) -> list[str]:
    return list(scheme.categories.values_list("key", flat=True))


def test_keys_of_what_exists_stay_whatever_is_sent(save: Save, scheme: LabelScheme) -> None:
    page = save(key="mood", name="Mood", categories__2__key="pos", categories__2__name="Good")
    assert "was changed successfully" in page
    scheme.refresh_from_db()
    assert (scheme.key, scheme.name) == ("sentiment", "Mood")
    assert keys(scheme) == ["negative", "neutral", "positive"]
    assert scheme.categories.get(key="positive").name == "Good"


def test_new_schemes_and_categories_are_given_keys(save: Save, scheme: LabelScheme) -> None:
    new = {"key": "mixed", "name": "Mixed", "color": "#123456", "position": 9}
    save(new=1, **{f"categories__3__{name}": value for name, value in new.items()})
    assert keys(scheme) == ["negative", "neutral", "positive", "mixed"]
    # One that nothing goes by yet may go.
    save(categories__3__DELETE="on")
    assert keys(scheme) == ["negative", "neutral", "positive"]


def judge(post: Post, category: Category, version: ModelVersion) -> None:
    Prediction.objects.create(
        post=post,
        scheme=category.scheme,
        model_version=version,
        category=category,
        confidence=0.9,
        scores={},
    )


def label(post: Post, category: Category, version: ModelVersion) -> None:
    annotate_many(category.scheme, {post.pk: category.key})


@pytest.mark.parametrize(
    ("use", "why"), [(judge, "the model has judged posts"), (label, "have labelled posts")]
)
def test_a_category_that_is_in_use_is_not_deleted_and_says_why(
    save: Save,
    scheme: LabelScheme,
    version: ModelVersion,
    use: Callable[[Post, Category, ModelVersion], None],
    why: str,
) -> None:
    post = Post.objects.create(source="x", external_id="1", text="a", created_at=timezone.now())
    use(post, scheme.categories.get(key="positive"), version)
    page = save(categories__2__DELETE="on")
    assert "cannot be deleted" in page and why in page
    assert keys(scheme) == ["negative", "neutral", "positive"]
