"""Wrong settings are found before they fail at night."""

import pytest
from pytest_django import Settings

from ingestion.checks import check_x_settings


def ids() -> list[str | None]:
    return [found.id for found in check_x_settings(None)]


def test_the_defaults_are_right() -> None:
    assert ids() == []


@pytest.mark.parametrize("address", ["api.twitter.com", "ftp://api.twitter.com", "https://"])
def test_an_address_must_be_http(settings: Settings, address: str) -> None:
    settings.TWITTER_API_BASE_URL = address
    assert ids() == ["ingestion.E001"]


@pytest.mark.parametrize("token", ["Bearer abc", "two words"])
def test_a_token_is_one_word(settings: Settings, token: str) -> None:
    settings.TWITTER_BEARER_TOKEN = token
    assert ids() == ["ingestion.W001"]
