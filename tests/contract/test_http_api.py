"""The HTTP API over the real daemon, engine and journal, in one process with a stand-in server."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from standin.server import API_KEY, StandIn

from zendaemon import clock
from zendaemon.cli import wiring
from zendaemon.core.address import Address
from zendaemon.core.errors import JournalError
from zendaemon.core.fire import Fire, FireState, Reason, again
from zendaemon.core.planning import rule_text
from zendaemon.core.schedule import Schedule
from zendaemon.core.shown import Health, Refusal, ScheduleDetail, ShownFire, Status, Timeline
from zendaemon.journal import Journal
from zendaemon.settings import load_settings
from zendaemon.web import security, serving
from zendaemon.web.app import create_app
from zendaemon.web.guard import BODY_BYTES
from zendaemon.web.security import Access, Failures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from zendaemon.daemon import Daemon
    from zendaemon.operations import Operations

TOKEN = "a-token-of-the-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LOOPBACK = Address("127.0.0.1", 8787)
BEYOND = Address("0.0.0.0", 8787)  # noqa: S104 - nothing listens
NIGHTLY = {"snapshot": "training-prod", "cron": "0 2 * * *", "timezone": "Europe/Berlin", "tags": ["night"]}
HOURLY = {"snapshot": "training-prod", "every": "1h", "description": "Look at the hour"}


@dataclass
class World:
    """A daemon whose schedules are in force, and the parts of it that tests reach into."""

    folder: Path
    daemon: Daemon
    operations: Operations
    journal: Journal

    def write(self, schedules: Mapping[str, Any]) -> None:
        (self.folder / "schedules" / "a.yaml").write_text(json.dumps({"schedules": schedules}, indent=2))

    def client(
        self,
        address: Address = LOOPBACK,
        *,
        token: str | None = TOKEN,
        host: str = "127.0.0.1:8787",
        hosts: frozenset[str] = frozenset(),
        limit: int = 10,
    ) -> httpx.AsyncClient:
        read = (lambda: token) if token else None
        access = Access(address, read, clock.monotonic, hosts, Failures(limit=limit))
        app = create_app(self.operations, access)
        transport = httpx.ASGITransport(app, client=("192.0.2.7", 5), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", trust_env=False)


@asynccontextmanager
async def running(folder: Path, schedules: Mapping[str, Any], *, ready: bool = True) -> AsyncIterator[World]:
    (folder / "schedules").mkdir()
    async with StandIn("0.98.0") as server:
        settings = load_settings(
            schedules=folder / "schedules", state=folder / "state", server_url=server.url, api_key=API_KEY, http="off"
        )
        async with wiring.zenml(settings) as client:
            journal = Journal.open(settings.journal_url())
            daemon, operations = wiring.daemon(settings, client, journal)[:2]
            world = World(folder, daemon, operations, journal)
            world.write(schedules)
            begun = asyncio.Event()

            async def in_force() -> None:
                begun.set()

            task = asyncio.create_task(daemon.run(in_force)) if ready else None
            try:
                if task is not None:
                    await asyncio.wait({task, asyncio.create_task(begun.wait())}, return_when="FIRST_COMPLETED")
                yield world
            finally:
                if task is not None:
                    daemon._stop.set()
                    await task
                await journal.close()


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with running(tmp_path, {"nightly": NIGHTLY, "hourly": HOURLY, "off": {**HOURLY, "enabled": False}}) as world:
        yield world


def refused(answer: httpx.Response, status: int, *words: str) -> Refusal:
    """That it is refused in the one shape, with these words in message or remedy."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    shown = Refusal.model_validate_json(answer.text)
    assert shown.status == status
    assert all(word in shown.detail + shown.remedy for word in words), shown
    return shown


async def test_status_has_the_shape_of_the_commands(world: World) -> None:
    async with world.client() as client:
        answer = await client.get("/api/v1/status")
    assert answer.status_code == 200
    assert set(answer.json()) == set(Status.model_fields)
    assert answer.json()["counts"] == {"active": 2, "paused": 0, "unresolved": 0, "disabled": 1, "finished": 0}


