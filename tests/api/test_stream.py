"""Predictions of lines that come one after the other, and the limits of bodies, over a socket."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from api import asgi, ndjson, tokens
from api.models import ApiToken
from modeling.models import ModelVersion
from tests.conftest import table_away

PATH = "/api/v1/predictions/stream"


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def connect(address: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)


def send(address: str, body: Any, path: str = PATH, **headers: str) -> tuple[int, Any, bytes]:
    connection = connect(address)
    given = {"Content-Type": ndjson.MEDIA_TYPE, **headers}
    connection.request("POST", path, body, given, encode_chunked=not isinstance(body, bytes))
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_lines_of_any_cut_are_the_same_lines() -> None:
    body = '{"id": 1, "text": "grün 😀"}\n\n"b"\r\n{"text": ""}\nnope\n"last"'.encode()
    whole = ndjson.LineReader()
    expected = [*whole.feed(body), *whole.finish()]
    assert [line.number for line in expected] == [1, 3, 4, 5, 6]
    assert [bool(line.error) for line in expected] == [False, False, True, True, False]
    for size in (1, 2, 3, 7):
        reader = ndjson.LineReader()
        pieces = (body[start : start + size] for start in range(0, len(body), size))
        assert [
            *(line for piece in pieces for line in reader.feed(piece)),
            *reader.finish(),
        ] == expected


def test_a_line_without_end_takes_no_memory() -> None:
    reader = ndjson.LineReader()
    for _ in range(40):
        assert list(reader.feed(b"x" * 65_536)) == []
        assert len(reader._rest) <= ndjson.LINE_LIMIT + 65_536
    first, second = reader.feed(b'"\n"a"\n')
    assert "longer" in first.error and second.text == "a"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"text": 5}', "text: Not a string"),
        (b'{"id": 1}', "text: "),
        (b"NaN", "not JSON"),
        (b'"\\ud83d"', "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"[" * 5_000, "not JSON"),
        (b'{"text": "a", "lang": "en"}', "lang: Unknown field"),
        (b'{"text": "a", "id": [1]}', "id: "),
        (json.dumps("x" * 10_001).encode(), "10000"),
    ],
)
def test_a_bad_line_says_why(line: bytes, says: str) -> None:
    reader = ndjson.LineReader()
    (read,) = reader.feed(line + b"\n")
    assert says in read.error


@pytest.mark.django_db(transaction=True)
def test_lines_are_answered_while_more_come(champion: ModelVersion, live_site: str) -> None:
    host, port = urlsplit(live_site).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
            "X-Request-ID: mine\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        answer = connection.makefile("rb")
        for number, word in enumerate(("awful", "wonderful"), 1):
            piece = json.dumps({"id": word, "text": f"the food {word} today"}).encode() + b"\n"
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            while not (line := answer.readline()).startswith(b"{"):
                assert line, "the connection was closed"
            judged = json.loads(line)
            assert (judged["line"], judged["id"], judged["model_version"]) == (number, word, "1")
            assert judged["label"] == {"awful": "negative", "wonderful": "positive"}[word]
        connection.sendall(b"0\r\n\r\n")


@pytest.mark.django_db(transaction=True)
def test_a_long_stream_keeps_every_line_in_order(champion: ModelVersion, live_site: str) -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(1, 3_001):
            yield b'"the food awful today"\n' if number % 7 else b'""\n'

    status, _, body = send(live_site, b"".join(pieces()))
    answers = lines(body)
    assert status == 200
    assert [answer["line"] for answer in answers] == list(range(1, 3_001))
    assert all(("error" in answer) == (answer["line"] % 7 == 0) for answer in answers)


@pytest.mark.django_db(transaction=True)
def test_who_may_not_stream_is_told_before_sending(
    champion: ModelVersion, live_site: str, settings: Settings
) -> None:
    assert send(live_site, b'"a"', **{"Content-Type": "text/plain"})[0] == 415
    assert send(live_site, b'"a"', Host="evil.example.org")[0] == 400
    settings.API_REQUIRE_AUTH = True
    status, headers, body = send(live_site, b'"a"')
    assert status == 401 and headers["WWW-Authenticate"].startswith("Bearer")
    assert json.loads(body)["status"] == 401
    for scope, expected in (("read", 403), ("predict", 200)):
        _, secret = tokens.issue("test", [scope], days=1)
        assert send(live_site, b'"a"', Authorization=f"Bearer {secret}")[0] == expected


def expire(token: ApiToken) -> None:
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now())


def revoke(token: ApiToken) -> None:
    ApiToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())


def close_account(token: ApiToken) -> None:
    User.objects.filter(pk=token.user_id).update(is_active=False)


def narrow(token: ApiToken) -> None:
    ApiToken.objects.filter(pk=token.pk).update(scopes="read")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("ends", "says"),
    [
        (expire, "expired or revoked"),
        (revoke, "expired or revoked"),
        (close_account, "expired or revoked"),
        (narrow, "permission"),
    ],
)
def test_a_stream_ends_with_the_right_to_it(
    champion: ModelVersion,
    live_site: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ends: Callable[[ApiToken], None],
    says: str,
) -> None:
    settings.API_REQUIRE_AUTH = True
    # As if the last look were as old: what ends the right comes from another process.
    monkeypatch.setattr(tokens, "REMEMBERED_SECONDS", 0.0)
    token, secret = tokens.issue("test", ["predict"], days=1)
    host, port = urlsplit(live_site).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
            f"Authorization: Bearer {secret}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        answer = connection.makefile("rb")

        def ask(line: bytes) -> dict[str, Any]:
            connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            while not (told := answer.readline()).startswith(b"{"):
                assert told, "the connection was closed"
            found: dict[str, Any] = json.loads(told)
            return found

        assert [ask(b'"the food awful today"\n')["line"] for _ in range(2)] == [1, 2]
        ends(token)
        last = ask(b'"the food awful today"\n')
        # The body ends with it.
        while (rest := answer.readline()).strip() != b"0":
            assert rest.strip() == b"", rest
    assert says in last["error"] and "line" not in last


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_told(
    champion: ModelVersion, live_site: str, settings: Settings
) -> None:
    with table_away("modeling_modelversion"):
        status, _, body = send(live_site, b'"a"')
    assert status == 200
    assert lines(body) == [{"error": "The database is unavailable."}]
    settings.API_REQUIRE_AUTH = True
    _, secret = tokens.issue("test", ["predict"], days=1)
    with table_away("api_apitoken"):
        status, headers, body = send(live_site, b'"a"', Authorization=f"Bearer {secret}")
    assert (status, headers["Retry-After"]) == (503, "1")
    assert json.loads(body)["detail"] == "The database is unavailable."


@pytest.mark.django_db
def test_wsgi_servers_stream_too(client: Client, champion: ModelVersion) -> None:
    answer = client.post(PATH, b'"the food awful today"\n""', content_type=ndjson.MEDIA_TYPE)
    first, second = lines(answer.getvalue())
    assert first["label"] == "negative" and second["error"] == "text: The text is empty."


@pytest.mark.django_db(transaction=True)
def test_a_large_body_is_refused_before_it_came(champion: ModelVersion, live_site: str) -> None:
    host, port = urlsplit(live_site).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10485760\r\n\r\n"
        )
        assert b" 413 " in connection.makefile("rb").readline()
    # Without a length it is counted.
    status, headers, body = send(
        live_site,
        iter([b"x" * 65_536] * 40),
        "/predict",
        **{"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
    )
    assert (status, headers["Content-Type"]) == (413, "application/problem+json")
    assert json.loads(body)["status"] == 413


@pytest.mark.django_db(transaction=True)
def test_a_slow_body_is_refused(
    champion: ModelVersion, live_site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.3)
    host, port = urlsplit(live_site).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"te'
        )
        assert b" 408 " in connection.makefile("rb").readline()
