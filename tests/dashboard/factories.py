"""Posts, and judgements of them that are stored as classifying stores them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import count

from django.db import transaction
from django.utils import timezone

from ingestion.models import Post, Stream
from modeling.models import Category, LabelScheme, ModelVersion, Prediction
from modeling.signals import predictions_created

_numbers = count(1)


def make_stream(name: str = "football") -> Stream:
    return Stream.objects.create(name=name, source="file")


def make_post(
    text: str = "the game today",
    *,
    at: datetime | None = None,
    streams: Iterable[Stream] = (),
    **fields: object,
) -> Post:
    values: dict[str, object] = {
        "source": "file",
        "external_id": f"post-{next(_numbers)}",
        "text": text,
        "created_at": at or timezone.now(),
    }
    post = Post.objects.create(**{**values, **fields})
    post.streams.set(streams)
    return post


def make_posts(number: int, text: str = "the game today", at: datetime | None = None) -> list[Post]:
    return Post.objects.bulk_create(
        Post(
            source="file",
            external_id=f"post-{next(_numbers)}",
            text=f"{text} {i}",
            created_at=at or timezone.now(),
        )
        for i in range(number)
    )


def serving_version() -> ModelVersion:
    """The champion's row; a row alone serves nobody, but predictions need one."""
    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    version, _ = ModelVersion.objects.get_or_create(
        scheme=scheme,
        stage=ModelVersion.Stage.CHAMPION,
        defaults={"version": 7, "run_id": "run-7", "base_model": "tiny"},
    )
    return version


@transaction.atomic
def judge(
    *posts: Post, category: str = "positive", confidence: float = 0.9, **fields: object
) -> list[Prediction]:
    """Store serving predictions and send their signal, in one transaction."""
    version = serving_version()
    label = Category.objects.get(scheme=version.scheme, key=category)
    predictions = Prediction.objects.bulk_create(
        Prediction(
            post=post,
            scheme=version.scheme,
            model_version=version,
            category=label,
            confidence=confidence,
            scores={category: confidence},
            **fields,
        )
        for post in posts
    )
    predictions_created.send(sender=Prediction, predictions=predictions)
    return predictions


def judged(text: str = "the game today", category: str = "positive", **fields: object) -> Post:
    """A post with its judgement."""
    post = make_post(text, **fields)
    judge(post, category=category)
    return post
