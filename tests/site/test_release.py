"""`deploy/release`, on a stand-in of Docker that keeps its containers as files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A file for each web container, which holds its version. In sh: it is asked a hundred times.
DOCKER = """#!/bin/sh
cd "$STATE"
[ "$1" != compose ] || shift 5
case "$1 $*" in
  "ps "*worker) cat workers ;;
  "ps "*) ls web ;;
  "up "*)
    for word; do
      case $word in
        web=*)
          while [ "$(ls web | wc -l)" -lt "${word#*=}" ]; do
            echo . >> made
            echo "$VERSION" > "web/id$(wc -l < made)"
          done ;;
        worker=*) echo "${word#*=}" > scaled ;;
      esac
    done ;;
  # The site answers when the versions that serve do.
  "exec "*) ! cat web/* | grep -qxFf silent ;;
  *Config.Image*)
    for word; do :; done
    echo "registry:5000/sentiment:$(cat "web/$word")" ;;
  "inspect "*)
    for word; do :; done
    if grep -qxFf broken "web/$word"; then echo unhealthy; else echo healthy; fi ;;
  "rm "*)
    for word; do rm -f "web/$word"; done ;;
esac
"""


class Host:
    """A folder with the deployment's files, and containers of web and worker."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.web = self.state / "web"
        self.web.mkdir(parents=True)
        for name in ("broken", "silent"):
            (self.state / name).touch()
        (self.state / "workers").write_text("w1\n")
        (folder / "deploy").mkdir()
        self._script = Path(shutil.copy(ROOT / "deploy/release", folder / "deploy/release"))
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name, text in (("docker", DOCKER), ("sleep", "#!/bin/sh\n")):
            (self._programs / name).write_text(text)
            (self._programs / name).chmod(0o755)

    def release(self, *arguments: str) -> int:
        path = f"{self._programs}:{os.environ['PATH']}"
        return subprocess.run(
            [self._script, *arguments],
            env={**os.environ, "PATH": path, "STATE": str(self.state)},
            capture_output=True,
        ).returncode

    def versions(self) -> list[str]:
        return [path.read_text().strip() for path in self.web.iterdir()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    assert host.release("sentiment", "1") == 0
    assert host.release("sentiment", "2") == 0
    return host


def test_a_release_replaces_as_many_as_there_were(host: Host) -> None:
    for number in range(3):
        (host.web / f"more{number}").write_text("2\n")
    (host.state / "workers").write_text("w1\nw2\nw3\n")
    assert host.release("sentiment", "3") == 0
    assert host.versions() == ["3"] * 5
    assert (host.state / "scaled").read_text() == "3\n"


def test_a_release_that_does_not_become_healthy_leaves_the_old_alone(host: Host) -> None:
    (host.state / "broken").write_text("3\n")
    assert host.release("sentiment", "3") == 1
    assert host.versions() == ["2", "2"]
    # The next one that does is gone back from to what ran, not to what never did.
    assert host.release("sentiment", "4") == 0
    assert host.release("--back") == 0
    assert host.versions() == ["2", "2"]


def test_one_goes_back_from_a_version_that_has_become_unhealthy(host: Host) -> None:
    (host.state / "broken").write_text("2\n")
    assert host.release("--back") == 0
    assert host.versions() == ["1", "1"]


def test_a_version_that_users_cannot_reach_is_gone_back_from(host: Host) -> None:
    (host.state / "silent").write_text("3\n")
    assert host.release("sentiment", "3") == 1
    assert host.versions() == ["2", "2"]


def test_releasing_a_version_again_keeps_the_one_before(host: Host) -> None:
    assert host.release("sentiment", "2") == 0
    assert host.release("--back") == 0
    assert host.versions() == ["1", "1"]


def test_the_first_release_goes_back_to_what_ran(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for name in ("a", "b"):
        (host.web / name).write_text("dev\n")
    (host.state / "silent").write_text("1\n")
    assert host.release("sentiment", "1") == 1
    assert host.versions() == ["dev", "dev"]
    assert (tmp_path / ".release").read_text() == "IMAGE=registry:5000/sentiment\nVERSION=dev\n"
