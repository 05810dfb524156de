"""What modeling does when ingestion has news."""

from typing import Any

from modeling import tasks


def classify_new_posts(post_ids: list[int], **kwargs: Any) -> None:
    tasks.classify_posts.delay(post_ids)
