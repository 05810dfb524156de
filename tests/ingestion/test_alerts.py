"""Alerts: raised once, closed once, and delivered to whoever is asked for."""

import email
import json
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email import policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings as project
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_django import Settings

from ingestion import tasks
from ingestion.exceptions import NeedsAttention, NetworkFault, Unavailable
from ingestion.models import Alert, AlertMessage
from ingestion.services.alerts import (
    LEFT_BEHIND,
    QUEUE_AGAIN,
    close_alert,
    raise_alert,
    send,
    unsent,
)
from ingestion.signals import alert_raised
from ingestion.sources.safe_http import PrivateAddress
from sentiment_site import env
from tests.conftest import wait_until
from tests.modeling.threads import at_once

# Alerts leave after the commit.
pytestmark = pytest.mark.django_db(transaction=True)

CRITICAL = Alert.Severity.CRITICAL


@pytest.fixture
def heard() -> Iterator[list[tuple[str, str, bool]]]:
    told: list[tuple[str, str, bool]] = []

    def listen(kind: str, message: str, active: bool, **kwargs: Any) -> None:
        told.append((kind, message, active))

    alert_raised.connect(listen)
    yield told
    alert_raised.disconnect(listen)


@dataclass
class Receiver:
    """What a webhook was sent, and the statuses that it answers with in turn, then 200."""

    url: str
    statuses: list[int] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
            if status == 200:
                receiver.bodies.append(json.loads(body))

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield receiver
    server.shutdown()
    server.server_close()


@pytest.fixture
def webhook(settings: Settings) -> Iterator[Receiver]:
    with receiving() as receiver:
        settings.ALERT_WEBHOOK_URL = receiver.url
        settings.SOURCES_ALLOW_PRIVATE_ADDRESSES = True
        yield receiver


@pytest.fixture
def courier(request: pytest.FixtureRequest) -> Iterator[None]:
    """What delivers: a worker's threads; where workers are processes, which would not know this
    test's addresses, the task itself."""
    if not project.REDIS_URL:
        request.getfixturevalue("celery_worker")
        yield
        return
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = False


@pytest.fixture
def mailbox(settings: Settings, tmp_path: Path) -> Path:
    settings.ALERT_EMAILS = ["ops@example.org", "ml@example.org"]
    for name, value in env_email(f"file://{tmp_path}").items():
        setattr(settings, name, value)
    return tmp_path


def mails(mailbox: Path) -> list[bytes]:
    """What has been written whole; those of one second may share a file."""
    written = [path.read_bytes() for path in mailbox.iterdir()]
    return [mail for text in written for mail in text.split(b"-" * 79 + b"\n")[:-1]]


def env_email(url: str) -> dict[str, Any]:
    return env.email("NO_SUCH_VARIABLE", url)


def a_message(kind: str = "drift", **fields: Any) -> AlertMessage:
    alert, _ = Alert.objects.get_or_create(kind=kind, message="posts differ")
    return AlertMessage.objects.create(
        alert=alert, channel="webhook", text="posts differ", active=True, **fields
    )


def standing() -> int:
    return Alert.objects.standing().count()


def test_people_are_told_once_and_once_more_when_it_is_over(
    heard: list[tuple[str, str, bool]],
) -> None:
    assert raise_alert("drift", "posts differ in: links", key="sentiment")
    assert not raise_alert("drift", "posts differ in: links, words", key="sentiment")
    assert Alert.objects.get().message == "posts differ in: links, words"
    assert REGISTRY.get_sample_value("sentiment_alerts_standing", {"kind": "drift"}) == 1
    assert close_alert("drift", "sentiment", "as before")
    assert not close_alert("drift", "sentiment")
    assert heard == [("drift", "posts differ in: links", True), ("drift", "as before", False)]
    assert REGISTRY.get_sample_value("sentiment_alerts_standing", {"kind": "drift"}) == 0
    row = Alert.objects.get()
    assert row.closed_at is not None and row.closing_message == "as before"
    assert raise_alert("drift", "again", key="sentiment")
    assert Alert.objects.count() == 2