async def test_every_answer_has_the_security_headers_and_a_date(world: World) -> None:
    async with world.client() as client:
        answers = [
            await client.get("/healthz"),
            await client.get("/api/v1/status"),
            await client.get("/nowhere"),
            await client.post("/api/v1/reload"),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 401]
    for answer in answers:
        assert {name: answer.headers[name] for name in security.HEADERS} == security.HEADERS
        age = datetime.now(UTC) - parsedate_to_datetime(answer.headers["date"])
        assert timedelta(0) <= age < timedelta(seconds=30)
        assert "server" not in answer.headers
    assert "'unsafe" not in security.HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["hourly", "nightly", "off"]),
        ("?sort=-name", ["off", "nightly", "hourly"]),
        ("?search=HOUR", ["hourly", "off"]),
        ("?tag=night", ["nightly"]),
        ("?state=disabled", ["off"]),
        ("?state=active&sort=next_fire_time&limit=1", None),
        ("?sort=-next_fire_time", None),
        ("?sort=state", ["hourly", "nightly", "off"]),
        ("?offset=1&limit=1", ["nightly"]),
        ("?search=nothing", []),
        ("?search=the%20LOOK", ["hourly", "off"]),
        ("?last=none&sort=-last_fire_time", ["hourly", "nightly", "off"]),
        ("?last=trouble", []),
    ],
)
async def test_schedules(world: World, query: str, names: list[str] | None) -> None:
    async with world.client() as client:
        found = (await client.get(f"/api/v1/schedules{query}")).json()
    if names is not None:
        assert [schedule["schedule"] for schedule in found["schedules"]] == names
    elif "limit=1" in query:
        assert found["total"] == 2
        assert len(found["schedules"]) == 1
    else:
        assert found["schedules"][-1]["next_fire_time"] is None, "what fires no more is at the end, either way"


async def test_a_schedule(world: World) -> None:
    async with world.client() as client:
        answer = await client.get("/api/v1/schedules/nightly")
        assert set(answer.json()) == set(ScheduleDetail.model_fields)
        assert len(answer.json()["next_fires"]) == 10
        answer = await client.get("/api/v1/schedules/nightl")
        refused(answer, 404, "there is no schedule 'nightl'", "did you mean nightly?")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("status?x=1", ["there is no query parameter 'x'"]),
        ("schedules?stat=active", ["there is no query parameter 'stat'", "did you mean state?"]),
        ("schedules/nightly?x=", ["there is no query parameter 'x'"]),
        ("schedules?state=mad", ["query state"]),
        ("schedules?limit=0", ["query limit"]),
        ("schedules?last=bad", ["query last"]),
        ("schedules?limit=99999999999999999999999999", ["query limit"]),
        ("fires?since=yesterday", ["query since", "2026-11-23T02:00:00Z"]),
        ("fires?since=1700000000", ["query since"]),
        ("fires?until=2026-11-23T02:00:00", ["query until"]),
        ("fires?cursor=AAAA", ["query cursor", "next_cursor"]),
        ("fires?cursor=%FF%00", ["query cursor"]),
        ("fires?reason=bored&state=started&limit=x", ["query reason", "query limit"]),
    ],
)
async def test_what_is_not_understood_is_refused(world: World, path: str, words: list[str]) -> None:
    async with world.client() as client:
        refused(await client.get(f"/api/v1/{path}"), 422, *words)


async def test_wrong_paths_and_methods(world: World) -> None:
    async with world.client() as client:
        refused(await client.get("/api/v1/nothing"), 404, "openapi.json")
        answer = await client.put("/api/v1/status", headers=BEARER)
        refused(answer, 405)
        assert answer.headers["allow"] == "GET"
        assert (await client.head("/readyz")).status_code == 200


async def journaled(world: World, *fires: Fire) -> None:
    await world.journal.claim(fires, {})


