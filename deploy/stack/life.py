"""The stack's life: it starts in order, is watched over, and stops."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from deploy.stack.compose import PORTS, Compose
from deploy.stack.process import Process, StackError, free_port
from deploy.stack.programs import PROGRAMS, missing, program
from deploy.stack.servers import Servers

# How long each may take to become healthy; the starter model is trained by `bootstrap`.
READY_SECONDS = 300.0
BOOTSTRAP_SECONDS = 1800.0
RESTART_SECONDS = 1.0


class Stack:
    """The compose file's services as processes; `with Stack(...)` starts and stops them."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 8000,
        scale: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        if packages := missing():
            raise StackError(f"not installed: apt-get install {' '.join(packages)}")
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self.skipped: list[str] = []
        self._say = say
        self._given = dict(environment or {})
        self._scale = dict(scale or {})
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("w")
        self._guard = threading.RLock()
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._taken: set[int] = set()
        self.ports = {
            name: self._port(port if name == "proxy" else number) for name, number in PORTS.items()
        }
        variables = {**os.environ, **self._secrets(), **self._given}
        self._compose = Compose(folder, self.ports, variables)
        self._servers = Servers(folder, self._compose, self.ports, self.of)

    def _port(self, wanted: int) -> int:
        return free_port(wanted, self._taken)

    def _secrets(self) -> dict[str, str]:
        """Made once, kept beside the data that they open."""
        path = self.folder / "secrets"
        if not path.exists():
            path.touch(mode=0o600)
            names = ("SECRET_KEY", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD")
            path.write_text(
                "".join(f"{name}={secrets.token_urlsafe(40)}\n" for name in names), "utf-8"
            )
        return dict(line.split("=", 1) for line in path.read_text("utf-8").splitlines())

    # --- What starts

    def _app(self, service: str) -> Iterator[Process]:
        count = self._scale.get(service, self._compose.replicas(service))
        for number in range(1, count + 1):
            name = f"{service}-{number}" if count > 1 else service
            port = self.ports.get(service) or self._port(8100 + number)
            counts = self.folder / "metrics" / name
            environment = {
                **os.environ,
                **self._compose.environment(service),
                **self._given,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "NODE": f"{name}@{socket.gethostname()}",
                "PROMETHEUS_MULTIPROC_DIR": str(counts),
                "METRICS_HOST": "127.0.0.1",
            }
            if "METRICS_PORT" in environment:
                # One a process: they share a host here.
                environment["METRICS_PORT"] = str(self._port(9100 + len(self.processes)))
            command = ["deploy/entrypoint", *self._compose.command(service)]
            yield self._process(name, service, command, environment)

    def _server(self, service: str) -> Iterator[Process]:
        found = program(service)
        if found is None:
            _, package = PROGRAMS[service]
            how = f"apt-get install {package}" if package else "not in Debian: start it by hand"
            self.skipped.append(f"{service} ({how})")
            return
        environment = {**os.environ, **self._compose.environment(service)}
        process = self._process(service, service, [found], environment)
        self._servers.prepare(process)
        yield process

    def _process(
        self, name: str, service: str, argv: Sequence[str], environment: Mapping[str, str]
    ) -> Process:
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        process = Process(name, service, list(argv), dict(environment), log, lambda: True)
        process.ready = self._compose.check(process)
        return process

    def of(self, service: str) -> list[Process]:
        """The processes of one service."""
        return [each for each in self.processes.values() if each.service == service]

    # --- Life

    def __enter__(self) -> Stack:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(f"a stack runs already in {self.folder}") from error
        try:
            for name in ("sentiment", "mlflow", "metrics"):
                (self.folder / name).mkdir(exist_ok=True)
            for service in self._compose.order():
                self._start_service(service)
        except BaseException:
            self.close()
            raise
        self._supervisor.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _start_service(self, service: str) -> None:
        began = time.monotonic()
        is_app = self._compose.is_app(service)
        started = list(self._app(service) if is_app else self._server(service))
        if self._compose.ends(service):
            self._run_once(started[0])
            self._say(f"{service:<18} done in {time.monotonic() - began:.0f} s")
            return
        for process in started:
            self.processes[process.name] = process
            process.is_wanted = True
            process.spawn()
        for process in started:
            self.wait_for(process.name)
            self._say(f"{process.name:<18} up in {time.monotonic() - began:.0f} s")

    def _run_once(self, process: Process) -> None:
        """A service that others wait for until it has ended well."""
        try:
            code = process.spawn().wait(BOOTSTRAP_SECONDS)
        finally:
            process.sweep()
        if code:
            raise StackError(f"{process.name} ended with {code}: see {process.log}")

    def wait_for(self, name: str, seconds: float = READY_SECONDS) -> None:
        """Until it is healthy. Raises StackError."""
        process = self.processes[name]
        deadline = time.monotonic() + seconds
        while not (process.is_running() and process.ready()):
            is_lost = not (process.is_running() or self._supervisor.is_alive())
            if is_lost or time.monotonic() > deadline:
                raise StackError(f"{name} is not healthy: see {process.log}")
            time.sleep(0.3)

    def _supervise(self) -> None:
        """Docker's `restart: unless-stopped`."""
        while not self._stopping.wait(0.2):
            for process in list(self.processes.values()):
                with self._guard:
                    if process.is_wanted and not process.is_running():
                        process.sweep()
                        process.restarts += 1
                        if not self._stopping.wait(RESTART_SECONDS):
                            process.spawn()

    def kill(self, name: str) -> None:
        """As `kill -9` of the whole container; it is started again."""
        self.processes[name].kill()

    def stop(self, name: str) -> None:
        """Stop it in good order, and leave it stopped."""
        with self._guard:
            process = self.processes[name]
            process.is_wanted = False
        process.end()

    def crash(self, name: str) -> None:
        """As `kill`, and it stays away."""
        with self._guard:
            self.processes[name].is_wanted = False
        self.processes[name].sweep()

    def start(self, name: str, *, wait: bool = True) -> None:
        process = self.processes[name]
        with self._guard:
            process.spawn()
            process.is_wanted = True
        if wait:
            self.wait_for(name)

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    def close(self) -> None:
        """Stop everything, those that depend on others first."""
        self._stopping.set()
        with self._guard:
            for process in self.processes.values():
                process.is_wanted = False
        ordered = list(reversed(self.processes.values()))
        servers = [each for each in ordered if each.service in {"postgres", "redis", "mlflow"}]
        others = [each for each in ordered if each not in servers]
        for group in (others, servers):
            # Together: each may take seconds.
            for process in group:
                process.signal(process.stop_signal)
            for process in group:
                process.end()
        self._lock.close()

    def addresses(self) -> dict[str, str]:
        """Where a person looks. PostgreSQL's holds its password."""
        web = self._compose.environment("web")
        found = {
            "site": f"http://127.0.0.1:{self.ports['proxy']}",
            "MLflow": f"http://127.0.0.1:{self.ports['mlflow']}",
            "Prometheus": f"http://127.0.0.1:{self.ports['prometheus']}",
            "PostgreSQL": web["DATABASE_URL"],
            "Redis": web["REDIS_URL"],
        }
        for process in self.of("web"):
            found[process.name] = f"http://127.0.0.1:{process.environment['PORT']}"
        return found
