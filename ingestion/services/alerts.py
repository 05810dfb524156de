"""Telling people what needs them: once when it is noticed, once when it is over."""

from __future__ import annotations

import json
import logging
from functools import partial

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.utils import timezone

from ingestion import metrics
from ingestion.models import Alert
from ingestion.signals import alert_raised
from ingestion.sources.safe_http import Fetch

logger = logging.getLogger(__name__)

WEBHOOK_SECONDS = 15.0
_MESSAGE_LIMIT = 500
_KEY_LIMIT = 100


def raise_alert(
    kind: str,
    message: str,
    key: str = "",
    severity: Alert.Severity = Alert.Severity.WARNING,
) -> bool:
    """Let one alert of this kind and key stand; True when people are told of it now.

    Safe to repeat and to race: people are told once, and again only if it becomes critical. A
    standing one keeps its newest words.
    """
    key, message = key[:_KEY_LIMIT], message[:_MESSAGE_LIMIT]
    fields = {"message": message, "severity": severity}
    with transaction.atomic():
        standing = Alert.objects.standing().select_for_update().filter(kind=kind, key=key).first()
        if standing is None:
            return _raise_new(kind, key, fields)
        worse = severity == Alert.Severity.CRITICAL and standing.severity != severity
        if (standing.message, standing.severity) != (message, severity):
            standing.message, standing.severity = message, severity
            standing.save(update_fields=list(fields))
        if worse:
            transaction.on_commit(partial(_announce, standing, message, active=True))
    return bool(worse)


def _raise_new(kind: str, key: str, fields: dict[str, str]) -> bool:
    try:
        with transaction.atomic():
            alert = Alert.objects.create(kind=kind, key=key, **fields)
    except IntegrityError:
        # Another process noticed it a moment earlier, and tells.
        return False
    transaction.on_commit(partial(_announce, alert, alert.message, active=True))
    return True


def close_alert(kind: str, key: str = "", message: str = "") -> bool:
    """End what stands of this kind and key; False when nothing does. Safe to repeat and to race."""
    key, message = key[:_KEY_LIMIT], message[:_MESSAGE_LIMIT]
    with transaction.atomic():
        standing = Alert.objects.standing().select_for_update().filter(kind=kind, key=key).first()
        if standing is None:
            return False
        now = timezone.now()
        # Where rows cannot be locked, the condition lets one of two closers through.
        closed = Alert.objects.standing().filter(pk=standing.pk)
        if not closed.update(closed_at=now, closing_message=message):
            return False
        standing.closed_at, standing.closing_message = now, message
        said = message or f"It is over: {standing.message}"
        transaction.on_commit(partial(_announce, standing, said, active=False))
    return True


def _announce(alert: Alert, message: str, *, active: bool) -> None:
    level = _LEVELS[alert.severity] if active else logging.INFO
    logger.log(level, "alert %s %s: %s", alert.kind, "raised" if active else "closed", message)
    metrics.ALERTS.labels(alert.kind).set(Alert.objects.standing().filter(kind=alert.kind).count())
    alert_raised.send_robust(
        sender=Alert, kind=alert.kind, message=message, active=active, alert_id=alert.pk
    )


_LEVELS: dict[str, int] = {
    Alert.Severity.WARNING: logging.WARNING,
    Alert.Severity.CRITICAL: logging.ERROR,
}


def channels() -> list[str]:
    """The ways of delivery that are configured."""
    return [
        name
        for name, is_set in (
            ("webhook", settings.ALERT_WEBHOOK_URL),
            ("email", settings.ALERT_EMAILS),
        )
        if is_set
    ]


def deliver(alert: Alert, channel: str, message: str, *, active: bool) -> None:
    """Send a change of an alert out by one channel.

    Raises SourceError, SMTPException or OSError; what a repetition cannot mend is NeedsAttention.
    """
    if channel == "webhook":
        _post(alert, message, active)
    else:
        _mail(alert, message, active)


def _post(alert: Alert, message: str, active: bool) -> None:
    """Slack shows `text`; other receivers have fields to filter by."""
    body = {
        "text": f"{_headline(alert, active)}: {message}",
        "kind": alert.kind,
        "key": alert.key,
        "severity": alert.severity,
        "active": active,
        "message": message,
        "raised_at": alert.raised_at.isoformat(),
        "closed_at": None if active or alert.closed_at is None else alert.closed_at.isoformat(),
    }
    fetch = Fetch(
        allow_private=settings.SOURCES_ALLOW_PRIVATE_ADDRESSES, total_seconds=WEBHOOK_SECONDS
    )
    fetch.post(
        settings.ALERT_WEBHOOK_URL, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )


def _mail(alert: Alert, message: str, active: bool) -> None:
    # A subject is one line; what a source says of itself may be several.
    subject = " ".join(f"{_headline(alert, active)}: {message}".split())[:150]
    lines = [message, "", f"Raised: {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC"]
    if not active and alert.closed_at is not None:
        lines.append(f"Over: {alert.closed_at:%Y-%m-%d %H:%M:%S} UTC")
    EmailMessage(subject, "\n".join(lines), to=settings.ALERT_EMAILS).send()


def _headline(alert: Alert, active: bool) -> str:
    what = alert.get_severity_display() if active else "over"
    return f"[{alert.kind}] {what}"
