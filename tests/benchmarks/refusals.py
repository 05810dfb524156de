"""How soon hostile input is refused, over a socket, from the first byte sent to the whole answer.

`make bench ARGS=refusals`. The inputs are those of `tests/api/test_hostile.py`, each 20 times. The
champion of `VAR_DIR` is needed (`make run` builds one).
"""

import http.client
import os
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from modeling.models import ModelVersion
from tests.api.test_hostile import REFUSED
from tests.benchmarks.http import Server, service, wait_for

TIMES = 20


def refusal(server: Server, body: bytes) -> tuple[int, float]:
    """The status, and seconds until it was read."""
    address = urlsplit(server.batch if b"texts" in body[:20] else server.single)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.token}"}
    with closing(http.client.HTTPConnection(address.netloc, timeout=60)) as connection:
        connection.connect()
        started = time.perf_counter()
        connection.request("POST", address.path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - started


def main() -> None:
    version = ModelVersion.objects.champions().first()
    if version is None:
        print("SKIPPED: no champion under VAR_DIR; `make run` builds one")
        return
    with tempfile.TemporaryDirectory(prefix="sentiment-bench-") as name, ExitStack() as stack:
        server = service(stack, Path(name), version, workers=1)
        wait_for(server)
        print(f"| input, {TIMES} times | bytes | status | median ms | at most |")
        print("|---|---|---|---|---|")
        for what, body in REFUSED.items():
            refusal(server, body)
            found = [refusal(server, body) for _ in range(TIMES)]
            milliseconds = [seconds * 1000 for _, seconds in found]
            statuses = ", ".join(sorted({str(status) for status, _ in found}))
            print(
                f"| {what} | {len(body):,} | {statuses} | {statistics.median(milliseconds):.1f} "
                f"| {max(milliseconds):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
