"""The client, against the stand-in server and its faults."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from standin import server as standins
from standin.server import API_KEY, Fault, StandIn

from zendaemon.core.errors import (
    NameTaken,
    Rejected,
    ServerError,
    SettingsError,
    Stale,
    Unavailable,
    Uncertain,
)
from zendaemon.core.run import Resolved
from zendaemon.zenml import ApiKey, Generation, Limits, Secret, ZenML
from zendaemon.zenml.wire import normal_url, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

KEY = ApiKey(Secret(API_KEY))
QUICK = Limits(connect=0.5, read=0.5, start=0.5, call=2)


def now() -> datetime:
    return datetime.now(UTC)


def client(url: str, limits: Limits = QUICK) -> ZenML:
    return ZenML(url, KEY, now=now, elapsed=time.monotonic, limits=limits, trust_env=False)


def answering(
    handle: Callable[[httpx.Request], httpx.Response],
    clock: Callable[[], datetime] = now,
    elapsed: Callable[[], float] = time.monotonic,
) -> ZenML:
    """A client whose server is a function; logins are taken care of."""

    def with_login(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/login"):
            return httpx.Response(200, json={"access_token": "t"})
        return handle(request)

    transport = httpx.MockTransport(with_login)
    return ZenML("https://z.example.com", KEY, now=clock, elapsed=elapsed, transport=transport)


def resolved(standin: StandIn) -> Resolved:
    kind: Any = standin.kind
    return Resolved(kind, standin.target_id, "", "training", now(), standin.version)


async def start(zenml: ZenML, standin: StandIn, name: str = "run-1") -> Any:  # noqa: ANN401
    return await zenml.start(zenml.ready(resolved(standin), {"run_name": name}, [], uuid4()))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://zenml.example.com", "https://zenml.example.com"),
        ("  https://zenml.example.com/ ", "https://zenml.example.com"),
        ("https://zenml.example.com/api/v1", "https://zenml.example.com"),
        ("https://zenml.example.com/api/v1/", "https://zenml.example.com"),
        ("https://example.com/zenml/", "https://example.com/zenml"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("HTTP://ZenML.example.com:8080", "http://zenml.example.com:8080"),
    ],
)
def test_urls(given: str, expected: str) -> None:
    assert normal_url(given) == expected


@pytest.mark.parametrize(
    "given",
    ["", "zenml.example.com", "ftp://x", "https://", "https://a b", "https://x:port", "https://x?a=1", "x" * 99_999],
)
def test_urls_that_are_none(given: str) -> None:
    with pytest.raises(SettingsError):
        normal_url(given)


@pytest.mark.parametrize(
    "given", ["https://me:s3cr3t@x", "https://s3cr3t@x", "https://me:s3cr3t@x:port", "ftp://me:s3cr3t@x"]
)
def test_a_password_in_the_url_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(SettingsError) as caught:
        normal_url(given)
    assert "s3cr3t" not in str(caught.value)


def test_ca_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        tls_context(tmp_path / "none.pem")
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(SettingsError, match="holds no certificate"):
        tls_context(tmp_path / "empty.pem")


@pytest.mark.parametrize("version", list(standins.ROUTES))
async def test_what_is_sent_to_start_a_run(version: str) -> None:
    key = uuid4()
    base: Any = {"steps": {"a": {"parameters": {"x": 1}}}}
    async with StandIn(version) as standin, client(f"{standin.url}/api/v1/") as zenml:
        what = Resolved(
            resolved(standin).kind, standin.target_id, "", "", now(), version, base=base, sends_tags=version != "0.62.0"
        )
        await zenml.start(zenml.ready(what, {"run_name": "r", "steps": {"a": {"parameters": {"y": 2}}}}, ["t"], key))
        [sent] = standin.starts
    config = {"run_name": "r", "steps": {"a": {"parameters": {"x": 1, "y": 2}}}}
    if version != "0.62.0":
        config["tags"] = ["t"]
    assert sent.config == ({"run_configuration": config} if version == "0.98.0" else config)
    assert sent.path == f"/api/v1/{standins.ROUTES[version][0]}/{standin.target_id}/runs"
    assert sent.headers["idempotency-key"] == str(key)
    assert sent.headers["user-agent"].startswith("zendaemon/")


@pytest.mark.parametrize(
    ("fault", "kind", "created"),
    [
        (standins.RESET, Uncertain, False),
        (standins.RESET_AFTER, Uncertain, True),
        (standins.slow(5), Uncertain, True),
        (standins.ERROR, Uncertain, False),
        (standins.ERROR_AFTER, Uncertain, True),
        (standins.down(7), Uncertain, False),
        (standins.NO_SLOT, Unavailable, False),
        (standins.TOO_BUSY_AFTER, Uncertain, True),
        (standins.CUT_SHORT_AFTER, Uncertain, True),
        (standins.HTML, Uncertain, False),
        (Fault(200, {"id": "x"}, created=True), Uncertain, True),
        (Fault(200, [], created=True), Uncertain, True),
        (Fault(307, "", {"Location": "https://elsewhere.example.com/"}), Unavailable, False),
        (Fault(308, "", {"Location": "https://elsewhere.example.com/"}), Rejected, False),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_faults_of_a_start(fault: Fault, kind: type[ServerError], created: bool) -> None:  # noqa: FBT001
    async with StandIn() as standin, client(standin.url) as zenml:
        standin.script(fault)
        with pytest.raises(ServerError) as caught:
            await start(zenml, standin)
        assert type(caught.value) is kind
        assert len(standin.starts) == 1, "a start is never sent twice"
        assert getattr(caught.value, "retry_after", None) == (7 if fault.status == 503 else None)
        found = await zenml.find_run("run-1", None)
        assert (found is not None) is created
        if created:
            with pytest.raises(NameTaken):
                await start(zenml, standin)
        else:
            assert (await start(zenml, standin)).name == "run-1"


async def test_a_refused_connection_created_nothing() -> None:
    async with StandIn() as standin, client(standin.url) as zenml:
        await zenml.current_user()
        await standin.refuse()
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                await start(zenml, standin)
            assert (caught.value.busy, caught.value.status) == (False, None)
        await standin.listen()
        await start(zenml, standin)


async def test_a_kept_connection_that_died_is_no_failure_of_a_question() -> None:
    hits = 0

    def handle(_: httpx.Request) -> httpx.Response:
        nonlocal hits
        hits += 1
        if hits in (1, 3, 4):
            raise httpx.ReadError("reset")
        return httpx.Response(200, json={"id": "u"})

    async with answering(handle) as zenml:
        await zenml.current_user()
        with pytest.raises(Unavailable):
            await zenml.current_user()
    assert hits == 4


async def test_stale_ids() -> None:
    async with StandIn() as standin, client(standin.url) as zenml:
        old = resolved(standin)
        standin.make_stale()
        with pytest.raises(Stale):
            await zenml.start(zenml.ready(old, {"run_name": "r"}, [], uuid4()))


async def test_another_name_than_the_one_sent_is_rejected_with_the_run() -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"id": "the-id", "name": "training-2026", "body": {"status": "initializing"}})

    async with answering(handle) as zenml:
        what = Resolved("snapshot", "1", "", "", now(), "0.98.0")
        with pytest.raises(Rejected, match="the server dropped the configuration: it started run the-id"):
            await zenml.start(zenml.ready(what, {"run_name": "r"}, [], uuid4()))


async def test_calls_are_limited_in_number_and_length() -> None:
    async with StandIn() as standin, client(standin.url, Limits(start=5, call=0.3, concurrency=2)) as zenml:
        await zenml.current_user()
        standin.script(standins.slow(0.1), standins.slow(0.1), standins.slow(0.1), standins.slow(9))
        begin = time.monotonic()
        found = await asyncio.gather(
            *(start(zenml, standin, f"run-{number}") for number in range(4)), return_exceptions=True
        )
        assert 0.3 <= time.monotonic() - begin < 2
        assert sorted(type(each).__name__ for each in found) == ["Run", "Run", "Run", "Uncertain"]
        times = [arrival.at for arrival in standin.starts]
        assert times[1] - times[0] < 0.09 < times[2] - times[0]


async def test_the_start_may_take_longer_than_a_question() -> None:
    limits = Limits()
    assert limits.start >= 60
    assert limits.call > limits.start
    async with StandIn() as standin, client(standin.url, Limits(read=0.1, start=5)) as zenml:
        standin.script(standins.slow(0.3))
        assert (await start(zenml, standin)).name == "run-1"


def page(number: int, total: int) -> dict[str, Any]:
    return {"items": [{"id": f"{number}"}, {"id": f"{number}b"}, {"no": "id"}, None], "total_pages": total}


async def test_all_pages_are_read_and_vanished_ones_are_none() -> None:
    asked: list[Mapping[str, str]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        number = int(request.url.params["page"])
        if number == 3:
            return httpx.Response(400, json={"detail": ["ValueError", "Invalid page 3. The requested page size is 1"]})
        return httpx.Response(200, json=page(number, 4))

    async with answering(handle) as zenml:
        rows = await zenml.pages("runs", {"a": "b"}, size=7)
        asked_first = len(asked)
        assert len(await zenml.pages("runs", most=1)) == 2
        assert len(asked) == asked_first + 1
    assert [row["id"] for row in rows] == ["1", "1b", "2", "2b"]
    assert asked[1] == {"a": "b", "page": "2", "size": "7"}


@pytest.mark.parametrize("body", [None, [], {}, {"items": 1}, {"items": None, "total_pages": 1}, "text"])
async def test_a_list_that_is_none(body: object) -> None:
    async with answering(lambda _: httpx.Response(200, json=body)) as zenml:
        with pytest.raises(Unavailable):
            await zenml.pages("runs")


async def test_a_list_without_end() -> None:
    """A server that counts pages wrongly is left at its first empty page."""

    def handle(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params["page"])
        return httpx.Response(200, json=page(number, 10**9) if number < 3 else {"items": [], "total_pages": 10**9})

    async with answering(handle) as zenml:
        assert len(await zenml.pages("runs")) == 4


def run_row(run_id: str, name: str, created: str | None) -> dict[str, Any]:
    return {"id": run_id, "name": name, "body": {"status": "running", "created": created}}


async def test_the_oldest_of_several_runs_of_one_name() -> None:
    """Servers of the builds generation can make several; other names are a filter that was ignored."""
    rows = [
        run_row("z", "other", "2026-01-01T00:00:00"),
        run_row("a", "n", None),
        run_row("c", "n", "2026-11-23T10:00:00.5"),
        run_row("b", "n", "2026-11-23T09:00:00"),
        run_row("d", "n", "2026-11-23T09:00:00"),
        run_row("e", "N", "2020-11-23T09:00:00"),
    ]
    async with answering(lambda _: httpx.Response(200, json={"items": rows, "total_pages": 1})) as zenml:
        found = await zenml.find_run("n", "p")
    assert found is not None
    assert found.id == "b"
    assert found.created == datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("metadata", "started", "ended"),
    [
        ({"start_time": "2026-11-23T09:00:00.5", "end_time": "2026-11-23T09:01:00"}, 0.5, 60),
        ({"start_time": "2026-11-23T10:00:00+01:00", "end_time": None}, 0, None),
        ({"start_time": "soon", "end_time": 7}, None, None),
        ({}, None, None),
        (None, None, None),
    ],
)
async def test_when_a_run_started_and_ended(
    metadata: dict[str, Any] | None, started: float | None, ended: float | None
) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        return httpx.Response(200, json=run_row("a", "n", None) | {"metadata": metadata})

    async with answering(answer) as zenml:
        run = await zenml.get_run("a")
    nine = datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert run is not None
    assert run.started_at == (None if started is None else nine + timedelta(seconds=started))
    assert run.ended_at == (None if ended is None else nine + timedelta(seconds=ended))
    assert asked[-1] == {"hydrate": "true"}, "only then does the server tell the times"


async def test_a_run_is_gone_only_when_the_server_itself_says_so() -> None:
    answers = [
        httpx.Response(404, json={"detail": ["KeyError", "\"Unable to get pipelinerun with ID 'x'\""]}),
        httpx.Response(404, text="default backend - 404"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(200, json={"name": "no run"}),
    ]
    async with answering(lambda _: answers.pop(0)) as zenml:
        assert await zenml.get_run("x") is None
        for _ in range(3):
            with pytest.raises(Unavailable):
                await zenml.get_run("x/../y")


@pytest.mark.parametrize("off", [-3600, -3, 0, 4, 86_400])
async def test_the_clock_of_the_server(off: int) -> None:
    there = datetime(2026, 11, 23, 12, 0, 0, 400_000, tzinfo=UTC)

    def handle(_: httpx.Request) -> httpx.Response:
        date = (there + timedelta(seconds=off)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return httpx.Response(200, json={}, headers={"Date": date})

    async with answering(handle, lambda: there) as zenml:
        assert zenml.skew == timedelta()
        await zenml.current_user()
        assert abs(zenml.skew - timedelta(seconds=off)) <= timedelta(seconds=0.5)
        assert (zenml.skew == timedelta()) is (off == 0)


async def test_a_slow_answer_tells_the_clock_of_the_server_no_better() -> None:
    """Its Date may be of the begin or the end of the call; what a quick answer told stays."""
    clock = [datetime(2026, 11, 23, 12, tzinfo=UTC)]
    off, delays = timedelta(seconds=-2797), [0.1, 24.0, 24.0]

    def handle(request: httpx.Request) -> httpx.Response:
        begin = clock[0]
        clock[0] += timedelta(seconds=delays.pop(0))
        date = (begin if request.url.path.endswith("begin") else clock[0]) + off
        return httpx.Response(200, json={}, headers={"Date": date.strftime("%a, %d %b %Y %H:%M:%S GMT")})

    def elapsed() -> float:
        return clock[0].timestamp()

    async with answering(handle, lambda: clock[0], elapsed) as zenml:
        for path in ("end", "begin", "end"):
            await zenml.get(path)
            assert abs(zenml.skew - off) <= zenml.skew_within < timedelta(seconds=0.6)


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}, {"Date": "Mon, 23 Nov 2020 12:00:00 GMT", "Age": "9"}])
async def test_a_date_that_tells_nothing(headers: dict[str, str]) -> None:
    async with answering(lambda _: httpx.Response(200, json={}, headers=headers)) as zenml:
        await zenml.current_user()
        assert zenml.skew == timedelta()


INFO = {"id": "i", "version": "0.98.0", "active": True}
PAGE = "<!doctype html><title>Sign in</title>"


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (httpx.Response(200, text=PAGE), Unavailable, "an HTML page (Sign in); use the ZenML server's own URL"),
        (httpx.Response(200, text="{"), Unavailable, "does not answer as a ZenML server does"),
        (httpx.Response(200, json={"version": "v1"}), Unavailable, "gives no version"),
        (httpx.Response(200, json=[]), Unavailable, "gives no version"),
        (httpx.Response(404, text="nothing"), Unavailable, "404 nothing"),
        (httpx.Response(404, json={"detail": ["KeyError", "x"]}), Unavailable, "does not answer as"),
        (httpx.Response(401, text=""), Unavailable, "something in front of the server"),
        (httpx.Response(403, text=PAGE), Unavailable, "something in front of the server"),
        (httpx.Response(301, headers={"Location": "https://new.example.com/api/v1/info"}), Rejected, "https://new.ex"),
        (httpx.Response(502, text=PAGE), Unavailable, "502"),
    ],
)
async def test_what_is_no_server(answer: httpx.Response, kind: type[ServerError], text: str) -> None:
    async with answering(lambda _: answer) as zenml:
        with pytest.raises(kind) as caught:
            await zenml.info()
        assert text in str(caught.value)


async def test_another_page_in_place_of_a_known_server_passes() -> None:
    answers = [httpx.Response(200, json=INFO), httpx.Response(404), httpx.Response(200, text=PAGE)]
    async with answering(lambda _: answers.pop(0)) as zenml:
        await zenml.info()
        with pytest.raises(Unavailable):
            await zenml.info()


@pytest.mark.parametrize(
    "hidden", [httpx.Response(404), httpx.Response(403), httpx.Response(200, text=PAGE), httpx.Response(200, json=[])]
)
async def test_a_server_that_hides_its_routes(hidden: httpx.Response) -> None:
    """Then the version alone tells what it can."""
    async with answering(lambda r: hidden if "openapi" in r.url.path else httpx.Response(200, json=INFO)) as zenml:
        info = await zenml.info()
    assert info.routes == {"snapshot"}
    assert info.projects
    assert not info.exact_keys
    assert {"run_name", "tags", "enable_heartbeat"} <= info.config_keys


async def test_a_server_that_is_upgraded_is_looked_at_anew() -> None:
    versions = ["0.62.0", "0.62.0", "0.98.0"]
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if "openapi" in request.url.path:
            return httpx.Response(404)
        return httpx.Response(200, json={**INFO, "version": versions.pop(0)})

    async with answering(handle) as zenml:
        assert (await zenml.info()).generation is Generation.BUILDS
        assert (await zenml.info()).generation is Generation.BUILDS
        assert (await zenml.info()).generation is Generation.SNAPSHOTS
    assert asked.count("/openapi.json") == 2


async def test_activation_is_noticed() -> None:
    states = [True, False, False, True]

    def handle(request: httpx.Request) -> httpx.Response:
        if "openapi" in request.url.path:
            return httpx.Response(404)
        return httpx.Response(200, json={**INFO, "active": states.pop(0)})

    async with answering(handle) as zenml:
        assert [(await zenml.info()).active for _ in range(4)] == [True, False, False, True]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
async def test_nobody_there(url: str) -> None:
    async with client(url) as zenml:
        with pytest.raises(Unavailable):
            await zenml.info()
        with pytest.raises(Unavailable):
            await zenml.start(
                zenml.ready(Resolved("build", "1", "", "", now(), "0.62.0"), {"run_name": "r"}, [], uuid4())
            )
