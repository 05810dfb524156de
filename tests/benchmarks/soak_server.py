"""The soak's stand-in of X, in a process of its own: posts, and whatever can go wrong between."""

import itertools
import random
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from tests.x_api import XApi
from tests.x_api_refusals import rate_limited, too_many_connections, unavailable

QUERY = "#soak"
# Posts a second, on average; some come in floods.
RATE = 400
FAULT_EVERY = 1500
KILLS = (0.2, 0.5, 0.8)
GARBAGE = (
    b'{"data": {"id": "1', b"\xff\xfe\xfd", b"[]", b'{"data": {"text": "no id"}}', b'{"data": 7}'
)  # fmt: skip


class Script:
    """What happens to the stream while the posts come."""

    def __init__(self, api: XApi, pipe: Connection) -> None:
        self._api = api
        self._pipe = pipe
        self.garbage = 0
        self.repeated = 0
        self._faults = itertools.cycle(
            [
                self._garble,
                lambda: api.end("reset"),
                self._repeat,
                lambda: api.end("cut"),
                lambda: self._refuse(unavailable()),
                lambda: api.end("farewell"),
                lambda: self._refuse(rate_limited(reset_in=3)),
                lambda: api.end("close"),
                lambda: self._refuse(too_many_connections()),
                self._garble,
                api.stall,
                lambda: self._refuse(rate_limited()),
            ]
        )

    def run(self, texts: Sequence[str]) -> list[str]:
        """Publish every text once, and return the ids."""
        ids: list[str] = []
        kills = [int(share * len(texts)) for share in KILLS]
        started = time.monotonic()
        for number, text in enumerate(texts):
            ids.append(self._api.publish(f"{text} {QUERY}", username=f"user{number % 997}"))
            if number % FAULT_EVERY == FAULT_EVERY - 1:
                next(self._faults)()
            if number in kills:
                self._pipe.send(("kill", number))
            # Floods of a few hundred, then a pause, at the rate on the whole.
            if number % 300 == 299:
                ahead = number / RATE - (time.monotonic() - started)
                time.sleep(max(0.0, ahead))
        return ids

    def _garble(self) -> None:
        for line in GARBAGE:
            # Only what somebody hears can be put aside.
            if self._api.streams:
                self._api.send(line + b"\r\n")
                self.garbage += 1

    def _repeat(self) -> None:
        """The last posts again, in another order."""
        lines = [
            line for post in self._api.archive.visible()[-50:] if (line := self._api._line(post))
        ]
        random.shuffle(lines)
        self.repeated += len(lines)
        for line in lines:
            self._api.send(line)

    def _refuse(self, refusal: Any) -> None:
        self._api.script.append(refusal)
        self._api.end("reset")


def serve(texts: Sequence[str], pipe: Connection) -> None:
    """The stand-in's process."""
    with XApi(keep_alive_seconds=2.0) as api:
        pipe.send(api.environment)
        pipe.recv()
        api.wait_for_stream(seconds=120)
        script = Script(api, pipe)
        ids = script.run(texts)
        pipe.send(("done", {"ids": ids, "garbage": script.garbage, "repeated": script.repeated}))
        pipe.recv()
