"""The servers that come from packages: what each is told beyond the compose file's command."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg2
import yaml

from deploy.stack.compose import Compose
from deploy.stack.process import ROOT, Process, StackError


class Servers:
    """Prepares each server's folder and configuration, and completes its command."""

    def __init__(
        self,
        folder: Path,
        compose: Compose,
        ports: Mapping[str, int],
        running: Callable[[str], Sequence[Process]],
    ) -> None:
        self._folder = folder
        self._compose = compose
        self._ports = ports
        self._running = running

    def prepare(self, process: Process) -> None:
        """Complete what the process runs. Raises StackError."""
        command = self._compose.command(process.service)
        {
            "postgres": self._postgres,
            "redis": self._redis,
            "proxy": self._proxy,
            "prometheus": self._prometheus,
        }.get(process.service, self._exporter)(process, command)

    def _home(self, service: str, user: str | None = None) -> Path:
        home = self._folder / service
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
            password.write_text(process.environment["POSTGRES_PASSWORD"], "utf-8")
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
        process.argv += [*command[1:], "-D", str(data), "-p", str(self._ports["postgres"])]
        process.argv += ["-c", "listen_addresses=127.0.0.1", "-k", str(home)]
        # A fast stop: it does not wait for clients to leave.
        process.stop_signal = signal.SIGINT
        process.ready = self._create_databases

    def _create_databases(self) -> bool:
        """What Docker's PostgreSQL image does on an empty volume."""
        given = self._compose.environment("postgres")
        try:
            connection = psycopg2.connect(
                host="127.0.0.1",
                port=self._ports["postgres"],
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
        process.argv += [*command[1:], "--port", str(self._ports["redis"]), "--bind", "127.0.0.1"]
        process.argv += ["--dir", str(self._home("redis"))]

    def _proxy(self, process: Process, command: Sequence[str]) -> None:
        home = self._home("proxy")
        servers = "".join(
            f"  server 127.0.0.1:{web.environment['PORT']} max_fails=0;\n"
            for web in self._running("web")
        )
        upstream = (ROOT / "deploy/nginx/upstream.conf").read_text("utf-8")
        upstream = re.sub(r"^resolver .*\n", "", upstream, flags=re.MULTILINE)
        upstream = re.sub(r"^  server web:8000 .*\n", servers, upstream, flags=re.MULTILINE)
        (home / "upstream.conf").write_text(upstream, "utf-8")
        text = (ROOT / "deploy/nginx/nginx.conf").read_text("utf-8")
        text = text.replace("/tmp/", f"{home}/").replace("mime.types", "/etc/nginx/mime.types")
        text = text.replace("listen 8000;", f"listen 127.0.0.1:{self._ports['proxy']};")
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
                    for each in self._running(name)
                ]
        watched = {"redis": "redis-exporter", "postgres": "postgres-exporter"}
        watched |= {"probe": "blackbox-exporter"}
        config["scrape_configs"] = [
            job
            for job in config["scrape_configs"]
            if job["job_name"] not in watched or self._running(watched[job["job_name"]])
        ]
        text = self._compose.local(yaml.safe_dump(config))
        text = text.replace("localhost:9090", f"127.0.0.1:{self._ports['prometheus']}")
        (home / "prometheus.yml").write_text(text, "utf-8")
        shutil.copy(ROOT / "deploy/prometheus/rules.yml", home / "rules.yml")
        paths = {"/etc/prometheus": str(home), "=/prometheus": f"={home}/data"}
        for there, here in paths.items():
            command = [word.replace(there, here) for word in command]
        process.argv += [*command, f"--web.listen-address=127.0.0.1:{self._ports['prometheus']}"]

    def _exporter(self, process: Process, command: Sequence[str]) -> None:
        process.argv += [
            word.replace("/etc/blackbox", str(ROOT / "deploy/prometheus")) for word in command
        ]
        process.argv.append(f"--web.listen-address=127.0.0.1:{self._ports[process.service]}")
