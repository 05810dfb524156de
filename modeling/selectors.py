"""Questions that cross tables. Pages, API and websocket call the same ones."""

from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from ingestion.models import Post
from modeling.models import LabelScheme, Prediction


def unclassified_posts(
    scheme: LabelScheme, *, received_since: datetime | None = None
) -> QuerySet[Post]:
    """Current posts that no serving prediction of `scheme` covers, oldest first."""
    serving = Prediction.objects.serving().filter(post=OuterRef("pk"), scheme=scheme)
    posts = Post.objects.current().filter(~Exists(serving)).order_by("pk")
    return posts if received_since is None else posts.filter(received_at__gte=received_since)


def versions_of(post: Post) -> list[Post]:
    """The post in all its versions, oldest first; of one that was never edited itself alone."""
    root = post.original_id or post.external_id
    of_source = Post.objects.filter(source=post.source)
    edits = of_source.edits_of(post.source, [root])
    versions = of_source.filter(Q(external_id=root) | Q(pk__in=edits.values("pk")))
    # Ids of versions are numbers that grow, or grow longer.
    return sorted(versions, key=lambda version: (len(version.external_id), version.external_id))
