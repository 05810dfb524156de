"""A stand-in for the web sites that publish feeds: a real HTTP server on a real socket."""

from __future__ import annotations

import gzip
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

HOUR = "Mon, 04 Nov 2024 {hour:02d}:00:00 GMT"


def item(guid: str, text: str = "", *, title: str = "", hour: int = 12, more: str = "") -> str:
    """An item of RSS 2.0."""
    return (
        f"<item><guid>{escape(guid)}</guid><title>{escape(title)}</title>"
        f"<description>{escape(text)}</description>"
        f"<pubDate>{HOUR.format(hour=hour)}</pubDate>{more}</item>"
    )


def rss(*items: str, more: str = "<language>en-us</language>") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><rss version="2.0" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>The Paper</title>'
        f"<link>https://paper.example/</link>{more}{''.join(items)}</channel></rss>"
    )


def atom_entry(identity: str, text: str, *, updated: str, published: str = "") -> str:
    return (
        f"<entry><id>{identity}</id><title>News</title>"
        f"<published>{published or updated}</published><updated>{updated}</updated>"
        f"<author><name>Ann</name></author>"
        f'<content type="html" xml:lang="de">{escape(text)}</content></entry>'
    )


def atom(*entries: str) -> str:
    return (
        '<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>The Blog</title>'
        f"<id>urn:x:blog</id><updated>2024-11-04T12:00:00Z</updated>{''.join(entries)}</feed>"
    )


@dataclass
class Reply:
    """One scripted answer. `trickle` sends a byte now and then, for ever."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    trickle: str = ""


class Feeds:
    """The server. `with Feeds() as site:` listens on a free port until the block ends.

    `site.put(path, document)` publishes; `site.script[path]` holds answers that come first.
    """

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.script: dict[str, deque[Reply]] = {}
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.statuses: list[tuple[str, int]] = []
        self.use_gzip = False
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.site = self  # type: ignore[attr-defined]

    def __enter__(self) -> Feeds:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def put(self, path: str, document: str | bytes) -> str:
        """Publish, and return the address."""
        self.documents[path] = document.encode() if isinstance(document, str) else document
        return self.url(path)

    def answer(self, path: str, *replies: Reply) -> str:
        """What comes before the document, and the address."""
        self.script.setdefault(path, deque()).extend(replies)
        return self.url(path)

    def asked(self, path: str) -> list[Mapping[str, str]]:
        """The headers of every request for a path."""
        return [headers for each, headers in list(self.requests) if each == path]

    def statuses_of(self, path: str) -> list[int]:
        return [status for each, status in list(self.statuses) if each == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests` instead."""

    def do_GET(self) -> None:
        site: Feeds = self.server.site  # type: ignore[attr-defined]
        site.requests.append((self.path, dict(self.headers.items())))
        replies = site.script.get(self.path)
        reply = replies.popleft() if replies else self._document(site)
        site.statuses.append((self.path, reply.status))
        self.close_connection = True
        try:
            self._send(site, reply)
        except OSError:
            # The client has gone.
            return

    def _document(self, site: Feeds) -> Reply:
        body = site.documents.get(self.path)
        if body is None:
            return Reply(404)
        etag = f'"{sha256(body).hexdigest()[:12]}"'
        if self.headers.get("If-None-Match") == etag:
            return Reply(304, {"ETag": etag})
        headers = {"ETag": etag, "Content-Type": "application/xml; charset=utf-8"}
        if site.use_gzip:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body)
        return Reply(200, headers, body)

    def _send(self, site: Feeds, reply: Reply) -> None:
        if reply.trickle == "headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            self._trickle(site)
            return
        self.send_response(reply.status)
        self.send_header("Connection", "close")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if not reply.trickle and "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)
        if reply.trickle:
            self._trickle(site)

    def _trickle(self, site: Feeds) -> None:
        while not site.closing.wait(0.05):
            self.wfile.write(b"x")
            self.wfile.flush()