def test_one_that_becomes_critical_is_told_again(heard: list[tuple[str, str, bool]]) -> None:
    raise_alert("budget", "a sample is taken", key="1")
    assert raise_alert("budget", "it is held", key="1", severity=CRITICAL)
    assert not raise_alert("budget", "it is still held", key="1", severity=CRITICAL)
    assert [message for _, message, _ in heard] == ["a sample is taken", "it is held"]
    assert standing() == 1


def test_processes_that_notice_at_once_tell_once(heard: list[tuple[str, str, bool]]) -> None:
    outcomes = at_once(lambda: raise_alert("stream", "X is away", key="x"), 4)
    assert sorted(map(str, outcomes)) == ["False", "False", "False", "True"], outcomes
    assert standing() == len(heard) == 1
    outcomes = at_once(lambda: close_alert("stream", "x"), 4)
    assert sorted(map(str, outcomes)) == ["False", "False", "False", "True"], outcomes
    assert [active for _, _, active in heard] == [True, False]


def test_each_change_goes_out_by_webhook_and_mail(
    webhook: Receiver, mailbox: Path, courier: None
) -> None:
    raise_alert("stream", "X is away\nsince 12:00", key="x", severity=CRITICAL)
    wait_until(lambda: len(webhook.bodies) == 1 and len(mails(mailbox)) == 1)
    close_alert("stream", "x", "X streams again.")
    wait_until(lambda: len(webhook.bodies) == 2 and len(mails(mailbox)) == 2)
    raised, over = webhook.bodies
    assert raised["text"] == "[stream] critical: X is away\nsince 12:00"
    assert (raised["key"], raised["severity"], raised["active"]) == ("x", "critical", True)
    assert over["text"] == "[stream] over: X streams again." and over["closed_at"]
    sent = [email.message_from_bytes(mail, policy=policy.default) for mail in mails(mailbox)]
    by_subject = {str(mail["Subject"]): mail for mail in sent}
    assert set(by_subject) == {
        "[stream] critical: X is away since 12:00",
        "[stream] over: X streams again.",
    }
    assert all(mail["To"] == "ops@example.org, ml@example.org" for mail in sent)


def test_a_webhook_that_has_trouble_is_tried_again(webhook: Receiver, courier: None) -> None:
    webhook.statuses = [503]
    raise_alert("drift", "posts differ")
    wait_until(lambda: webhook.bodies)
    assert len(webhook.bodies) == 1 and not webhook.statuses


def test_a_broker_that_is_away_loses_no_alert(
    webhook: Receiver, courier: None, manage: Callable[..., subprocess.Popen[str]]
) -> None:
    code = "from ingestion.services.alerts import raise_alert; raise_alert('stream', 'X is away')"
    process = manage(
        *("shell", "-c", code),
        REDIS_URL="redis://127.0.0.1:9/0",
        SECURE_SITE="0",
        ALERT_WEBHOOK_URL=webhook.url,
    )
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    message = AlertMessage.objects.get()
    assert (message.text, message.queued_at, webhook.bodies) == ("X is away", None, [])
    # Whoever raised it may be about to queue it.
    assert message.pk not in unsent()
    AlertMessage.objects.update(created_at=timezone.now() - LEFT_BEHIND)
    assert tasks.send_alerts() == 1
    wait_until(lambda: len(webhook.bodies) == 1)


def test_what_was_left_behind_is_sent_by_the_sweep_once(webhook: Receiver, courier: None) -> None:
    now = timezone.now()
    left = a_message(created_at=now - timedelta(minutes=1))
    tried = a_message(created_at=now - timedelta(hours=1), queued_at=now - QUEUE_AGAIN)
    a_message(created_at=now - timedelta(minutes=1), queued_at=now)
    a_message(created_at=now - timedelta(hours=25))
    a_message(created_at=now - timedelta(minutes=1), is_given_up=True)
    a_message(created_at=now - timedelta(hours=1), queued_at=now - QUEUE_AGAIN, sent_at=now)
    assert unsent() == [left.pk, tried.pk]
    assert tasks.send_alerts() == 2
    wait_until(lambda: AlertMessage.objects.filter(sent_at__isnull=False).count() == 3)
    assert unsent() == [] and len(webhook.bodies) == 2
    send(left.pk)
    assert len(webhook.bodies) == 2


