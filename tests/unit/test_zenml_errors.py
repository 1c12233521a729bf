"""The one boundary: every failure of httpx and every answer of the server becomes one of ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zendaemon.core.errors import NameTaken, Rejected, ServerError, Stale, Unauthorized, Unavailable, Uncertain
from zendaemon.zenml.errors import MAX_TEXT, Purpose, from_answer, from_transport, read_failure, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
READ, LOGIN, START, STOP = Purpose.READ, Purpose.LOGIN, Purpose.START, Purpose.STOP


def leaves(root: type[Exception]) -> Iterable[type[Exception]]:
    """The classes below `root` that have none below themselves."""
    below = root.__subclasses__()
    return {leaf for child in below for leaf in leaves(child)} if below else {root}


def by_name(kinds: Iterable[type[Exception]]) -> list[type[Exception]]:
    return sorted(kinds, key=lambda kind: kind.__name__)


STARTS: dict[type[Exception], type[ServerError]] = {
    httpx.ConnectError: Unavailable,
    httpx.ConnectTimeout: Unavailable,
    httpx.PoolTimeout: Unavailable,
    httpx.ProxyError: Unavailable,
    httpx.UnsupportedProtocol: Rejected,
    httpx.ReadTimeout: Uncertain,
    httpx.WriteTimeout: Uncertain,
    httpx.ReadError: Uncertain,
    httpx.WriteError: Uncertain,
    httpx.CloseError: Uncertain,
    httpx.LocalProtocolError: Uncertain,
    httpx.RemoteProtocolError: Uncertain,
    httpx.DecodingError: Uncertain,
    httpx.TooManyRedirects: Uncertain,
    TimeoutError: Uncertain,
    OSError: Uncertain,
}


@pytest.mark.parametrize("kind", by_name({*leaves(httpx.TransportError), *leaves(httpx.RequestError), *STARTS}))
def test_every_transport_error_is_mapped(kind: type[Exception]) -> None:
    assert kind in STARTS, f"{kind.__name__} is new in httpx: decide whether a run may exist after it"
    after_start = from_transport(kind("boom"), START, "http://x")
    assert type(after_start) is STARTS[kind]
    assert after_start.status is None
    for purpose in (READ, LOGIN, STOP):
        other = from_transport(kind("boom"), purpose, "http://x")
        assert type(other) is (Rejected if kind is httpx.UnsupportedProtocol else Unavailable)


@pytest.mark.parametrize("kind", by_name(STARTS))
def test_transport_errors_without_text_say_something(kind: type[Exception]) -> None:
    text = str(from_transport(kind(""), START, "http://x"))
    assert len(text) > len(" (http://x)") + 5


def test_a_certificate_that_is_not_trusted_has_its_remedy() -> None:
    failure = from_transport(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), READ, "https://x")
    assert "CA file" in failure.hint


def answer(status: int, body: object = None, **headers: str) -> httpx.Response:
    content = body if isinstance(body, str | bytes) else b"" if body is None else json.dumps(body)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=content, headers=given, request=httpx.Request("POST", "https://z/api/v1/x"))


def detail(kind: str, text: str) -> dict[str, Any]:
    return {"detail": [kind, text]}


TABLE: list[tuple[str, Purpose, httpx.Response, type[ServerError], str]] = [
    ("refused key", START, answer(400, detail("ValueError", "Can't set build when running")), Rejected, "Can't set"),
    ("build plain", START, answer(400, detail("ValueError", "Build does not have template deployment.")), Stale, ""),
    ("template dead", START, answer(400, detail("ValueError", "This template can not be run because")), Stale, ""),
    ("snapshot dead", START, answer(400, detail("ValueError", "This snapshot can not be run via the")), Stale, ""),
    ("stack changed", START, answer(400, detail("ValueError", "The stack s has been updated since")), Stale, ""),
    ("token", START, answer(401, {"detail": "Not authenticated"}), Unauthorized, "API key"),
    ("limit", START, answer(402, detail("SubscriptionUpgradeRequiredError", "reached")), Rejected, "subscription"),
    ("right", START, answer(403, detail("IllegalOperationError", "Insufficient permissions")), Rejected, "right to"),
    ("id gone", START, answer(404, detail("KeyError", "\"Unable to get build with ID '1': x\"")), Stale, "Unable"),
    ("id gone, 0.75", START, answer(404, detail("KeyError", "'Unable to get run template'")), Stale, "Unable"),
    ("placeholder, 0.62", START, answer(404, detail("KeyError", "'nope'")), Rejected, "no braces"),
    ("placeholder", START, answer(404, detail("KeyError", '"Could not format the name"')), Rejected, "no braces"),
    ("no backend", START, answer(404, "default backend - 404"), Stale, ""),
    ("no route", START, answer(405, {"detail": "Method Not Allowed"}, allow="GET"), Rejected, "workload manager"),
    ("request timeout", START, answer(408), Uncertain, ""),
    ("name taken", START, answer(409, detail("EntityExistsError", "already exists")), NameTaken, "already exists"),
    ("too large", START, answer(413, "<html><title>Too large</title>"), Rejected, "an HTML page (Too large)"),
    ("schema", START, answer(422, ["ValueError", "[{'loc': ('body', 'x'), 'msg': 'no'}]"]), Rejected, "422 x: no"),
    ("no slot", START, answer(429, detail("MaxConcurrentTasksError", "Maximum")), Unavailable, ""),
    ("too busy", START, answer(429, {"error": "Server too busy."}), Uncertain, "too busy"),
    ("a proxy's limit", START, answer(429, "slow down"), Uncertain, "slow down"),
    ("pool", START, answer(500, detail("RuntimeError", "QueuePool limit")), Uncertain, ""),
    ("braces", START, answer(500, detail("RuntimeError", "Replacement index 0 out")), Rejected, "no braces"),
    ("plain", START, answer(500, "Internal Server Error"), Uncertain, "500 Internal Server Error"),
    ("502", START, answer(502, "<html>"), Uncertain, ""),
    ("503", START, answer(503, retry_after="7"), Uncertain, ""),
    ("504", START, answer(504), Uncertain, "Gateway"),
    ("redirect", START, answer(301, location="https://new/p?token=x"), Rejected, "https://new/p; set the server URL"),
    ("not modified", START, answer(304), Rejected, ""),
    ("accepted", START, answer(202), Uncertain, ""),
    ("no content", START, answer(204), Uncertain, ""),
    ("teapot", START, answer(418), Rejected, "418"),
    ("list: filter", READ, answer(422, detail("ValueError", "bad")), Rejected, ""),
    ("list: token", READ, answer(401), Unauthorized, ""),
    ("list: gone", READ, answer(404, detail("KeyError", "gone")), Stale, ""),
    ("list: proxy", READ, answer(404, "nothing here"), Unavailable, "between"),
    ("list: right", READ, answer(403), Rejected, "right"),
    ("list: limit", READ, answer(429), Unavailable, ""),
    ("list: broken", READ, answer(500, "Internal Server Error"), Unavailable, ""),
    ("list: redirect", READ, answer(302, location="/login"), Unavailable, "https://z/login"),
    ("login: wrong", LOGIN, answer(401, detail("CredentialsNotValid", "no")), Unauthorized, "check"),
    ("login: limit", LOGIN, answer(429, {"detail": "Minute request limit exceeded."}), Unauthorized, "Minute request"),
    ("login: grant", LOGIN, answer(400, {"detail": "Unsupported grant type: x"}), Unauthorized, ""),
    ("login: none", LOGIN, answer(404), Unauthorized, "server URL"),
    ("login: broken", LOGIN, answer(500), Unavailable, ""),
    ("stop: token", STOP, answer(401), Unauthorized, "API key"),
    ("stop: gone", STOP, answer(404, detail("KeyError", "gone")), Stale, ""),
    ("stop: old server", STOP, answer(405), Rejected, "from 0.85 on"),
    ("stop: limit", STOP, answer(429), Unavailable, ""),
    ("stop: no module", STOP, answer(500, detail("RuntimeError", "No module")), Rejected, "integration"),
    ("stop: proxy", STOP, answer(504), Unavailable, "Gateway"),
    ("login: redirect", LOGIN, answer(307, location="https://sso/"), Unavailable, "https://sso/"),
]


@pytest.mark.parametrize(
    ("purpose", "given", "kind", "text"), [row[1:] for row in TABLE], ids=[f"{row[1]}, {row[0]}" for row in TABLE]
)
def test_every_answer_is_mapped(purpose: Purpose, given: httpx.Response, kind: type[ServerError], text: str) -> None:
    failure = from_answer(given, purpose, NOW)
    assert type(failure) is kind
    assert text in str(failure)
    assert failure.status == given.status_code
    assert "token=x" not in str(failure)


@pytest.mark.parametrize("purpose", Purpose)
def test_no_status_is_without_meaning(purpose: Purpose) -> None:
    for status in range(201, 600):
        failure = from_answer(answer(status, b"\xff\x00"), purpose, NOW)
        if purpose is START:
            assert isinstance(failure, Uncertain) or 300 <= status < 500
        else:
            assert not isinstance(failure, Uncertain)


def test_busy_is_told_from_unreachable() -> None:
    busy = from_answer(answer(429, detail("MaxConcurrentTasksError", "x"), retry_after="5"), START, NOW)
    assert isinstance(busy, Unavailable)
    assert (busy.busy, busy.retry_after) == (True, 5)


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("7", "", 7.0),
        ("0", "", 0.0),
        ("99999999999999", "", 3600.0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", "", 30.0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", "Mon, 23 Nov 2026 12:00:20 GMT", 10.0),
        ("Mon, 23 Nov 2020 12:00:30 GMT", "", 0.0),
        ("-1", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_retry_after(value: str, date: str, expected: float | None) -> None:
    failure = from_answer(answer(503, retry_after=value, date=date), START, NOW)
    assert isinstance(failure, Uncertain)
    assert failure.retry_after == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"detail": "text"}, ("", "text")),
        ({"detail": ["ErrorClass", "text"]}, ("ErrorClass", "text")),
        ({"detail": [{"loc": ["body", "run_name"], "msg": "too long"}]}, ("", "run_name: too long")),
        (["ValueError", "text"], ("ValueError", "text")),
        (["ValueError", "[{'loc': ('body', 'steps', 'a'), 'msg': 'no', 'input': 1}]"], ("ValueError", "steps.a: no")),
        (["ValueError", "[{'broken"], ("ValueError", "[{'broken")),
        ({"error": "text"}, ("", "text")),
        ({"other": 1}, ("", '{"other": 1}')),
        ("Internal Server Error", ("", "Internal Server Error")),
        ("", ("", "Internal Server Error")),
        ("null", ("", "Internal Server Error")),
        ("<!DOCTYPE html><title>Bad\n gateway</title>", ("", "an HTML page (Bad gateway)")),
        ("<html>", ("", "an HTML page")),
        ("a\r\nb\x1b[31m\u2028c", ("", "a b [31m c")),
        ("[" * 100_000, ("", "[" * (MAX_TEXT - 3) + "...")),
        ("x" * 10_000, ("", "x" * (MAX_TEXT - 3) + "...")),
    ],
)
def test_body_shapes(body: object, expected: tuple[str, str]) -> None:
    assert read_failure(answer(500, body)) == expected


def test_a_success_that_is_none() -> None:
    assert type(unreadable(answer(200, "<html>"), START)) is Uncertain
    assert type(unreadable(answer(200, "<html>"), READ)) is Unavailable
