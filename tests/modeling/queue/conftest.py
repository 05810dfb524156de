"""Posts that were judged, and two people who label."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.models import (
    Category,
    LabelScheme,
    ModelVersion,
    Prediction,
)
from modeling.services import likeness
from tests.modeling.queue import Maker


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> Iterator[Settings]:
    """Nothing left to chance, and one reader a post, unless a test says so."""
    settings.LABELLING_STRATEGY = "uncertainty"
    settings.LABELLING_RANDOM_SHARE = settings.LABELLING_OVERLAP = settings.LABELLING_GOLD = 0
    likeness.reset()
    yield settings
    likeness.reset()


@pytest.fixture
def version(scheme: LabelScheme) -> ModelVersion:
    """A candidate, so that nobody looks for its files."""
    return ModelVersion.objects.create(scheme=scheme, version=9, run_id="r", base_model="tiny")


@pytest.fixture
def judged(scheme: LabelScheme, version: ModelVersion) -> Maker:
    def make(text: str, margin: float = 0.5, category: str = "positive") -> Post:
        post = Post.objects.create(
            source="file",
            external_id=f"p{Post.objects.count()}",
            text=text,
            created_at=timezone.now(),
        )
        best, other = 0.5 + margin / 2, 0.5 - margin / 2
        runner_up = "neutral" if category != "neutral" else "negative"
        Prediction.objects.create(
            post=post,
            scheme=scheme,
            model_version=version,
            category=scheme.categories.get(key=category),
            confidence=best,
            scores={category: best, runner_up: other},
        )
        return post

    return make


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob")


@pytest.fixture
def positive(scheme: LabelScheme) -> Category:
    return scheme.categories.get(key="positive")
