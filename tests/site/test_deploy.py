"""The deployment's files: valid to the tools that read them, and true to the code.

Docker, Kubernetes and Grafana do not run here; their schemas and linters do. `make lint-deploy`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django_prometheus.middleware import Metrics
from prometheus_client import REGISTRY

from ingestion import metrics as ingestion_metrics
from modeling import metrics as modeling_metrics

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
MANIFESTS = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# Metrics of exporters, and of Prometheus itself.
FOREIGN = re.compile(r"^(redis|pg|probe|process)_\w+$|^(up|ALERTS)$")
# Functions and operators.
WORDS = {
    *("sum", "max", "min", "count", "rate", "increase", "changes", "absent", "topk", "vector"),
    *("histogram_quantile", "label_replace", "and", "or", "unless", "group_left"),
}


def run(*command: str | Path) -> None:
    """A tool of requirements-dev.txt, or one that is installed; skips where it is not."""
    name = str(command[0])
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [found, *map(str, command[1:])], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@cache
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return found


@cache
def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text("utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression of the dashboards and the alerts, with where it stands."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


def test_the_dockerfile_follows_the_rules_of_hadolint() -> None:
    run("hadolint", "Dockerfile")


def test_the_scripts_follow_the_rules_of_shellcheck() -> None:
    run("shellcheck", "deploy/compose", "deploy/entrypoint", "deploy/release")


def test_every_yaml_file_is_well_formed() -> None:
    style = (
        "{extends: relaxed, rules: {line-length: disable, braces: {max-spaces-inside: 1}, "
        "commas: disable}}"
    )
    run("yamllint", "--strict", "-d", style, "docker-compose.yml", "deploy", ".github")


def test_the_compose_file_matches_its_specification() -> None:
    files = ("docker-compose.yml", "deploy/compose.gpu.yml")
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


def test_the_workflows_match_their_schemas() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")


def test_the_workflows_follow_the_rules_of_zizmor() -> None:
    run("zizmor", "--offline", "--quiet", "--min-severity", "medium", ".github")


def test_the_manifests_match_the_api_of_kubernetes() -> None:
    left_out = {"kustomization.yaml", "prometheus-adapter-values.yaml"}
    run("kubernetes-validate", "--strict", *(p for p in MANIFESTS if p.name not in left_out))


def test_kustomize_can_build_the_manifests() -> None:
    run("kubectl", "kustomize", "deploy/kubernetes")


def test_prometheus_takes_its_configuration_and_rules() -> None:
    run("promtool", "check", "config", "deploy/prometheus/prometheus.yml")


def test_alerts_fire_when_they_should() -> None:
    run("promtool", "test", "rules", "deploy/prometheus/rules_test.yml")


def test_prometheus_understands_every_query_of_the_dashboards(tmp_path: Path) -> None:
    named = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, (_, expr) in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": named}]}), "utf-8")
    run("promtool", "check", "rules", path)


def test_every_metric_that_is_asked_for_exists() -> None:
    # The middleware makes its metrics when the first application is built.
    Metrics.get_instance()
    assert ingestion_metrics.POSTS and modeling_metrics.PREDICTIONS
    known = {
        f"{metric.name}{suffix}"
        for metric in REGISTRY.collect()
        for suffix in ("", "_total", "_bucket", "_sum", "_count")
    }
    for place, expr in expressions():
        bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\b(by|on|ignoring)\s*\([^)]*\)', " ", expr)
        for name in set(re.findall(r"\b[a-zA-Z_]\w+\b", bare)) - WORDS:
            assert name in known or FOREIGN.match(name), f"{place}: there is no metric {name}"


def test_every_alert_has_its_entry_in_the_runbook() -> None:
    text = (ROOT / "docs/runbook.md").read_text("utf-8")
    entries = set(re.findall(r"^### (\w+)$", text, flags=re.MULTILINE))
    assert entries == {rule["alert"] for rule in rules()}


def test_every_variable_of_the_compose_file_is_documented() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    documented = (ROOT / ".env.example").read_text("utf-8")
    for name in sorted(set(re.findall(r"\$\{(\w+)", text))):
        assert re.search(rf"^#?{name}=", documented, flags=re.MULTILINE), name


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:") or name == "proxy", f"{name}: {port}"


def test_every_container_of_the_app_is_read_only_and_without_privileges() -> None:
    for name, service in compose()["services"].items():
        if service.get("image", "").startswith("${IMAGE"):
            assert service["read_only"] and service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name


def test_every_queue_has_a_worker() -> None:
    routes = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    served = {"stream"}
    for name in ("worker", "worker-train"):
        served |= set(compose()["services"][name]["environment"]["QUEUES"].split(","))
    assert routes | {settings.CELERY_TASK_DEFAULT_QUEUE} <= served
