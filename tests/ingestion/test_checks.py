"""Wrong settings are found before they fail at night."""

import pytest
from pytest_django import Settings

from ingestion.checks import check_bluesky_settings, check_x_settings


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


@pytest.mark.parametrize("host", ["http://a.example", "ws://", "wss://a.example/?x=1", "a b"])
def test_a_host_of_jetstream_is_a_name_or_an_address(settings: Settings, host: str) -> None:
    settings.BLUESKY_JETSTREAM_HOSTS = ["jetstream.example", "ws://127.0.0.1:6008", host]
    assert [found.id for found in check_bluesky_settings(None)] == ["ingestion.E002"]
