"""What docker-compose.yml says, with its containers' names, ports and paths as they are here."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.stack.process import ROOT, Process, StackError, answers, connects

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


class Compose:
    """The compose file, read for a stack in `folder` whose servers listen on `ports`."""

    def __init__(
        self, folder: Path, ports: Mapping[str, int], variables: Mapping[str, str]
    ) -> None:
        text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
        self._services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
        self._folder = folder
        self._ports = ports
        self._variables = variables

    def order(self) -> list[str]:
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

    def is_app(self, service: str) -> bool:
        return "sentiment" in self._services[service].get("image", "")

    def ends(self, service: str) -> bool:
        """Whether others wait for it to end, not to become healthy."""
        return bool(self._services[service].get("restart") == "no")

    def replicas(self, service: str) -> int:
        return int(self._services[service].get("deploy", {}).get("replicas", 1))

    def command(self, service: str) -> list[str]:
        given = self._services[service].get("command", [])
        return given.split() if isinstance(given, str) else [str(word) for word in given]

    def environment(self, service: str) -> dict[str, str]:
        given = self._services[service].get("environment", {})
        return {
            name: self.local(interpolate(str(value), self._variables))
            for name, value in given.items()
        }

    def local(self, text: str) -> str:
        """Names and paths of the containers as they are here."""
        names = "|".join(sorted(PORTS, key=len, reverse=True))
        text = re.sub(
            rf"(?<![\w.-])({names}):({'|'.join(map(str, PORTS.values()))})\b",
            lambda match: f"127.0.0.1:{self._ports[match[1]]}",
            text,
        )
        text = text.replace("/var/lib/sentiment", str(self._folder / "sentiment"))
        return text.replace("/var/lib/mlflow", str(self._folder / "mlflow"))

    def check(self, process: Process) -> Callable[[], bool]:
        """The compose file's own health check, asked here."""
        service = process.service
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
            return lambda: answers(self._ports[service], address[1].rstrip('"'))
        if service in PORTS:
            return lambda: connects(self._ports[service])
        return process.is_running
