"""The check by which a container knows that it does its work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Well(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *details: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Well) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def check(role: str, port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "deploy/health.py", role],
        cwd=ROOT,
        env={**os.environ, "PORT": str(port), **environment},
        capture_output=True,
        text=True,
    )


def test_a_web_process_that_answers_is_healthy_also_behind_a_proxy(port: int) -> None:
    # Discard's port: nothing listens there.
    done = check("web", port, HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr


def test_a_process_that_does_not_answer_is_not_healthy() -> None:
    done = check("web", 9)
    assert done.returncode == 1
    assert "127.0.0.1:9/health" in done.stderr
