"""Lists by language: the posts that the pages count in it."""

import pytest
from django.test import Client

from tests.dashboard.factories import judged

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("listed", ["posts", "predictions"])
def test_a_language_is_found_with_its_regions_in_any_case(client: Client, listed: str) -> None:
    for lang in ("en", "en-us", "en-gb", "es-419", ""):
        judged(f"in {lang or 'no language'}", lang=lang)
    for asked, count in (("EN", 3), ("en-US", 1), ("en_gb", 1), ("es", 1), ("es-419", 1), ("", 5)):
        answer = client.get(f"/api/v1/{listed}/", {"language": asked})
        assert len(answer.json()["results"]) == count, asked


def test_what_is_no_language_is_told(client: Client) -> None:
    judged("in no language", lang="")
    answer = client.get("/api/v1/posts/", {"language": "english (us)"})
    assert answer.status_code == 400 and "write en or pt-BR" in answer.content.decode()
