"""A process that stands for a container, and the ports that processes of one host share."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 40.0
# What leaves the host may go by HTTP_PROXY; what is asked here stays here.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StackError(Exception):
    """The stack cannot be started, or part of it does not become healthy."""


def free_port(wanted: int, taken: set[int]) -> int:
    """`wanted` where nobody listens on it, else another one below those of outgoing connections.

    Never one of `taken`, to which it is added.
    """
    for port in (wanted, *(20_000 + secrets.randbelow(10_000) for _ in range(100))):
        if port in taken:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            taken.add(port)
            return port
    raise StackError("no free port of 100")


def connects(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(port: int, path: str) -> bool:
    """Whether what listens there answers with success."""
    try:
        with OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=5):
            return True
    except (URLError, OSError):
        return False


@dataclass
class Process:
    """One container's worth: how it starts, and the process that it is now."""

    name: str
    service: str
    argv: list[str]
    environment: dict[str, str]
    log: Path
    ready: Callable[[], bool]
    user: str | None = None
    stop_signal: int = signal.SIGTERM
    is_wanted: bool = False
    restarts: int = 0
    handle: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(
                self.argv,
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self.user,
            )
        return self.handle

    def is_running(self) -> bool:
        return self.handle is not None and self.handle.poll() is None

    def signal(self, number: int) -> None:
        if self.handle is not None:
            with suppress(ProcessLookupError):
                self.handle.send_signal(number)

    def end(self, seconds: float = STOP_SECONDS) -> None:
        """Ask it to stop, and its children; kill what is left, as Docker does."""
        if self.handle is None:
            return
        self.signal(self.stop_signal)
        with suppress(subprocess.TimeoutExpired):
            self.handle.wait(seconds)
        self.sweep()

    def kill(self) -> None:
        """`kill -9`, of all of its process group."""
        if self.handle is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.handle.pid, signal.SIGKILL)

    def sweep(self) -> None:
        """Kill what is left of its process group: a container's processes die with its first."""
        if self.handle is not None:
            self.kill()
            self.handle.wait()
