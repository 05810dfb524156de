"""Labelling: a person's or a file's judgement of a post."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from ingestion.models import Post
from modeling.exceptions import ModelingError
from modeling.models import Annotation, Category, LabelScheme


class UnknownCategory(ModelingError):
    """A label that the scheme does not have."""


@transaction.atomic
def annotate(
    post: Post,
    category: Category,
    *,
    annotator: User | None = None,
    origin: str = Annotation.Origin.HUMAN,
) -> Annotation:
    """Record that `annotator` judges `post` as `category`; an earlier judgement becomes history.

    Judging the same again changes nothing and returns the annotation in force.
    """
    now = timezone.now()
    # Locks the post, so that two clicks at once do not both find nothing to replace.
    Post.objects.select_for_update().only("pk").get(pk=post.pk)
    current = Annotation.objects.current().filter(
        post=post, scheme=category.scheme_id, annotator=annotator
    )
    standing = current.first()
    if standing is not None and standing.category_id == category.pk:
        return standing
    current.update(replaced_at=now)
    return Annotation.objects.create(
        post=post,
        scheme_id=category.scheme_id,
        category=category,
        annotator=annotator,
        origin=origin,
        created_at=now,
    )


@transaction.atomic
def annotate_many(
    scheme: LabelScheme,
    labels: Mapping[int, str],
    *,
    annotator: User | None = None,
    origin: str = Annotation.Origin.IMPORT,
) -> int:
    """Label many posts at once (post id → category key); return how many labels changed.

    Raises UnknownCategory before anything is written.
    """
    categories = {category.key: category for category in scheme.categories.all()}
    unknown = sorted(set(labels.values()) - set(categories))
    if unknown:
        raise UnknownCategory(
            f"{scheme.key!r} has no category {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(categories)}"
        )
    now = timezone.now()
    ids = sorted(labels)
    list(Post.objects.filter(pk__in=ids).order_by("pk").select_for_update().values_list("pk"))
    current = Annotation.objects.current().filter(
        scheme=scheme, annotator=annotator, post_id__in=ids
    )
    standing = dict(current.values_list("post_id", "category__key"))
    changed = [pk for pk in ids if standing.get(pk) != labels[pk]]
    current.filter(post_id__in=changed).update(replaced_at=now)
    Annotation.objects.bulk_create(
        Annotation(
            post_id=pk,
            scheme=scheme,
            category=categories[labels[pk]],
            annotator=annotator,
            origin=origin,
            created_at=now,
        )
        for pk in changed
    )
    return len(changed)


def labelled_rows(
    scheme: LabelScheme, *, since: datetime | None = None
) -> Iterator[dict[str, str]]:
    """Every annotation in force of a visible post, as plain rows for a file."""
    annotations = Annotation.objects.usable().filter(scheme=scheme)
    if since is not None:
        annotations = annotations.filter(created_at__gt=since)
    rows: Iterable[Sequence[object]] = (
        annotations.order_by("pk")
        .values_list(
            "post__source",
            "post__external_id",
            "post__text",
            "category__key",
            "annotator__username",
            "origin",
            "created_at",
        )
        .iterator(chunk_size=2000)
    )
    for source, external_id, text, label, annotator, origin, created_at in rows:
        yield {
            "source": str(source),
            "id": str(external_id),
            "text": str(text),
            "label": str(label),
            "annotator": str(annotator or ""),
            "origin": str(origin),
            "created_at": str(created_at),
        }
