"""What a person reads of a page."""

from __future__ import annotations

import re

from django.test import Client

HTML = {"Accept": "text/html"}


def text_of(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status, answer.content
    return words_of(answer.content.decode())


def words_of(page: str) -> str:
    """What a person reads of a page."""
    page = re.sub(r"<script.*?</script>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())