def closed(name: str, fire_time: datetime) -> Fire:
    return Fire(schedule=name, fire_time=fire_time, state=FireState.STARTED, claimed_at=fire_time, decided_at=fire_time)


BEGIN = datetime(2026, 11, 20, tzinfo=UTC)


async def walk(client: httpx.AsyncClient, query: str) -> list[list[dict[str, Any]]]:
    pages: list[list[dict[str, Any]]] = []
    cursor = ""
    while True:
        answer = (await client.get(f"/api/v1/fires?{query}{cursor}")).json()
        pages.append(answer["fires"])
        if answer["next_cursor"] is None:
            return pages
        cursor = f"&cursor={answer['next_cursor']}"


async def test_pages_of_fires_stay_as_they_are_while_new_fires_come(world: World) -> None:
    """Of fires at the same instant too, and in ranges."""
    every = Schedule.model_validate({"name": "z", "snapshot": "x", "every": "10s"})
    spans = Fire(
        schedule="z",
        fire_time=BEGIN,
        state=FireState.MISSED,
        reason=Reason.CATCHUP_NONE,
        through=BEGIN + timedelta(minutes=1),
        rule=rule_text(every.trigger),
    )
    singles = [closed(name, BEGIN + timedelta(seconds=s)) for s in (0, 30, 60) for name in ("b", "a", "c")]
    manual = replace(closed("a", BEGIN + timedelta(seconds=30)), manual=True)
    await journaled(world, spans, *singles, manual)
    async with world.client() as client:
        expected = [fire for page in await walk(client, "limit=1000") for fire in page]
        times = [fire["fire_time"] for fire in expected]
        assert len(expected) == 7 + 9 + 1
        assert times == sorted(times, reverse=True)
        for limit in (1, 2, 3, 5):
            pages = await walk(client, f"limit={limit}")
            assert [fire for page in pages for fire in page] == expected
            assert {len(page) for page in pages[:-1]} <= {limit}
        first = (await client.get("/api/v1/fires?limit=4")).json()
        await journaled(world, closed("a", BEGIN + timedelta(hours=1)), closed("0", BEGIN + timedelta(seconds=60)))
        rest = (await client.get(f"/api/v1/fires?limit=1000&cursor={first['next_cursor']}")).json()
    assert first["fires"] + rest["fires"] == expected


async def test_a_page_deep_in_a_long_range_is_not_reckoned_from_its_end(world: World) -> None:
    every = Schedule.model_validate({"name": "z", "snapshot": "x", "every": "1s"})
    year = Fire(
        schedule="z",
        fire_time=BEGIN - timedelta(days=365),
        state=FireState.MISSED,
        reason=Reason.CATCHUP_NONE,
        through=BEGIN,
        rule=rule_text(every.trigger),
    )
    await journaled(world, year)
    async with world.client() as client, asyncio.timeout(10):
        answer = (await client.get("/api/v1/fires?until=2025-11-20T00:00:05Z&limit=3")).json()
        rest = (await client.get(f"/api/v1/fires?limit=1000&cursor={answer['next_cursor']}")).json()
    assert [fire["fire_time"][-3:] for fire in answer["fires"] + rest["fires"]] == ["04Z", "03Z", "02Z", "01Z", "00Z"]


async def test_fires_are_filtered(world: World) -> None:
    failed = replace(
        closed("a", BEGIN + timedelta(minutes=1)), state=FireState.FAILED, reason=Reason.REJECTED, message="no"
    )
    await journaled(world, closed("a", BEGIN), failed, closed("b", BEGIN + timedelta(minutes=2)))
    async with world.client() as client:

        async def found(query: str) -> list[str]:
            answer = await client.get(f"/api/v1/fires?{query}")
            assert all(set(fire) == set(ShownFire.model_fields) for fire in answer.json()["fires"])
            return [f"{fire['schedule']}{fire['fire_time'][15]}" for fire in answer.json()["fires"]]

        assert await found("") == ["b2", "a1", "a0"]
        assert await found("schedule=a") == ["a1", "a0"]
        assert await found("state=failed") == ["a1"]
        assert await found("reason=rejected&state=failed") == ["a1"]
        assert await found("reason=rejected&state=started") == []
        assert await found("since=2026-11-20T00:01:00Z") == ["b2", "a1"]
        assert await found("until=2026-11-20T01:01:00%2B01:00") == ["a0"]
        assert await found("since=0001-01-01T00:00:00%2B23:59&until=9999-12-31t23:59:60z") == ["b2", "a1", "a0"]


