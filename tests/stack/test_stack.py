"""The whole of docker-compose.yml, started from packages: behind nginx, with load and a death.

Minutes of two cores, so only where STACK_TESTS is set: `STACK_TESTS=1 make test ARGS=tests/stack`.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.stack import Stack, StackError, missing
from tests.stack.chaos import base_model, follow, health, settle, suffer
from tests.stack.faults import FAULTS
from tests.stack.load import Publisher, Users
from tests.x_api import XApi

pytestmark = [
    pytest.mark.skipif(not os.environ.get("STACK_TESTS"), reason="minutes: STACK_TESTS=1 runs it"),
    pytest.mark.skipif(bool(missing()), reason=f"apt-get install {' '.join(missing())}"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def api() -> Iterator[XApi]:
    with XApi() as api:
        yield api


@pytest.fixture(scope="module")
def stack(api: XApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # The user postgres must get into the folder.
    folder = tmp_path_factory.mktemp("stack")
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    base = base_model(str(tmp_path_factory.mktemp("base")))
    environment = {
        **api.environment,
        **{"MODEL_NAME": base, "NUM_EPOCHS": "1", "API_REQUIRE_AUTH": "0"},
        # What the suite has set for its own process.
        **{"VAR_DIR": str(folder / "sentiment"), "SECRET_KEY": "only-for-tests-" + "y" * 50},
    }
    with Stack(folder, port=8800, environment=environment) as stack:
        follow(stack)
        api.wait_for_stream(seconds=120)
        yield stack


def test_a_streamed_post_is_classified_by_a_worker(stack: Stack, api: XApi) -> None:
    assert health(stack) == "ok"
    with Publisher(api) as publisher:
        time.sleep(3)
        stored = settle(stack, publisher, 0, 60)
    assert stored is not None and stored.is_whole()
    assert publisher.ids()


def test_a_line_is_judged_before_the_next_is_sent(stack: Stack) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports["proxy"], timeout=10)
    connection.putrequest("POST", "/api/v1/predictions/stream")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    answer = None
    for number in (1, 2):
        line = b'{"text": "what a wonderful day"}\n'
        connection.send(b"%x\r\n%s\r\n" % (len(line), line))
        answer = answer or connection.getresponse()
        assert json.loads(answer.readline())["line"] == number
    connection.send(b"0\r\n\r\n")
    assert answer is not None and answer.read() == b""


def test_prometheus_reaches_every_process(stack: Stack) -> None:
    wanted = {"web", "worker", "stream", "beat"}
    deadline = time.monotonic() + 60
    while (found := _up(stack)) < wanted and time.monotonic() < deadline:
        time.sleep(2)
    assert wanted <= found


def _up(stack: Stack) -> set[str]:
    query = urllib.parse.urlencode({"query": "up == 1"})
    url = f"{stack.addresses()['Prometheus']}/api/v1/query?{query}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return {found["metric"]["job"] for found in json.load(answer)["data"]["result"]}


def test_users_hardly_notice_that_a_web_process_is_killed(stack: Stack, api: XApi) -> None:
    with Users(stack.addresses()["site"]) as users, Publisher(api) as publisher:
        outcome = suffer(stack, users, publisher, next(name for name in FAULTS if "web" in name))
    assert outcome is not None and outcome.is_kept()
    assert outcome.suffered.seconds <= 3


def test_the_folder_of_a_running_stack_is_not_taken_twice(stack: Stack) -> None:
    with pytest.raises(StackError, match="runs already"), Stack(Path(stack.folder)):
        pass
