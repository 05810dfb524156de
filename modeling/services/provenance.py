"""Which posts a version learned from, and how many of them are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db import transaction
from django.db.models import Count, F

from ingestion.models import Post
from ingestion.services.posts import hold
from modeling.models import ModelVersion, TrainingPost

# Rows a statement: below SQLite's limit of parameters.
CHUNK = 500


@transaction.atomic
def record(version: ModelVersion, posts: Mapping[int, str]) -> None:
    """Write down the data set (post id → split) of a new version.

    Training takes minutes: posts that were deleted meanwhile are counted as forgotten, and those
    that nobody has any more are left out.
    """
    # A deletion comes wholly before this, or finds the rows.
    hold(posts)
    there: dict[int, bool] = {}
    ids = sorted(posts)
    for start in range(0, len(ids), CHUNK):
        part = Post.objects.filter(pk__in=ids[start : start + CHUNK])
        there |= {pk: moment is not None for pk, moment in part.values_list("pk", "deleted_at")}
    TrainingPost.objects.bulk_create(
        (TrainingPost(version=version, post_id=pk, split=posts[pk]) for pk in sorted(there)),
        batch_size=CHUNK,
    )
    version.forgotten_posts = sum(there.values())
    version.save(update_fields=["forgotten_posts"])


def note_forgotten(post_ids: Sequence[int]) -> None:
    """Count newly deleted posts on each version whose data set held them."""
    versions = (
        TrainingPost.objects.filter(post_id__in=post_ids)
        .values_list("version")
        .annotate(posts=Count("pk"))
        .order_by("version")
    )
    for version, count in versions:
        ModelVersion.objects.filter(pk=version).update(forgotten_posts=F("forgotten_posts") + count)
