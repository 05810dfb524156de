"""How X turns a client away: the rows of its connect-failure table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROBLEMS = "https://api.twitter.com/2/problems/"


@dataclass(frozen=True)
class Refusal:
    """An answer to one call in place of the usual one; a body that is text is an HTML page."""

    status: int
    body: Mapping[str, Any] | str = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def unauthorized() -> Refusal:
    return Refusal(
        401,
        {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"},
    )


def not_enrolled() -> Refusal:
    return Refusal(
        403,
        {
            "title": "Client Forbidden",
            "reason": "client-not-enrolled",
            "required_enrollment": "Appropriate Level of API Access",
            "type": f"{PROBLEMS}client-forbidden",
            "detail": "When authenticating requests you must use keys from an attached App.",
        },
    )


def rate_limited(reset_in: float | None = None) -> Refusal:
    headers = {"x-rate-limit-limit": "50", "x-rate-limit-remaining": "0"}
    if reset_in is not None:
        headers["x-rate-limit-reset"] = str(int(time.time() + reset_in))
    body = {"title": "Too Many Requests", "type": "about:blank", "status": 429}
    return Refusal(429, body, headers)


def too_many_connections() -> Refusal:
    return Refusal(
        429,
        {
            "title": "ConnectionException",
            "connection_issue": "TooManyConnections",
            "detail": "This stream is currently at the maximum allowed connection limit.",
            "type": "https://api.x.com/2/problems/streaming-connection",
        },
        {"x-rate-limit-limit": "50", "x-rate-limit-remaining": "40"},
    )


def unavailable() -> Refusal:
    body = {"title": "Service Unavailable", "type": "about:blank", "status": 503}
    return Refusal(503, body)


def usage_cap_exceeded() -> Refusal:
    return Refusal(
        429,
        {
            "title": "UsageCapExceeded",
            "period": "Monthly",
            "scope": "Product",
            "detail": "Usage cap exceeded: Monthly product cap",
            "type": f"{PROBLEMS}usage-capped",
        },
        {"x-rate-limit-limit": "50", "x-rate-limit-remaining": "45"},
    )


def no_credits() -> Refusal:
    return Refusal(402, {"title": "CreditsDepleted", "type": f"{PROBLEMS}credits", "status": 402})


def no_rules() -> Refusal:
    return Refusal(
        409,
        {
            "title": "ConnectionException",
            "connection_issue": "RuleConfigurationIssue",
            "detail": "There are no rules defined for this stream.",
            "type": f"{PROBLEMS}streaming-connection",
        },
    )


def bad_request(name: str, value: str, message: str) -> Refusal:
    """What X says of a parameter that it does not take."""
    return Refusal(
        400,
        {
            "errors": [{"parameters": {name: [value]}, "message": message}],
            "title": "Invalid Request",
            "detail": "One or more parameters to your request was invalid.",
            "type": "https://api.twitter.com/2/problems/invalid-request",
        },
    )


def no_backfill(minutes: str) -> Refusal:
    return bad_request("backfill_minutes", minutes, "Backfill is not available to this client")


def opaque() -> Refusal:
    """A bad request that does not say what is bad."""
    return Refusal(400, {"title": "Invalid Request", "type": "about:blank", "status": 400})


def html(status: int) -> Refusal:
    """What a proxy in between may answer."""
    return Refusal(status, f"<html><body><h1>{status}</h1></body></html>")


def moved(address: str) -> Refusal:
    return Refusal(302, "", {"Location": address})


def timed_out() -> Refusal:
    return Refusal(408, {"title": "Request Timeout", "type": "about:blank", "status": 408})


def no_room(allowed: int, total: int) -> Refusal:
    return Refusal(
        422,
        {
            "errors": [
                {
                    "title": "RulesCapExceeded",
                    "detail": f"Rule creation failed. Must delete {total - allowed} existing rules "
                    "to create these.",
                    "type": f"{PROBLEMS}rule-cap",
                }
            ]
        },
    )
