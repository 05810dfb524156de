"""Questions that cross tables. Pages, API and websocket call the same ones."""

from datetime import datetime

from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet

from ingestion.models import Post
from modeling.models import Annotation, LabelScheme, Prediction


def unclassified_posts(
    scheme: LabelScheme, *, received_since: datetime | None = None
) -> QuerySet[Post]:
    """Current posts that no serving prediction of `scheme` covers, oldest first."""
    serving = Prediction.objects.serving().filter(post=OuterRef("pk"), scheme=scheme)
    posts = Post.objects.current().filter(~Exists(serving)).order_by("pk")
    return posts if received_since is None else posts.filter(received_at__gte=received_since)


class Labelling(models.TextChoices):
    """How a post stands with those who label."""

    UNLABELLED = "unlabelled", "nobody has labelled it"
    UNCERTAIN = "uncertain", "nobody has, and the model is unsure"
    DISAGREEMENT = "disagreement", "people disagree"
    CONTRADICTED = "contradicted", "the model says otherwise"


# Below this confidence the champion counts as unsure of a post.
UNSURE = 0.6


def posts_by_labelling(
    posts: QuerySet[Post], scheme: LabelScheme, standing: Labelling
) -> QuerySet[Post]:
    """Those of `posts` that stand so; what a review has settled is no disagreement any more."""
    said = Annotation.objects.current().filter(post=OuterRef("pk"), scheme=scheme)
    judged = Prediction.objects.serving().filter(post=OuterRef("pk"), scheme=scheme)
    match standing:
        case Labelling.UNLABELLED:
            return posts.filter(~Exists(said), deleted_at__isnull=True)
        case Labelling.UNCERTAIN:
            unsure = judged.filter(confidence__lt=UNSURE)
            return posts.filter(Exists(unsure), ~Exists(said), deleted_at__isnull=True)
        case Labelling.DISAGREEMENT:
            other = Annotation.objects.current().filter(post=OuterRef("post"), scheme=scheme)
            disputed = said.filter(Exists(other.exclude(category=OuterRef("category"))))
            settled = said.filter(origin=Annotation.Origin.REVIEW)
            return posts.filter(Exists(disputed), ~Exists(settled))
        case Labelling.CONTRADICTED:
            serving = Prediction.objects.serving().filter(post=OuterRef("post"), scheme=scheme)
            denied = said.filter(Exists(serving.exclude(category=OuterRef("category"))))
            return posts.filter(Exists(denied))


def versions_of(post: Post) -> list[Post]:
    """The post in all its versions, oldest first; of one that was never edited itself alone."""
    root = post.original_id or post.external_id
    of_source = Post.objects.filter(source=post.source)
    edits = of_source.edits_of(post.source, [root])
    versions = of_source.filter(Q(external_id=root) | Q(pk__in=edits.values("pk")))
    # Ids of versions are numbers that grow, or grow longer.
    return sorted(versions, key=lambda version: (len(version.external_id), version.external_id))
