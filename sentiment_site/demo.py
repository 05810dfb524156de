"""The demo: the whole product in one process tree, on the embedded defaults.

Web, worker and beat run in this process; written posts are replayed as a live stream.
"""

from __future__ import annotations

import itertools
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from ingestion.events import IncomingPost
from ingestion.models import Source, Stream
from ingestion.services import store
from modeling import starter
from modeling.models import LabelScheme, ModelVersion
from modeling.services import classify
from sentiment_site import bootstrap, env

USERNAME = "demo"
# What the page shows at once, before the first live post: so many posts over so long.
HISTORY = 420
HISTORY_LENGTH = timedelta(minutes=14)
CHATTER = "Everyday chatter"


class PreparationFailed(Exception):
    """The demo cannot start."""


class PortInUse(PreparationFailed):
    """Another program listens on the port."""


def check_port(host: str, port: int) -> None:
    """Raises PortInUse before minutes are spent on building a model."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"port {port} on {host} is taken: stop what listens there, or choose another "
                f"(make run PORT={port + 1})"
            ) from error


def prepare(out: Any) -> None:
    """Bring the installation up to date; raises PreparationFailed.

    A model is built in a process of its own: what training needs of memory goes with it.
    """
    bootstrap.run(out, build_model=False)
    if ModelVersion.objects.champions().of_scheme(LabelScheme.DEFAULT_KEY).exists():
        return
    manage = Path(settings.BASE_DIR, "manage.py")
    # Our own program, and no word of a user's.
    if subprocess.run([sys.executable, str(manage), "bootstrap"], check=False).returncode:  # noqa: S603
        raise PreparationFailed("the starter model could not be built; see above")


def open_on_loopback(host: str) -> None:
    """Open pages and API without a sign-in where only this machine reaches them.

    A user who has set API_REQUIRE_AUTH is obeyed.
    """
    is_local = host == "localhost" or (host[:1].isdigit() and ip_address(host).is_loopback)
    if is_local and not env.is_set("API_REQUIRE_AUTH"):
        settings.API_REQUIRE_AUTH = False


def create_login() -> tuple[str, str]:
    """The demo's administrator, with a password made once and kept under `var/`."""
    path = Path(settings.VAR_DIR, "demo_password")
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(9), encoding="utf-8")
    password = path.read_text(encoding="utf-8").strip()
    user, _ = User.objects.get_or_create(
        username=USERNAME, defaults={"is_staff": True, "is_superuser": True}
    )
    if not user.check_password(password):
        user.set_password(password)
        user.save(update_fields=["password"])
    return USERNAME, password


class Replay:
    """Stores written posts as if they arrived now, a few a second, for ever."""

    def __init__(self, posts_a_second: float) -> None:
        self._pause = 1 / posts_a_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._lap = f"{timezone.now():%Y%m%d%H%M%S}"
        self._numbers = itertools.count()
        self._streams: dict[str, int] = {}

    def start(self) -> None:
        """Store some history at once, judge it, and go on live."""
        self._streams = {
            topic: Stream.objects.get_or_create(
                name=topic, defaults={"source": Source.FILE, "query": ""}
            )[0].pk
            for topic in (*starter.demo_topics(), CHATTER)
        }
        posts = self._posts()
        now = timezone.now()
        history = [
            self._incoming(next(posts), now - HISTORY_LENGTH * (1 - index / HISTORY))
            for index in range(HISTORY)
        ]
        stored = store(history, announce=False)
        classify.classify_posts(stored.post_ids, channel="stream")
        self._source = posts
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            # Uneven gaps look like life.
            while not self._stop.wait(self._pause * random.uniform(0.3, 1.7)):
                store([self._incoming(next(self._source), timezone.now())])
        finally:
            connections.close_all()

    def _posts(self) -> Iterator[starter.DemoPost]:
        """The topics' stories side by side, each in its order, among everyday chatter."""
        while True:
            stories = {topic: iter(starter.demo_posts(topic)) for topic in starter.demo_topics()}
            chatter = [
                starter.DemoPost(CHATTER, f"{post.domain[:12]}_{index % 97}", post.text)
                for index, post in enumerate(starter.challenge())
            ]
            random.shuffle(chatter)
            stories[CHATTER] = iter(chatter)
            while len(stories) > 1:
                topic = random.choice(list(stories))
                post = next(stories[topic], None)
                if post is None:
                    del stories[topic]
                else:
                    yield post

    def _incoming(self, post: starter.DemoPost, moment: datetime) -> IncomingPost:
        return IncomingPost(
            source=Source.FILE,
            external_id=f"demo-{self._lap}-{next(self._numbers)}",
            text=post.text,
            created_at=moment,
            lang="en",
            author_username=post.author,
            stream_ids=frozenset({self._streams[post.topic]}),
        )


def serve(host: str, port: int) -> None:
    """The ASGI application on uvicorn, until a signal ends it."""
    import uvicorn

    uvicorn.run(
        "sentiment_site.asgi:application",
        host=host,
        port=port,
        # Not as many as WEB_CONCURRENCY says: others would know nothing of what is open here.
        workers=1,
        log_level="warning",
        lifespan="off",
        ws_max_size=65536,
        timeout_graceful_shutdown=3,
    )


def warm_up() -> float:
    """Load the champion; seconds it took."""
    started = time.monotonic()
    classify.classify_texts(["ready"], channel="command", scheme_key=LabelScheme.DEFAULT_KEY)
    return time.monotonic() - started
