"""Telling people what needs them: once when it is noticed, once when it is over."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from ingestion import metrics
from ingestion.exceptions import NeedsAttention, SourceError
from ingestion.models import Alert, AlertMessage
from ingestion.signals import alert_raised
from ingestion.sources.safe_http import Fetch

logger = logging.getLogger(__name__)

WEBHOOK_SECONDS = 15.0
_MESSAGE_LIMIT = 500
_KEY_LIMIT = 100
# What no worker has sent so long after it was queued is queued again: the task's own repetitions
# have ended by then.
QUEUE_AGAIN = timedelta(minutes=15)
# Who commits a change queues it a moment later: what waits longer was left behind.
LEFT_BEHIND = timedelta(seconds=30)
# Older news than this would only confuse.
NEWS = timedelta(hours=24)


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
            _tell(standing, message, active=True)
    return bool(worse)


def _raise_new(kind: str, key: str, fields: dict[str, str]) -> bool:
    try:
        with transaction.atomic():
            alert = Alert.objects.create(kind=kind, key=key, **fields)
    except IntegrityError:
        # Another process noticed it a moment earlier, and tells.
        return False
    _tell(alert, alert.message, active=True)
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
        _tell(standing, message or f"It is over: {standing.message}", active=False)
    return True


def _tell(alert: Alert, message: str, *, active: bool) -> None:
    """Inside of the transaction that changes the alert: what is to be sent is kept with it."""
    AlertMessage.objects.bulk_create(
        AlertMessage(alert=alert, channel=channel, text=message[:_MESSAGE_LIMIT], active=active)
        for channel in channels()
    )
    transaction.on_commit(partial(_announce, alert, message, active=active))


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


def unsent(alert_id: int | None = None) -> list[int]:
    """Ids of messages that somebody must queue: an alert's new ones, or all that were left behind
    by a broker that was away, a worker that died, or a receiver that had trouble for minutes."""
    messages = AlertMessage.objects.filter(sent_at__isnull=True, is_given_up=False)
    if alert_id is not None:
        messages = messages.filter(alert=alert_id, queued_at__isnull=True)
    else:
        now = timezone.now()
        messages = messages.filter(created_at__gt=now - NEWS).filter(
            Q(queued_at__isnull=True, created_at__lt=now - LEFT_BEHIND)
            | Q(queued_at__lt=now - QUEUE_AGAIN)
        )
    return list(messages.values_list("pk", flat=True))


def queued(message_id: int) -> None:
    """Note that a worker will be told of a message."""
    AlertMessage.objects.filter(pk=message_id).update(queued_at=timezone.now())


def send(message_id: int) -> None:
    """Send a message by its channel, once: one that was sent, or went with its alert, is left.

    Raises SourceError or OSError (SMTP's errors are such) and notes on the message what it was.
    What a repetition cannot mend is NeedsAttention: the message is given up.
    """
    waiting = AlertMessage.objects.select_related("alert").filter(sent_at__isnull=True)
    if (message := waiting.filter(pk=message_id).first()) is None:
        return
    kept = AlertMessage.objects.filter(pk=message_id)
    try:
        _deliver(message)
    except (SourceError, OSError) as error:
        is_given_up = isinstance(error, NeedsAttention)
        kept.update(error=str(error)[:_MESSAGE_LIMIT], is_given_up=is_given_up)
        raise
    kept.update(sent_at=timezone.now(), error="")


def _deliver(message: AlertMessage) -> None:
    if message.channel == "webhook":
        _post(message.alert, message.text, message.active)
    else:
        _mail(message.alert, message.text, message.active)


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
