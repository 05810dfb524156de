"""The least valid objects."""

import itertools
from typing import Any

from django.utils import timezone

from ingestion.events import IncomingPost
from ingestion.models import Stream

_numbers = itertools.count(1)


def incoming(**fields: Any) -> IncomingPost:
    values = {
        "source": "x",
        "external_id": str(next(_numbers)),
        "text": "a post",
        "created_at": timezone.now(),
    }
    return IncomingPost(**{**values, **fields})


def stream(**fields: Any) -> Stream:
    number = next(_numbers)
    return Stream.objects.create(
        **{"name": f"stream {number}", "query": f"query{number}", **fields}
    )