def test_the_admin_tells_what_was_sent(settings: Settings, admin_user: Any, client: Client) -> None:
    settings.ALERT_EMAILS = []
    a_message("drift", sent_at=timezone.now())
    a_message("stream", error="no route to host")
    a_message("budget", error="404 Not Found", is_given_up=True)
    a_message("model")
    client.force_login(admin_user)
    page = client.get("/admin/ingestion/alert/").content.decode()
    for said in ("sent", "waiting", "not yet sent (no route to host)", "not sent (404 Not Found)"):
        assert f"webhook: {said}" in page


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, Unavailable), (404, NeedsAttention), (302, NeedsAttention)],
)
def test_what_a_webhook_answers_is_an_error_by_its_kind(
    webhook: Receiver, status: int, error: type[Exception]
) -> None:
    webhook.statuses = [status]
    message = a_message()
    with pytest.raises(error):
        send(message.pk)
    message.refresh_from_db()
    assert webhook.bodies == [] and message.error and message.sent_at is None
    assert message.is_given_up == (error is NeedsAttention)


def test_the_address_of_a_webhook_does_not_get_into_the_log(
    webhook: Receiver, settings: Settings
) -> None:
    settings.ALERT_WEBHOOK_URL = webhook.url.replace("http:", "https:")
    with pytest.raises(NetworkFault, match="SSL") as caught:
        send(a_message().pk)
    assert "/hook" not in "".join(traceback.format_exception(caught.value))


def test_a_webhook_inside_the_own_network_needs_leave(
    webhook: Receiver, settings: Settings
) -> None:
    settings.SOURCES_ALLOW_PRIVATE_ADDRESSES = False
    with pytest.raises(PrivateAddress):
        send(a_message().pk)
    assert webhook.bodies == []


def test_the_mail_server_is_read_from_one_address() -> None:
    plain = env_email("smtp://me%40x.org:s%3Acret@mail.x.org:587?tls=1")
    assert (plain["EMAIL_HOST"], plain["EMAIL_PORT"]) == ("mail.x.org", 587)
    assert (plain["EMAIL_HOST_USER"], plain["EMAIL_HOST_PASSWORD"]) == ("me@x.org", "s:cret")
    assert plain["EMAIL_USE_TLS"] and not plain["EMAIL_USE_SSL"]
    assert env_email("smtps://mail.x.org")["EMAIL_PORT"] == 465
    for wrong in ("mail.x.org", "smtp://", "smtp://host:port", "http://mail.x.org"):
        with pytest.raises(ImproperlyConfigured, match="NO_SUCH_VARIABLE"):
            env_email(wrong)


@pytest.mark.parametrize("said", ["tls=1", "tls=true", "tls=yes", "TLS=Yes"])
def test_tls_is_asked_for_in_more_than_one_word(said: str) -> None:
    assert env_email(f"smtp://mail.x.org:587?{said}")["EMAIL_USE_TLS"]


@pytest.mark.parametrize("said", ["tls=on please", "tls", "tls=0", "ssl=1", "tls=1&tls=1"])
def test_what_is_no_word_for_tls_is_refused_and_sends_nothing_in_the_clear(said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="tls=1") as raised:
        env_email(f"smtp://me:s3cret@mail.x.org:587?{said}")
    assert "s3cret" not in str(raised.value)
    assert not env_email("smtp://mail.x.org:587")["EMAIL_USE_TLS"]


def test_wrong_receivers_are_found_at_start(settings: Settings) -> None:
    settings.ALERT_WEBHOOK_URL, settings.ALERT_EMAILS = "hooks.example.org/secret", ["ops"]
    found = [
        problem for problem in run_checks() if problem.id in {"ingestion.E003", "ingestion.E004"}
    ]
    assert len(found) == 2
    assert "secret" not in str(found)


def test_an_operator_may_close_one(admin_user: Any, client: Client) -> None:
    raise_alert("training", "the run failed", key="7")
    client.force_login(admin_user)
    page = client.get("/admin/ingestion/alert/")
    assert "the run failed" in page.content.decode()
    chosen = {"action": "close", "_selected_action": Alert.objects.get().pk}
    client.post("/admin/ingestion/alert/", chosen)
    assert Alert.objects.get().closing_message == "closed by boss"
