"""Questions that cross tables. Pages, API and websocket call the same ones."""

from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from ingestion.models import Post
from modeling.models import LabelScheme, Prediction


def unclassified_posts(
    scheme: LabelScheme, *, received_since: datetime | None = None
) -> QuerySet[Post]:
    """Current posts that no serving prediction of `scheme` covers, oldest first."""
    serving = Prediction.objects.serving().filter(post=OuterRef("pk"), scheme=scheme)
    posts = Post.objects.current().filter(~Exists(serving)).order_by("pk")
    return posts if received_since is None else posts.filter(received_at__gte=received_since)