async def test_timeline(world: World) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    minute = (now - timedelta(hours=1)).replace(second=0)
    every = Schedule.model_validate({"name": "z", "snapshot": "x", "every": "10s"})
    ranged = Fire(
        schedule="z",
        fire_time=minute,
        state=FireState.SKIPPED,
        reason=Reason.PAUSED,
        through=minute + timedelta(seconds=50),
        rule=rule_text(every.trigger),
    )
    await journaled(world, closed("b", minute), closed("a", minute), closed("a", now - timedelta(days=2)), ranged)
    async with world.client() as client:
        answer = (await client.get("/api/v1/timeline")).json()
        again = (await client.get("/api/v1/timeline")).json()
    shown = Timeline.model_validate(answer)
    assert again == answer, "counted once a minute"
    (past,) = shown.past
    assert (past.minute, past.count, past.schedules) == (minute, 8, ("a", "b", "z"))
    assert past.states == {FireState.STARTED: 2, FireState.SKIPPED: 6}
    assert sum(one.count for one in shown.future) in (24, 25)
    assert {one.schedules for one in shown.future} >= {("hourly",)}
    assert (shown.complete, shown.counted_until) == (True, shown.now + timedelta(hours=24))


async def test_a_fire_by_hand_makes_a_run(world: World) -> None:
    async with world.client() as client:
        answer = await client.post("/api/v1/schedules/nightly/fire", headers=BEARER)
        assert answer.status_code == 202
        assert answer.json() == {**answer.json(), "schedule": "nightly", "manual": True, "state": "claimed"}
        async with asyncio.timeout(10):
            while True:
                (fire,) = (await client.get("/api/v1/fires?schedule=nightly")).json()["fires"]
                if fire["state"] == "started":
                    break
                await asyncio.sleep(0.05)
        assert fire["run_name"] == answer.json()["run_name"]
        refused(await client.post("/api/v1/schedules/nightl/fire", headers=BEARER), 404, "did you mean nightly?")


async def test_pause_and_resume(world: World) -> None:
    path = "/api/v1/schedules/hourly"
    later = "2999-01-01T00:00:00+01:00"
    async with world.client() as client:
        answer = await client.post(f"{path}/pause", headers=BEARER, json={"note": "on holiday", "until": later})
        assert answer.json() == {**answer.json(), "note": "on holiday", "until": "2998-12-31T23:00:00Z"}
        shown = (await client.get(path)).json()
        assert (shown["state"], shown["paused"]) == ("paused", answer.json())
        assert (await client.post(f"{path}/resume", headers=BEARER)).status_code == 200
        refused(await client.post(f"{path}/resume", headers=BEARER), 409, "is not paused")
        assert (await client.post(f"{path}/pause", headers=BEARER)).json()["until"] is None
        refused(
            await client.post(f"{path}/pause", headers=BEARER, json={"until": "2020-01-01T00:00:00Z"}), 409, "future"
        )
        bodies: tuple[object, ...] = (
            {"notes": "x"},
            {"note": 5},
            {"until": 5},
            {"until": "soon"},
            {"note": "x" * 1001},
            [],
            "x",
        )
        for body in bodies:
            refused(await client.post(f"{path}/pause", headers=BEARER, json=body), 422, "body")
        refused(
            await client.post(f"{path}/pause", headers={**BEARER, "Content-Type": "application/json"}, content=b"{"),
            422,
            "no JSON",
        )
        half = rb'{"note": "\ud800"}'
        answer = await client.post(
            f"{path}/pause", headers={**BEARER, "Content-Type": "application/json"}, content=half
        )
        assert answer.status_code in (200, 422)


