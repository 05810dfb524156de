"""Posts and labels that come in."""

from django.utils import timezone

from ingestion.models import Post
from modeling.models import LabelScheme
from modeling.services.annotate import annotate_many


def make_posts(texts: list[str]) -> list[Post]:
    start = Post.objects.count()
    return Post.objects.bulk_create(
        Post(source="x", external_id=f"q{start + i}", text=text, created_at=timezone.now())
        for i, text in enumerate(texts)
    )


def label(scheme: LabelScheme, count: int) -> None:
    """So many posts more, each labelled."""
    posts = make_posts(["a b c"] * count)
    annotate_many(scheme, dict.fromkeys((post.pk for post in posts), "neutral"))
