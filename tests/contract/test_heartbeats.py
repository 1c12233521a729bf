"""Pings of dead man's switches at a real web server: what is told when, in which order, and what a failure does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from standin.receivers import Hook
from structlog.testing import capture_logs

from zendaemon.core.errors import JournalError
from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.core.schedule import Schedule
from zendaemon.notify.heartbeats import Heartbeats, is_well
from zendaemon.notify.sending import Web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
STARTED = Fire(
    schedule="nightly",
    fire_time=NOW,
    state=FireState.STARTED,
    run_id="r1",
    run_name="nightly-x",
    run_status="running",
    decided_at=NOW,
)
KEY = STARTED.key
FAILED = replace(STARTED, run_status="failed", message="a step failed")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


@pytest.fixture
def schedules(hook: Hook) -> dict[str, Schedule]:
    given = {"snapshot": "x", "every": "1h", "heartbeat_url": f"{hook.url}/secret/nightly"}
    made = {"nightly": Schedule.model_validate({"name": "nightly", **given})}
    return made | {"deaf": Schedule.model_validate({"name": "deaf", **given, "heartbeat_url": None})}


@pytest.fixture
async def heartbeats(schedules: dict[str, Schedule]) -> AsyncIterator[Heartbeats]:
    web = Web()
    made = Heartbeats(web, schedules=lambda: schedules)
    yield made
    await web.close()


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110 - another thread is waited for
            await asyncio.sleep(0.02)


def ended(state: FireState, reason: Reason) -> Fire:
    return replace(STARTED, state=state, reason=reason, run_id=None, run_status=None, message="no")


PINGS: dict[str, tuple[str, Fire, str | None, str]] = {
    "started": ("closed", STARTED, "/start?rid=r1", ""),
    "succeeded": ("ended", replace(STARTED, run_status="completed"), "?rid=r1", ""),
    "failed": ("ended", FAILED, "/fail?rid=r1", "run nightly-x failed: a step failed"),
    "failed, another follows": ("ended", replace(FAILED, retry_at=NOW), None, ""),
    "another was started": ("run_again", replace(STARTED, run_id="r2"), "/start?rid=r2", ""),
    "another could not be": ("run_again", FAILED, "/fail?rid=r1", "run nightly-x failed: a step failed"),
    "stopped": ("ended", replace(STARTED, run_status="stopped"), None, ""),
    "no run": (
        "closed",
        ended(FireState.FAILED, Reason.REJECTED),
        f"/fail?rid={KEY}",
        "failed 2026-11-23T02:00:00Z: rejected: no",
    ),
    "missed": (
        "closed",
        ended(FireState.MISSED, Reason.CATCHUP_WINDOW),
        f"/fail?rid={KEY}",
        "missed 2026-11-23T02:00:00Z: catchup_window: no",
    ),
    "skipped": ("closed", ended(FireState.SKIPPED, Reason.OVERLAP), None, ""),
    "removed": ("closed", ended(FireState.MISSED, Reason.REMOVED), None, ""),
    "of another": ("closed", replace(STARTED, schedule="deaf"), None, ""),
    "of one that is gone": ("closed", replace(STARTED, schedule="gone"), None, ""),
}


@pytest.mark.parametrize("name", PINGS)
async def test_what_a_switch_hears(heartbeats: Heartbeats, hook: Hook, name: str) -> None:
    way, fire, path, body = PINGS[name]
    getattr(heartbeats, way)(fire)
    await until(lambda: not heartbeats._waiting)
    assert [post.path for post in hook.posts] == ([f"/secret/nightly{path}"] if path is not None else [])
    assert [post.body.decode() for post in hook.posts] == ([body] if path is not None else [])


async def test_pings_keep_their_order_and_are_tried_again(heartbeats: Heartbeats, hook: Hook) -> None:
    hook.answers = [503]
    with capture_logs() as logs:
        heartbeats.closed(STARTED)
        heartbeats.ended(replace(STARTED, run_status="completed"))
        await until(lambda: heartbeats.failing)
        assert heartbeats.failing == {"nightly": "the answer was 503"}
        await until(lambda: len(hook.taken) == 2)
        await until(lambda: not heartbeats._waiting)
    paths = [post.path.partition("nightly")[2] for post in hook.posts]
    assert paths == ["/start?rid=r1", "/start?rid=r1", "?rid=r1"]
    assert [(line["event"], line["schedule"]) for line in logs] == [
        ("heartbeat.failed", "nightly"),
        ("heartbeat.back", "nightly"),
    ]
    assert "secret" not in str(logs)
    assert heartbeats.failing == {}


async def test_a_reference_that_leads_nowhere_is_said_once(
    heartbeats: Heartbeats, schedules: dict[str, Schedule], hook: Hook
) -> None:
    given = {"name": "nightly", "snapshot": "x", "every": "1h", "heartbeat_url": "env:NO_SUCH_VARIABLE"}
    schedules["nightly"] = Schedule.model_validate(given)
    with capture_logs() as logs:
        heartbeats.closed(STARTED)
        await until(lambda: heartbeats.failing)
        await asyncio.sleep(1.5)
    (line,) = logs
    assert "NO_SUCH_VARIABLE for heartbeat_url of nightly is not set" in line["error"]
    assert not hook.posts


async def test_the_daemon_is_silent_while_it_is_not_well(hook: Hook) -> None:
    web, well = Web(), False

    async def asked() -> bool:
        return well

    heartbeats = Heartbeats(web, schedules=dict, url=lambda: f"{hook.url}/daemon")
    task = asyncio.create_task(heartbeats.run(timedelta(milliseconds=50), asked))
    await asyncio.sleep(0.5)
    assert not hook.posts
    well = True
    await until(lambda: len(hook.posts) > 2)
    assert {post.path for post in hook.posts} == {"/daemon"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await web.close()


@pytest.mark.parametrize(
    ("healthy", "writable", "well"), [(True, True, True), (False, True, False), (True, False, False)]
)
async def test_when_the_daemon_is_well(*, healthy: bool, writable: bool, well: bool) -> None:
    async def check() -> None:
        if not writable:
            raise JournalError("the disk is full")

    assert await is_well(lambda: healthy, check) is well
