"""System checks of the settings that sources need."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from ingestion.sources.bluesky_hosts import is_address


@register
def check_x_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The address and the token of X."""
    found: list[CheckMessage] = []
    address = urlsplit(settings.TWITTER_API_BASE_URL)
    if address.scheme not in {"http", "https"} or not address.netloc:
        found.append(
            Error(
                f"TWITTER_API_BASE_URL={settings.TWITTER_API_BASE_URL!r} is not an address.",
                hint="Give scheme and host, as https://api.twitter.com.",
                id="ingestion.E001",
            )
        )
    token = settings.TWITTER_BEARER_TOKEN
    if token and (any(char.isspace() for char in token) or token.lower().startswith("bearer")):
        found.append(
            Warning(
                "TWITTER_BEARER_TOKEN does not look like a token.",
                hint="Give the token alone, without the word Bearer, spaces or quotes.",
                id="ingestion.W001",
            )
        )
    return found


@register
def check_bluesky_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The hosts of Jetstream."""
    return [
        Error(
            f"BLUESKY_JETSTREAM_HOSTS: {host!r} is no host.",
            hint="Give names, as jetstream1.us-east.bsky.network, or addresses, as ws://host:6008.",
            id="ingestion.E002",
        )
        for host in settings.BLUESKY_JETSTREAM_HOSTS
        if not is_address(host)
    ]


@register
def check_alert_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Where alerts go."""
    found: list[CheckMessage] = []
    url = urlsplit(settings.ALERT_WEBHOOK_URL)
    if settings.ALERT_WEBHOOK_URL and (url.scheme not in {"http", "https"} or not url.netloc):
        # Not the value: whoever has a webhook's address may write to it.
        found.append(
            Error(
                "ALERT_WEBHOOK_URL is not an address.",
                hint="Give all of it, as https://hooks.slack.com/services/….",
                id="ingestion.E003",
            )
        )
    found += [
        Error(f"ALERT_EMAILS: {address!r} is no e-mail address.", id="ingestion.E004")
        for address in settings.ALERT_EMAILS
        if address.count("@") != 1 or any(char.isspace() for char in address)
    ]
    return found