async def test_reload(world: World) -> None:
    async with world.client() as client:
        world.write({"nightly": NIGHTLY})
        answer = await client.post("/api/v1/reload", headers=BEARER)
        assert answer.json()["changes"] == {"added": 0, "changed": 0, "removed": 2, "unchanged": 1}
        world.write({"nightly": {**NIGHTLY, "crn": "x"}})
        shown = refused(await client.post("/api/v1/reload", headers=BEARER), 409, "1 problem in the schedule files")
        (problem,) = shown.problems
        assert problem.file.endswith("a.yaml")
        assert (problem.line, problem.excerpt) == (10, '      "crn": "x"')
        assert "did you mean cron?" in problem.message + problem.remedy
        first, second = (await client.get("/api/v1/reloads")).json()["reloads"]
        assert (first["applied"], second["applied"]) == (False, True)
        assert first["problems"] == [problem.model_dump(mode="json")]


async def test_a_journal_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.client() as client:
        with closing(sqlite3.connect(world.folder / "state" / "journal.db")) as database:
            database.execute("ALTER TABLE fires RENAME COLUMN state TO gone")
        refused(await client.get("/api/v1/fires"), 503, "the journal cannot be used")

        def burst() -> Status:
            raise RuntimeError(f"a fault with {TOKEN}")

        monkeypatch.setattr(world.operations, "status", burst)
        answer = await client.get("/api/v1/status")
        assert TOKEN not in refused(answer, 500, "log").model_dump_json()


async def test_health_means_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.client(host="anything.example") as client:
        assert (await client.get("/healthz")).json() == {"ok": True, "reason": None}
        assert (await client.get("/readyz")).json() == {"ok": True, "reason": None}

        async def full() -> None:
            raise JournalError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(world.journal, "check", full)
            world.journal.writable = False
            answer = await client.get("/healthz")
            assert (answer.status_code, answer.json()["reason"]) == (503, "the disk is full")
        assert (await client.get("/healthz")).status_code == 200, "it was tried anew"
        file = world.folder / "state" / "journal.db"
        file.rename(file.with_name("away.db"))
        world.daemon._journal_checked = float("-inf")
        answer = await client.get("/healthz")
        assert answer.status_code == 503
        assert "deleted or moved away" in answer.json()["reason"]
        file.with_name("away.db").rename(file)
        assert (await client.get("/healthz")).status_code == 200
        world.daemon._in_force_since = float("-inf")
        monkeypatch.setattr(type(world.operations._engine), "beat", clock.monotonic() - 11)
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "the engine's loop does not turn")


async def test_while_it_starts_and_stops(tmp_path: Path) -> None:
    async with running(tmp_path, {}, ready=False) as world, world.client() as client:
        assert (await client.get("/healthz")).status_code == 200
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "the daemon is starting")
        answer = await client.get("/api/v1/status")
        refused(answer, 503, "the daemon is starting")
        assert answer.headers["retry-after"]
        refused(await client.post("/api/v1/reload", headers=BEARER), 503)
        world.daemon._in_force_since = 0.0
        world.daemon._stop.set()
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/api/v1/reloads")).status_code == 200
        refused(await client.post("/api/v1/reload", headers=BEARER), 503, "the daemon is stopping")


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_browser_that_comes_too_early_gets_a_page_that_asks_again(tmp_path: Path) -> None:
    async with running(tmp_path, {}, ready=False) as world, world.client() as client:
        for path in ("/", "/schedules/nightly", "/timeline", "/reloads"):
            answer = await client.get(path, headers=BROWSER)
            assert (answer.status_code, answer.headers["refresh"], answer.headers["retry-after"]) == (503, "2", "2")
            assert answer.headers["content-type"].startswith("text/html")
            assert "A moment: the daemon is starting" in answer.text
            assert "<script" not in answer.text
            refused(await client.get(path), 503, "the daemon is starting")  # the page's own script says it
        refused(await client.get("/api/v1/status", headers=BROWSER), 503, "the daemon is starting")
        assert (await client.get("/static/zendaemon.css")).status_code == 200
        world.daemon._in_force_since = 0.0
        answer = await client.get("/", headers=BROWSER)
        assert (answer.status_code, "refresh" in answer.headers) == (200, False)
        assert "is stopping" not in answer.text
        world.daemon._stop.set()
        answer = await client.get("/", headers=BROWSER)
        assert (answer.status_code, "The daemon is stopping" in answer.text) == (200, True)


