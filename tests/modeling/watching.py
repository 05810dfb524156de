"""Posts for tests of what watches them."""

from django.utils import timezone

from ingestion.models import Post
from modeling.services import classify

THINGS = ("game", "film", "train", "phone", "song", "city", "team", "food")
WORDS = ("love", "awful", "report", "great", "hate", "opens")


def calm(count: int, first: int = 20_000) -> list[str]:
    """Plain posts of many lengths, all different."""
    # Numbers without order: those of one call must not tell themselves from another's.
    return [
        f"the {THINGS[i % 8]} {WORDS[i % 6]} today number {i * 7919 % 99_991:05}"
        + " and so on" * (i % 5)
        for i in range(first, first + count)
    ]


def arrive(texts: list[str]) -> list[Post]:
    """Posts come in and are classified."""
    start = Post.objects.count()
    posts = Post.objects.bulk_create(
        Post(source="x", external_id=f"{start + i}", text=text, created_at=timezone.now())
        for i, text in enumerate(texts)
    )
    classify.classify_posts([post.pk for post in posts])
    return posts
