"""A client of the API in one page; needs nothing but Python 3.11. Copy it and make it yours.

client = Client("http://127.0.0.1:8000", token="sent_…")
client.predict("I love this amazing product!").label
for post in client.list("posts", category="negative", search="delay"):
    print(post["text"])
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen


@dataclass(frozen=True)
class Prediction:
    label: str
    confidence: float
    scores: dict[str, float]
    model_version: str


class Problem(Exception):
    """What the service refused, in its own words (RFC 9457)."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document.get("detail", document.get("title", "")))
        self.status: int = document.get("status", 0)
        self.errors: list[dict[str, str]] = document.get("errors", [])


@dataclass(frozen=True)
class Client:
    address: str
    token: str = ""
    timeout: float = 30.0
    retries: int = 3

    def predict(self, text: str) -> Prediction:
        return _prediction(self.call("POST", "/predict", {"text": text}))

    def predict_batch(self, texts: list[str]) -> list[Prediction]:
        """Of 1 to 1,000 texts, in their order."""
        answer = self.call("POST", "/predict/batch", {"texts": texts})
        return [_prediction(item) for item in answer["predictions"]]

    def predict_stream(self, texts: Iterable[str]) -> Iterator[Prediction | Problem]:
        """Of any number of texts, as they come; a bad one gives a Problem in its place."""
        parts = urlsplit(self.address)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=self.timeout)
        connection.putrequest("POST", f"{parts.path}/api/v1/predictions/stream")
        for name, value in self._headers("application/x-ndjson").items():
            connection.putheader(name, value)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()

        def send() -> None:
            lines = (json.dumps({"text": text}).encode() + b"\n" for text in texts)
            try:
                for line in lines:
                    connection.send(b"%x\r\n%b\r\n" % (len(line), line))
                connection.send(b"0\r\n\r\n")
            except OSError:
                # The answer says why, or ends early.
                return

        # Whoever reads no further closes the connection, which ends the sending, too.
        with closing(connection):
            # The service reads on only while its answers are read.
            threading.Thread(target=send, daemon=True).start()
            response = connection.getresponse()
            if response.status != 200:
                raise Problem(json.loads(response.read()))
            for line in response:
                row = json.loads(line)
                yield Problem({"detail": row["error"]}) if "error" in row else _prediction(row)

    def list(self, resource: str, **filters: Any) -> Iterator[dict[str, Any]]:
        """Every row of `/api/v1/{resource}` that the filters leave, page by page."""
        path: str | None = f"/api/v1/{resource}?{urlencode({'limit': 500, **filters})}"
        while path:
            page = self.call("GET", path)
            yield from page["results"]
            following = urlsplit(page["next"] or "")
            path = f"{following.path}?{following.query}" if page["next"] else None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Any route; waits and tries again where the service says so (429, 503)."""
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(self.retries + 1):
            # The scheme is that of the address, which whoever uses the client chooses.
            request = Request(self.address + path, data, self._headers(), method=method)  # noqa: S310
            try:
                # As above.
                with urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
                    return json.load(answer)
            except HTTPError as error:
                if error.code not in {429, 503} or attempt == self.retries:
                    raise Problem(json.load(error)) from error
                time.sleep(float(error.headers.get("Retry-After") or 1))
        raise AssertionError("unreachable")

    def _headers(self, content_type: str = "application/json") -> dict[str, str]:
        headers = {"Content-Type": content_type}
        return {**headers, "Authorization": f"Bearer {self.token}"} if self.token else headers


def _prediction(row: dict[str, Any]) -> Prediction:
    return Prediction(row["label"], row["confidence"], row["scores"], row["model_version"])
