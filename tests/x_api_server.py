"""The stand-in's routes: requests in, X's answers out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

from tests.x_api_refusals import (
    PROBLEMS,
    Refusal,
    bad_request,
    no_backfill,
    no_room,
    no_rules,
    rate_limited,
    too_many_connections,
    unauthorized,
)
from tests.x_api_rules import InvalidRule
from tests.x_api_stream import Fields, Stream, Writer, zipped

if TYPE_CHECKING:
    from tests.x_api import XApi

RULES = "/2/tweets/search/stream/rules"
STREAM = "/2/tweets/search/stream"
SEARCH = "/2/tweets/search/recent"
POSTS = "/2/tweets"
USAGE = "/2/usage/tweets"
CONNECTIONS = "/2/connections"
Query = dict[str, str]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes in the middle is what tests are about; the rest is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and the first line leave at once.
    disable_nagle_algorithm = True

    @property
    def api(self) -> XApi:
        return cast("XApi", self.server.api)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests` and `queries` instead."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ValueError:
            # The script has ended the connection under its own answer.
            if not self.wfile.closed:
                raise
            self.close_connection = True

    def _route(self) -> tuple[str, Query] | None:
        """Path and query; None when the caller was turned away."""
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        self.api.requests.append((self.command, address.path))
        self.api.queries.append((address.path, query))
        if self.headers.get("Authorization") != f"Bearer {self.api.token}":
            self._refuse(unauthorized())
        elif scripted := self.api.scripted(address.path):
            self._refuse(scripted)
        else:
            return address.path, query
        return None

    def do_GET(self) -> None:
        if (route := self._route()) is None:
            return
        path, query = route
        known = {
            RULES: self._rules,
            STREAM: self._stream,
            SEARCH: self._search,
            POSTS: self._look_up,
            USAGE: self._usage,
            CONNECTIONS: self._connections,
        }
        if path in known:
            known[path](query)
        else:
            self._answer(404, {"title": "Not Found", "type": "about:blank", "status": 404})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if (route := self._route()) is None:
            return
        is_trial = route[1].get("dry_run") == "true"
        if "add" in body:
            self._add(body["add"], is_trial)
        else:
            ids = body.get("delete", {}).get("ids", [])
            deleted = sum(self.api.delete_rule(str(identity)) for identity in ids)
            summary = {"deleted": deleted, "not_deleted": len(ids) - deleted}
            self._answer(200, {"meta": {"sent": _now(), "summary": summary}})

    def do_DELETE(self) -> None:
        if self._route() is None:
            return
        killed = len(self.api.streams)
        self.api.kills += 1
        self.api.end("close")
        self._answer(200, {"data": {"successful_kills": killed, "failed_kills": 0, "results": []}})

    # --- rules

    def _rules(self, query: Query) -> None:
        rules = list(self.api.rules.values())
        begin = int(query.get("pagination_token", "0"))
        page = rules[begin : begin + self.api.rules_a_page]
        meta: dict[str, Any] = {"sent": _now(), "result_count": len(page)}
        if begin + len(page) < len(rules):
            meta["next_token"] = str(begin + len(page))
        self._answer(200, {"data": page, "meta": meta} if page else {"meta": meta})

    def _add(self, rules: list[dict[str, str]], is_trial: bool) -> None:
        total = len(self.api.rules) + len(rules)
        if total > self.api.rules_allowed:
            self._refuse(no_room(self.api.rules_allowed, total))
            return
        created: list[dict[str, str]] = []
        errors: list[dict[str, Any]] = []
        for rule in rules:
            try:
                identity = self.api.add_rule(rule["value"], rule.get("tag"))
                created.append(dict(self.api.rules[identity]))
                if is_trial:
                    self.api.delete_rule(identity)
            except KeyError as standing:
                errors.append(_rule_error(rule["value"], "DuplicateRule", "duplicate-rules"))
                errors[-1]["id"] = standing.args[0]
            except InvalidRule as error:
                errors.append(_rule_error(rule["value"], "UnprocessableEntity", "invalid-rules"))
                errors[-1]["details"] = [str(error)]
        counts = {"created": len(created), "not_created": len(errors)}
        answer: dict[str, Any] = {"meta": {"sent": _now(), "summary": counts}}
        answer |= {"data": created} if created else {}
        answer |= {"errors": errors} if errors else {}
        self._answer(201 if created else self.api.nothing_added_status, answer)

    # --- the stream

    def _connections(self, query: Query) -> None:
        address = self.client_address[0]
        self._answer(200, {"data": [stream.describe(address) for stream in self.api.streams]})

    def _stream(self, query: Query) -> None:
        api = self.api
        with api.lock:
            api.connects += 1
            opened = self._open(query)
        if isinstance(opened, Refusal):
            self._refuse(opened)
            return
        zips = self._may_zip()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        if zips:
            self.send_header("Content-Encoding", "gzip")
        self._send_headers(api.connect_window())
        self.end_headers()
        self.close_connection = True
        writer = Writer(
            self,
            Fields(query),
            keep_alive_seconds=api.keep_alive_seconds,
            chunk_bytes=api.chunk_bytes,
            zips=zips,
        )
        try:
            writer.serve(opened)
        except OSError:
            # The client has gone.
            return
        finally:
            with api.lock:
                if opened in api.streams:
                    api.streams.remove(opened)

    def _open(self, query: Query) -> Stream | Refusal:
        """Under the lock: a stream that hears all from now on, after what it is replayed."""
        api = self.api
        minutes = query.get("backfill_minutes")
        if api.script:
            return api.script.popleft()
        if not api.rules:
            return no_rules()
        # Whoever has gone may come again at once.
        api.streams = [stream for stream in api.streams if not stream.is_left()]
        if api.streams:
            return too_many_connections()
        if minutes is not None and not api.enterprise:
            return no_backfill(minutes)
        stream = Stream(api.connects, self.connection)
        if minutes is not None:
            if minutes not in {"1", "2", "3", "4", "5"}:
                return bad_request("backfill_minutes", minutes, "must be between 1 and 5")
            for line in api.replayed(timedelta(minutes=int(minutes))):
                stream.actions.put(line)
        api.streams.append(stream)
        return stream

    # --- posts

    def _search(self, query: Query) -> None:
        api = self.api
        headers = api.search_window.take(api.window_seconds)
        if headers is None:
            self._refuse(rate_limited(), api.search_window.headers())
            return
        spelled = {name for name in query if name.endswith((".fields",)) and "user" not in name}
        if wrong := spelled - {f"{api.search_spelling}.fields"}:
            name = wrong.pop()
            self._refuse(
                bad_request(name, "", f"The query parameter [{name}] is not one of [query,…]")
            )
            return
        found = api.archive.search(
            query, lag=timedelta(seconds=api.search_lag_seconds), finds_all=api.finds_all
        )
        if isinstance(found, Refusal):
            self._refuse(found, headers)
            return
        api.read(len(found.get("data", ())))
        self._answer(200, Fields(query).answer(found), headers)

    def _look_up(self, query: Query) -> None:
        ids = [key for key in query.get("ids", "").split(",") if key]
        if not 1 <= len(ids) <= 100:
            message = f"The size of the `ids` query parameter value [{len(ids)}] is wrong"
            self._refuse(bad_request("ids", query.get("ids", ""), message))
            return
        if bad := [key for key in ids if not key.isdigit() or len(key) > 19]:
            message = f"The `ids` query parameter value [{bad[0]}] is not valid"
            self._refuse(bad_request("ids", bad[0], message))
            return
        found = self.api.archive.look_up(ids)
        self.api.read(len(found.get("data", ())))
        self._answer(200, Fields(query).answer(found))

    def _usage(self, query: Query) -> None:
        data = {
            "project_id": "1",
            "project_cap": "2000000",
            "project_usage": str(self.api.posts_read),
            "cap_reset_day": self.api.cap_reset_day,
        }
        self._answer(200, {"data": data})

    # --- answers

    def _refuse(self, refusal: Refusal, headers: Mapping[str, str] | None = None) -> None:
        self._answer(refusal.status, refusal.body, {**(headers or {}), **refusal.headers})

    def _answer(
        self, status: int, body: Mapping[str, Any] | str, headers: Mapping[str, str] | None = None
    ) -> None:
        is_page = isinstance(body, str)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        kind = "text/html" if is_page else "application/json; charset=utf-8"
        self.send_header("Content-Type", kind)
        if self._may_zip():
            data = zipped(data)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        self._send_headers(headers or {})
        self.end_headers()
        self.wfile.write(data)

    def _may_zip(self) -> bool:
        return self.api.zips and "gzip" in self.headers.get("Accept-Encoding", "")

    def _send_headers(self, headers: Mapping[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)


def _rule_error(value: str, title: str, kind: str) -> dict[str, Any]:
    return {"value": value, "title": title, "type": PROBLEMS + kind}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
