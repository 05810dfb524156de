"""The labelling queue: what is asked, and of whom."""

from collections.abc import Callable

from ingestion.models import Post
from modeling.models import Assignment

Maker = Callable[..., Post]


def texts(assignments: list[Assignment]) -> set[str]:
    return {assignment.post.text for assignment in assignments}