async def test_without_a_token_the_pages_say_at_once_that_nothing_can_be_changed(world: World) -> None:
    for path, count in (("/", 1), ("/reloads", 1), ("/schedules/nightly", 2)):
        async with world.client(token=None) as client:
            text = (await client.get(path)).text
        assert text.count('aria-disabled="true" aria-describedby="no-token"') == count
        assert text.count('id="no-token"') == 1
        assert "ZENDAEMON_HTTP_TOKEN_FILE" in text
        async with world.client() as client:
            text = (await client.get(path)).text
        assert "aria-disabled" not in text
        assert "no-token" not in text


async def test_a_page_lists_the_runs_that_a_fire_had_before_its_last_one(world: World) -> None:
    first = replace(closed("nightly", BEGIN), run_id="r1", run_name="nightly-x", run_status="failed")
    second = replace(again(first, BEGIN), state=FireState.STARTED, run_id="r2", run_status="failed", retry_at=BEGIN)
    await journaled(world, second)
    async with world.client() as client:
        text = (await client.get("/schedules/nightly")).text
        (shown,) = (await client.get("/api/v1/fires?limit=1")).json()["fires"]
    assert f"after {first.run_name}, failed" in text
    assert f"{first.run_name}-r1" in text
    assert "runs again" in text
    assert [run["run_name"] for run in shown["earlier_runs"]] == [first.run_name]


OUTSIDE = (
    "../app.py", "..%2fapp.py", "%2e%2e/app.py", "..%5capp.py", "/etc/passwd", "%2fetc%2fpasswd", "x%00.css", "",
    "../templates/base.html", "." * 3000,
)  # fmt: skip


async def test_no_file_but_the_static_ones_is_served(world: World) -> None:
    async with world.client() as client:
        for path in OUTSIDE:
            url = httpx.URL("http://127.0.0.1:8787/", raw_path=f"/static/{path}".encode())
            assert (await client.get(url)).status_code == 404, path


ODD = (
    "/schedules/nightly?before=0001-01-01T00:00:00%2B14:00", "/schedules/nightly?before=9999-12-31T23:59:59-14:00",
    "/schedules/nightly?before=2026-11-23", "/schedules/nightly?state=%00", "/?search=" + "%F0%9F%92%A5" * 300,
    "/?" + "a=b&" * 3000, "/?page=%D9%A1",
)  # fmt: skip


async def test_no_address_of_a_page_is_too_odd(world: World) -> None:
    async with world.client() as client:
        for path in ODD:
            answer = await client.get(path, headers=BROWSER)
            assert (answer.status_code, "nightly" in answer.text) == (200, True), path
        answer = await client.get("/?search=%ff%00%ed%a0%80&tag=%00", headers=BROWSER)
        assert (answer.status_code, "No schedule is like that" in answer.text) == (200, True)
        for name in ("%00", "%ff%ed%a0%80", "a%2f..%2fb", "<script>", "n" * 5000):
            answer = await client.get(f"/schedules/{name}", headers=BROWSER)
            assert answer.status_code == 404
            assert "<script>" not in answer.text


