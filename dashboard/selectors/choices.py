"""What a view's filters offer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dashboard.selectors.posts import Judged
from ingestion.language_tags import primary
from ingestion.models import Stream

MAXIMUM_CHOICES = 30


def streams() -> list[Stream]:
    """Every stream, by name."""
    return list(Stream.objects.all())


def languages(sample: Sequence[Judged], chosen: Sequence[str]) -> list[str]:
    """Languages of the newest posts without their regions, the most frequent first, and those
    chosen."""
    counted = Counter(code for row in sample if (code := primary(row["post__lang"])))
    found = [code for code, _ in counted.most_common(MAXIMUM_CHOICES)]
    return [*found, *(code for code in chosen if code not in found)]
