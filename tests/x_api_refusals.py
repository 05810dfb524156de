"""How X turns a client away: the rows of its connect-failure table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROBLEMS = "https://api.twitter.com/2/problems/"


@dataclass(frozen=True)
class Refusal:
    """An answer other than 200 to one connect."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
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
