"""Starts what docker-compose.yml describes, without Docker: `make stack`.

Commands, environment, order, health checks and replicas are read from the compose file, and the
configuration of nginx and Prometheus from the files that it mounts, so that what is tried here is
what is deployed. Servers come from Debian's packages. Everything lives under var/stack; Ctrl-C
stops it all.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"
# How long each may take to become healthy; the starter model is trained by `bootstrap`.
READY_SECONDS = 300.0
BOOTSTRAP_SECONDS = 1800.0
STOP_SECONDS = 40.0
RESTART_SECONDS = 1.0

# Service → the programs that can be it, and the Debian package that brings them.
PROGRAMS: dict[str, tuple[tuple[str, ...], str]] = {
    "postgres": (("postgres",), "postgresql"),
    "redis": (("redis-server",), "redis-server"),
    "proxy": (("nginx",), "nginx-light"),
    "prometheus": (("prometheus",), "prometheus"),
    "redis-exporter": (
        ("prometheus-redis-exporter", "redis_exporter"),
        "prometheus-redis-exporter",
    ),
    "postgres-exporter": (
        ("prometheus-postgres-exporter", "postgres_exporter"),
        "prometheus-postgres-exporter",
    ),
    "blackbox-exporter": (
        ("prometheus-blackbox-exporter", "blackbox_exporter"),
        "prometheus-blackbox-exporter",
    ),
    # Never started here: it is not in Debian, and its folders are the container's.
    "grafana": ((), ""),
}
# Without these there is no stack; without the others it is only watched less.
NEEDED = ("postgres", "redis", "proxy", "prometheus")
# What each listens on inside its container.
PORTS = {
    "postgres": 5432,
    "redis": 6379,
    "mlflow": 5000,
    "proxy": 8000,
    "prometheus": 9090,
    "redis-exporter": 9121,
    "postgres-exporter": 9187,
    "blackbox-exporter": 9115,
    "grafana": 3000,
}


class StackError(Exception):
    """The stack cannot be started, or part of it does not become healthy."""


def program(service: str) -> str | None:
    """The path of the program that is this server; None where it is not installed."""
    names, _ = PROGRAMS[service]
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    places = [*(str(path) for path in reversed(versions)), *places]
    return next(
        (found for name in names if (found := shutil.which(name, path=":".join(places)))), None
    )


def missing() -> list[str]:
    """Debian packages without which the stack cannot run."""
    return [PROGRAMS[service][1] for service in NEEDED if program(service) is None]


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


def interpolate(value: str, variables: Mapping[str, str]) -> str:
    """Compose's `${NAME}`, `${NAME:-default}` and `${NAME:?message}`."""

    def put(match: re.Match[str]) -> str:
        name, kind, rest = match["name"], match["kind"], match["rest"] or ""
        if found := variables.get(name, ""):
            return found
        if kind == ":?":
            raise StackError(f"{name}: {rest}")
        return rest

    return re.sub(r"\$\{(?P<name>\w+)(?P<kind>:[-?])?(?P<rest>[^}]*)\}", put, value)


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
        self._variables = {**os.environ, **self._secrets(), **self._given}
        text = COMPOSE.read_text(encoding="utf-8")
        self._services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
        self._taken: set[int] = set()
        self.ports = {
            name: self._port(port if name == "proxy" else number) for name, number in PORTS.items()
        }

    # --- What starts

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

    def _local(self, text: str) -> str:
        """Names and paths of the containers as they are here."""
        names = "|".join(sorted(PORTS, key=len, reverse=True))
        text = re.sub(
            rf"(?<![\w.-])({names}):({'|'.join(map(str, PORTS.values()))})\b",
            lambda match: f"127.0.0.1:{self.ports[match[1]]}",
            text,
        )
        text = text.replace("/var/lib/sentiment", str(self.folder / "sentiment"))
        return text.replace("/var/lib/mlflow", str(self.folder / "mlflow"))

    def _environment(self, service: str) -> dict[str, str]:
        given = self._services[service].get("environment", {})
        return {
            name: self._local(interpolate(str(value), self._variables))
            for name, value in given.items()
        }

    def _is_app(self, service: str) -> bool:
        return "sentiment" in self._services[service].get("image", "")

    def _instances(self, service: str) -> int:
        replicas = self._services[service].get("deploy", {}).get("replicas", 1)
        return self._scale.get(service, int(replicas))

    def _app(self, service: str) -> Iterator[Process]:
        command = str(self._services[service]["command"]).split()
        count = self._instances(service)
        for number in range(1, count + 1):
            name = f"{service}-{number}" if count > 1 else service
            port = self.ports.get(service) or self._port(8100 + number)
            counts = self.folder / "metrics" / name
            environment = {
                **os.environ,
                **self._environment(service),
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
            process = self._process(name, service, ["deploy/entrypoint", *command], environment)
            process.ready = self._check_of(service, process)
            yield process

    def _process(
        self, name: str, service: str, argv: Sequence[str], environment: Mapping[str, str]
    ) -> Process:
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        return Process(name, service, list(argv), dict(environment), log, lambda: True)

    def _check_of(self, service: str, process: Process) -> Callable[[], bool]:
        """The compose file's own health check, asked here."""
        test = self._services[service].get("healthcheck", {}).get("test", [])
        words = " ".join(map(str, test))
        if service == "beat":
            # It proves itself by its schedule, minutes later.
            return process.is_running
        if "deploy/entrypoint" in words:
            return lambda: (
                subprocess.run(
                    test[1:], env=process.environment, cwd=ROOT, capture_output=True, check=False
                ).returncode
                == 0
            )
        if address := re.search(r"http://127\.0\.0\.1:\d+(\S*)", words):
            return lambda: self.get(service, address[1].rstrip('"'))
        if service in PORTS:
            return lambda: self._connects(self.ports[service])
        return process.is_running

    def get(self, service: str, path: str) -> bool:
        """Whether the service answers with success."""
        try:
            url = f"http://127.0.0.1:{self.ports[service]}{path}"
            with urllib.request.urlopen(url, timeout=5):
                return True
        except (URLError, OSError):
            return False

    def _connects(self, port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    # --- The servers

    def _server(self, service: str) -> Process | None:
        found = program(service)
        if found is None:
            _, package = PROGRAMS[service]
            how = f"apt-get install {package}" if package else "not in Debian: start it by hand"
            self.skipped.append(f"{service} ({how})")
            return None
        environment = {**os.environ, **self._environment(service)}
        process = self._process(service, service, [found], environment)
        process.ready = self._check_of(service, process)
        command = [str(word) for word in self._services[service].get("command", [])]
        {
            "postgres": self._postgres,
            "redis": self._redis,
            "proxy": self._proxy,
            "prometheus": self._prometheus,
        }.get(service, self._exporter)(process, command)
        return process

    def _home(self, service: str, user: str | None = None) -> Path:
        home = self.folder / service
        home.mkdir(exist_ok=True)
        if user:
            shutil.chown(home, user)
        return home

    def _postgres(self, process: Process, command: Sequence[str]) -> None:
        # It refuses to run as root.
        process.user = "postgres" if os.getuid() == 0 else None
        home = self._home("postgres", process.user)
        data = home / "data"
        binaries = Path(process.argv[0]).parent
        if not (data / "PG_VERSION").exists():
            password = home / "password"
            password.write_text(self._variables["POSTGRES_PASSWORD"], "utf-8")
            if process.user:
                shutil.chown(password, process.user)
            made = subprocess.run(
                [
                    *(binaries / "initdb", "-D", data, "-U", process.environment["POSTGRES_USER"]),
                    *("-A", "scram-sha-256", "--pwfile", password),
                ],
                user=process.user,
                cwd=home,
                capture_output=True,
                text=True,
                check=False,
            )
            password.unlink()
            if made.returncode:
                raise StackError(f"initdb: {made.stderr.strip()}")
        process.argv += [*command[1:], "-D", str(data), "-p", str(self.ports["postgres"])]
        process.argv += ["-c", "listen_addresses=127.0.0.1", "-k", str(home)]
        # A fast stop: it does not wait for clients to leave.
        process.stop_signal = signal.SIGINT
        process.ready = self._create_databases

    def _create_databases(self) -> bool:
        """What Docker's PostgreSQL image does on an empty volume."""
        import psycopg2

        given = self._environment("postgres")
        try:
            connection = psycopg2.connect(
                host="127.0.0.1",
                port=self.ports["postgres"],
                user=given["POSTGRES_USER"],
                password=given["POSTGRES_PASSWORD"],
                dbname="postgres",
                connect_timeout=3,
            )
        except psycopg2.OperationalError:
            return False
        connection.autocommit = True
        with connection.cursor() as cursor:
            scripts = sorted((ROOT / "deploy/postgres").glob("*.sql"))
            statements = [f"CREATE DATABASE {given['POSTGRES_DB']}"]
            for statement in [*statements, *(path.read_text("utf-8") for path in scripts)]:
                with suppress(psycopg2.errors.DuplicateDatabase):
                    cursor.execute(statement)
        connection.close()
        return True

    def _redis(self, process: Process, command: Sequence[str]) -> None:
        process.argv += [*command[1:], "--port", str(self.ports["redis"]), "--bind", "127.0.0.1"]
        process.argv += ["--dir", str(self._home("redis"))]

    def _proxy(self, process: Process, command: Sequence[str]) -> None:
        home = self._home("proxy")
        servers = "".join(
            f"  server 127.0.0.1:{web.environment['PORT']} max_fails=1 fail_timeout=3s;\n"
            for web in self.of("web")
        )
        upstream = (ROOT / "deploy/nginx/upstream.conf").read_text("utf-8")
        upstream = re.sub(r"^resolver .*\n", "", upstream, flags=re.MULTILINE)
        upstream = re.sub(r"^  server web:8000 .*\n", servers, upstream, flags=re.MULTILINE)
        (home / "upstream.conf").write_text(upstream, "utf-8")
        text = (ROOT / "deploy/nginx/nginx.conf").read_text("utf-8")
        text = text.replace("/tmp/", f"{home}/").replace("mime.types", "/etc/nginx/mime.types")
        text = text.replace("listen 8000;", f"listen 127.0.0.1:{self.ports['proxy']};")
        (home / "nginx.conf").write_text(text, "utf-8")
        process.argv += ["-p", str(home), "-c", str(home / "nginx.conf"), "-g", "daemon off;"]
        process.stop_signal = signal.SIGQUIT

    def _prometheus(self, process: Process, command: Sequence[str]) -> None:
        home = self._home("prometheus")
        config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
        for job in config["scrape_configs"]:
            names = [name for sd in job.pop("dns_sd_configs", []) for name in sd["names"]]
            if names:
                job["static_configs"] = [
                    {"targets": [f"127.0.0.1:{each.environment['METRICS_PORT']}"]}
                    for name in names
                    for each in self.of(name)
                ]
        watched = {"redis": "redis-exporter", "postgres": "postgres-exporter"}
        watched |= {"probe": "blackbox-exporter"}
        config["scrape_configs"] = [
            job
            for job in config["scrape_configs"]
            if watched.get(job["job_name"], "prometheus") in {*self.processes, "prometheus"}
        ]
        text = self._local(yaml.safe_dump(config))
        text = text.replace("localhost:9090", f"127.0.0.1:{self.ports['prometheus']}")
        (home / "prometheus.yml").write_text(text, "utf-8")
        shutil.copy(ROOT / "deploy/prometheus/rules.yml", home / "rules.yml")
        paths = {"/etc/prometheus": str(home), "=/prometheus": f"={home}/data"}
        for there, here in paths.items():
            command = [word.replace(there, here) for word in command]
        process.argv += [*command, f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}"]

    def _exporter(self, process: Process, command: Sequence[str]) -> None:
        process.argv += [
            word.replace("/etc/blackbox", str(ROOT / "deploy/prometheus")) for word in command
        ]
        process.argv.append(f"--web.listen-address=127.0.0.1:{self.ports[process.service]}")

    # --- Life

    def of(self, service: str) -> list[Process]:
        """The processes of one service."""
        return [each for each in self.processes.values() if each.service == service]

    def _order(self) -> list[str]:
        """Services, each after those that it depends on."""
        ordered: list[str] = []

        def add(name: str) -> None:
            for needed in self._services[name].get("depends_on", {}):
                add(needed)
            if name not in ordered:
                ordered.append(name)

        # Prometheus is told where the others listen, so it comes last.
        for name in sorted(self._services, key=lambda name: name in {"prometheus", "grafana"}):
            add(name)
        return ordered

    def __enter__(self) -> Stack:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(f"a stack runs already in {self.folder}") from error
        try:
            for name in ("sentiment", "mlflow", "metrics"):
                (self.folder / name).mkdir(exist_ok=True)
            for service in self._order():
                self._start_service(service)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._supervise, name="supervisor", daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _start_service(self, service: str) -> None:
        began = time.monotonic()
        if self._is_app(service):
            started = list(self._app(service))
        else:
            server = self._server(service)
            started = [server] if server else []
        if self._services[service].get("restart") == "no":
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
            if time.monotonic() > deadline or not (process.is_running() or self._supervised()):
                raise StackError(f"{name} is not healthy: see {process.log}")
            time.sleep(0.3)

    def _supervised(self) -> bool:
        return any(thread.name == "supervisor" for thread in threading.enumerate())

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
        found = {
            "site": f"http://127.0.0.1:{self.ports['proxy']}",
            "MLflow": f"http://127.0.0.1:{self.ports['mlflow']}",
            "Prometheus": f"http://127.0.0.1:{self.ports['prometheus']}",
            "PostgreSQL": self._environment("web")["DATABASE_URL"],
            "Redis": self._environment("web")["REDIS_URL"],
        }
        for web in self.of("web"):
            found[web.name] = f"http://127.0.0.1:{web.environment['PORT']}"
        return found


def main() -> None:
    """Until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8000, help="Of the site.")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "stack")
    parser.add_argument(
        "--scale", action="append", default=[], metavar="SERVICE=N", help="As compose's --scale."
    )
    options = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _interrupt())
    scale = {name: int(count) for name, count in (item.split("=") for item in options.scale)}
    try:
        with Stack(options.folder.resolve(), port=options.port, scale=scale, say=say) as stack:
            say("")
            for name, address in stack.addresses().items():
                say(f"{name:<12} {re.sub(r':[^:@/]+@', ':…@', address)}")
            say(f"passwords    {options.folder}/secrets")
            for service in stack.skipped:
                say(f"left out: {service}")
            say(f"\nLogs are in {options.folder}/logs. Ctrl-C stops everything.")
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)
            say("Stopping.")
    except StackError as error:
        sys.exit(f"stack: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


def _interrupt() -> None:
    """The first one ends the wait; more are ignored while everything stops."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