async def test_openapi_tells_every_endpoint_and_loads_nothing_from_elsewhere(world: World) -> None:
    async with world.client() as client:
        schema = (await client.get("/api/v1/openapi.json")).json()
        for page in ("/docs", "/redoc"):
            assert (await client.get(page)).status_code == 404
    assert {(path, method) for path, item in schema["paths"].items() for method in item} == {
        ("/api/v1/status", "get"),
        ("/api/v1/schedules", "get"),
        ("/api/v1/schedules/{name}", "get"),
        ("/api/v1/fires", "get"),
        ("/api/v1/timeline", "get"),
        ("/api/v1/reloads", "get"),
        ("/api/v1/schedules/{name}/fire", "post"),
        ("/api/v1/schedules/{name}/pause", "post"),
        ("/api/v1/schedules/{name}/resume", "post"),
        ("/api/v1/reload", "post"),
    }
    for item in schema["paths"].values():
        for method, operation in item.items():
            assert operation.get("security") == (None if method == "get" else [{"token": []}])
            assert {"200", "202"} & set(operation["responses"])


# Who may do what


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:8787"}, 421),
        ({"Host": "192.0.2.1:8787"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:9999"}, 200),
        ({"Host": "[::1]:8787"}, 200),
        ({"Host": "proxy.example"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8787"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
    ],
)
async def test_hosts_and_origins(world: World, headers: dict[str, str], status: int) -> None:
    async with world.client(hosts=frozenset({"proxy.example"})) as client:
        answer = await client.get("/api/v1/reloads", headers=headers)
        assert answer.status_code == status
        given = {**BEARER, **headers}
        if status != 200:
            refused(answer, status)
            refused(await client.post("/api/v1/reload", headers=given), status)


async def test_every_post_needs_the_token(world: World) -> None:
    async with world.client() as client:
        answer = await client.post("/api/v1/reload")
        refused(answer, 401, "token")
        assert answer.headers["www-authenticate"] == 'Bearer realm="zendaemon"'
        for wrong in ("Bearer nonsense", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer é"):
            given = [(b"Authorization", wrong.encode())]
            refused(await client.post("/api/v1/reload", headers=given), 401, "wrong")
        assert (await client.post("/api/v1/reload", headers=BEARER)).status_code == 200
        refused(await client.post("/api/v1/reload", headers={**BEARER, "Origin": "http://evil.example"}), 403)
    async with world.client(token=None) as client:
        refused(await client.post("/api/v1/reload", headers=BEARER), 403, "ZENDAEMON_HTTP_TOKEN_FILE")
        assert (await client.get("/api/v1/reloads")).status_code == 200


async def test_beyond_loopback_reading_needs_the_token_too(world: World) -> None:
    async with world.client(BEYOND, host="192.0.2.1:8787") as client:
        for path in ("/api/v1/status", "/api/v1/openapi.json", "/metrics", "/", "/static/x"):
            answer = await client.get(path)
            refused(answer, 401)
            assert "Basic" in answer.headers["www-authenticate"]
        assert (await client.get("/api/v1/status", headers=BEARER)).status_code == 200
        assert (await client.get("/api/v1/status", auth=("anybody", TOKEN))).status_code == 200
        refused(await client.get("/api/v1/status", auth=("anybody", "wrong")), 401, "wrong")
        refused(await client.post("/api/v1/reload", auth=("anybody", TOKEN)), 401, "wrong")
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200
        schema = (await client.get("/api/v1/openapi.json", headers=BEARER)).json()
        assert schema["paths"]["/api/v1/status"]["get"]["security"] == [{"token": []}]
        refused(await client.get("/api/v1/status", headers={**BEARER, "Host": "evil.example"}), 421)


async def test_wrong_tokens_are_limited_by_address(world: World) -> None:
    async with world.client(limit=3) as client:
        for _ in range(3):
            refused(await client.post("/api/v1/reload", headers={"Authorization": "Bearer guess"}), 401)
        answer = await client.post("/api/v1/reload", headers=BEARER)
        refused(answer, 429, "too many wrong tokens")
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert (await client.get("/api/v1/reloads")).status_code == 200


async def test_wrong_tokens_are_said_once_a_minute_and_never_shown(world: World) -> None:
    with structlog.testing.capture_logs() as said:
        async with world.client(limit=3) as client:
            for _ in range(5):
                await client.post("/api/v1/reload", headers={"Authorization": "Bearer guessed-by-somebody"})
            await client.post("/api/v1/reload")
    event = {"event": "http.refused", "log_level": "warning", "sender": "192.0.2.7", "reason": "the token is wrong"}
    assert said == [event]


async def test_however_many_ask_for_health_the_journal_is_read_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def slow() -> Health:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.1)
        return Health(ok=True)

    monkeypatch.setattr(world.operations, "health", slow)
    async with world.client() as client:
        answers = await asyncio.gather(*(client.get("/healthz") for _ in range(20)))
        assert ({answer.status_code for answer in answers}, looks) == ({200}, 1)
        await client.get("/healthz")
        assert looks == 2


async def test_bodies_are_bounded_and_json(world: World) -> None:
    path = "/api/v1/schedules/hourly/pause"
    async with world.client() as client:
        refused(await client.post(path, headers=BEARER, content=b'{"note": "x"}'), 415, "Content-Type")
        refused(await client.post(path, headers=BEARER, data={"note": "x"}), 415)
        refused(await client.post(path, headers=BEARER, json={"note": "x" * BODY_BYTES}), 413)
        twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")]
        refused(await client.post(path, headers=twice), 400)
        assert (await client.get("/api/v1/schedules/hourly")).json()["paused"] is None


# The server


async def test_an_address_in_use_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RETRY_SECONDS", 0.05)
    taken = serving.listen(Address("127.0.0.1", 0))
    address = Address("127.0.0.1", taken.getsockname()[1])
    app = create_app(world.operations, Access(address, None, clock.monotonic))
    server = serving.WebServer(app, address)
    server.start()
    try:
        await asyncio.sleep(0.2)
        taken.close()
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(10):
            while True:
                with suppress(httpx.TransportError):
                    answer = await client.get(f"http://{address}/healthz")
                    break
                await asyncio.sleep(0.05)
        assert answer.status_code == 200
        assert "server" not in answer.headers
    finally:
        await server.stop()


async def test_connections_and_heads_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(serving, "CONNECTIONS", 2)
    probe = serving.listen(Address("127.0.0.1", 0))
    address = Address("127.0.0.1", probe.getsockname()[1])
    probe.close()
    server = serving.WebServer(create_app(world.operations, Access(address, None, clock.monotonic)), address)
    server.start()
    try:
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            slow, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            other, second = await asyncio.open_connection(address.host, address.port)
            third, surplus = await asyncio.open_connection(address.host, address.port)
            with suppress(ConnectionError):
                assert await third.read() == b"", "one too many is closed"
            with suppress(ConnectionError):
                assert await slow.read() == b"", "a head that does not come is given up"
            second.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n")
            with suppress(ConnectionError):
                assert (await other.read()).startswith((b"HTTP/1.1 400", b""))
            for each in (writer, second, surplus):
                each.close()
    finally:
        await server.stop()


async def test_who_does_not_read_the_answer_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(serving, "CONNECTIONS", 1)
    probe = serving.listen(Address("127.0.0.1", 0))
    address = Address("127.0.0.1", probe.getsockname()[1])
    probe.close()
    server = serving.WebServer(create_app(world.operations, Access(address, None, clock.monotonic)), address)
    server.start()
    try:
        await asyncio.sleep(0.2)
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((address.host, address.port))
            deaf.sendall(b"GET /static/zendaemon.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 400)
            async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
                while True:
                    with suppress(httpx.TransportError):
                        assert (await client.get(f"http://{address}/healthz")).status_code == 200
                        break
                    await asyncio.sleep(0.05)
    finally:
        await server.stop()
