"""Alerts from the parts to channels: routing, the journal between, delivery to a real web server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook
from standin.receivers import Hook, Mailbox
from structlog.testing import capture_logs

from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.channel import Channel
from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.core.schedule import Schedule
from zendaemon.journal import Journal
from zendaemon.metrics import Metrics
from zendaemon.notify.alarms import Alarms
from zendaemon.notify.delivery import Delivery
from zendaemon.notify.sending import Undelivered, Web, sender, through_apprise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

BEGIN = datetime(2026, 11, 23, 2, tzinfo=UTC)
SECRET = "whsec_c2VjcmV0LW9mLWEtdGVzdC10aGF0LWlzLWxvbmc="


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


class World:
    """Channels `one`, `two` and `quiet` (no default, failures only), all at one receiver, and a clock of their own."""

    def __init__(self, folder: Path, hook: Hook, **schedules: Any) -> None:  # noqa: ANN401 - `notify` as in a file
        (folder / "secret").write_text(SECRET)
        self.url = f"sqlite:///{folder / 'journal.db'}"
        self.path = folder / "journal.db"
        self.now = BEGIN
        self.hook = hook
        self.metrics = Metrics()
        own: dict[str, dict[str, Any]] = {"one": {}, "two": {}, "quiet": {"default": False, "on": ["failed"]}}
        self.channels = {
            name: Channel.model_validate(
                {"webhook": f"{hook.url}/{name}", "secret_file": str(folder / "secret"), **given}
            )
            for name, given in own.items()
        }
        self.schedules = {
            name: Schedule.model_validate({"name": name, "snapshot": "x", "every": "1h", "notify": notify})
            for name, notify in schedules.items()
        }

    @asynccontextmanager
    async def alarms(self) -> AsyncIterator[Alarms]:
        journal, web = Journal.open(self.url), Web()
        deliveries = {}
        for name, channel in self.channels.items():
            send = sender(name, channel, web, lambda: datetime.now(UTC), {"host": "here"})
            deliveries[name] = Delivery(name, send, journal, now=lambda: self.now, webhook=True)
            deliveries[name].observer = self.metrics
        made = Alarms(self.channels, deliveries, journal, schedules=lambda: self.schedules, now=lambda: self.now)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.close()
            await web.close()
            await journal.close()

    def taken(self) -> list[tuple[str, str, str]]:
        """Channel, kind and title of what arrived."""
        found = []
        for post in self.hook.taken:
            Webhook(SECRET).verify(post.body, post.headers)
            data = json.loads(post.body)["data"]
            found.append((post.path[1:], data["kind"], data["title"]))
        return sorted(found)

    def counted(self, channel: str, outcome: str) -> float:
        samples = [sample for family in self.metrics.registry.collect() for sample in family.samples]
        wanted = {"channel": channel, "outcome": outcome}
        return sum(
            s.value for s in samples if s.name == "zendaemon_messages_total" and wanted.items() <= s.labels.items()
        )

    def waiting(self) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute("select count(*) from messages").fetchone()[0])


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110 - other threads are waited for
            await asyncio.sleep(0.02)


def fire(name: str, state: FireState = FireState.FAILED, **more: Any) -> Fire:  # noqa: ANN401 - fields of a fire
    given: dict[str, Any] = {"reason": Reason.REJECTED, "message": "no", "decided_at": BEGIN, **more}
    return Fire(schedule=name, fire_time=BEGIN, state=state, **given)


ROUTES: dict[str, tuple[Any, set[str]]] = {
    "nothing is said": (None, {"one", "two"}),
    "a list": (["one", "quiet"], {"one", "quiet"}),
    "a name": ("quiet", {"quiet"}),
    "its kinds": ({"one": ["failed"], "two": "run_failed"}, {"one"}),
    "kinds of its own go before those of the settings": ({"quiet": ["run_failed"], "one": ["failed"]}, {"one"}),
    "nobody": ([], set()),
    "an unknown one": (["tow"], {"one", "two"}),
    "an unknown one beside another": (["tow", "quiet"], {"one", "two", "quiet"}),
}


@pytest.mark.parametrize("name", ROUTES)
async def test_a_schedule_names_its_channels(tmp_path: Path, hook: Hook, name: str) -> None:
    notify, expected = ROUTES[name]
    world = World(tmp_path, hook, nightly=notify)
    async with world.alarms() as alarms:
        alarms.closed(fire("nightly"))
        alarms.tell(Alert(kind=AlertKind.RELOAD_REFUSED, at=BEGIN, text="no"))
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: len(hook.taken) == len(expected) + 2)
        await until(lambda: not world.waiting())
    title = "1 fire failed: nightly"
    daemons = [(channel, "reload_refused", "1 reload was refused") for channel in ("one", "two")]
    assert world.taken() == sorted([*((channel, "failed", title) for channel in expected), *daemons])


FIRES: dict[str, tuple[list[Fire], list[str]]] = {
    "failed": ([fire("nightly")], ["failed"]),
    "missed": ([fire("nightly", FireState.MISSED, reason=Reason.CATCHUP_NONE)], ["missed"]),
    "skipped": ([fire("nightly", FireState.SKIPPED, reason=Reason.OVERLAP)], []),
    "removed": ([fire("nightly", FireState.MISSED, reason=Reason.REMOVED)], []),
    "started": ([fire("nightly", FireState.STARTED, reason=None)], []),
    "a later one is started": ([fire("nightly"), fire("nightly", FireState.STARTED, reason=None)], ["failed"]),
}


@pytest.mark.parametrize("name", FIRES)
async def test_a_fire_that_came_to_nothing_is_told(tmp_path: Path, hook: Hook, name: str) -> None:
    fires, expected = FIRES[name]
    world = World(tmp_path, hook, nightly=["one"])
    async with world.alarms() as alarms:
        for each in fires:
            alarms.closed(each)
        alarms.tell(Alert(kind=AlertKind.RELOAD_REFUSED, at=BEGIN, text="no"))
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: len(hook.taken) == len(expected) + 2)
    assert [kind for channel, kind, _ in world.taken() if channel == "one"] == [*expected, "reload_refused"]


RUN = fire("nightly", FireState.STARTED, reason=None, run_id="r1", run_name="nightly-x", message="a step failed")
RUNS: dict[str, tuple[list[Fire], list[str]]] = {
    "failed": ([replace(RUN, run_status="failed")], ["run_failed"]),
    "cancelled": ([replace(RUN, run_status="cancelled")], []),
    "stopped": ([replace(RUN, run_status="stopped")], []),
    "completed": ([replace(RUN, run_status="completed")], []),
    "another follows": ([replace(RUN, run_status="failed", retry_at=BEGIN)], []),
}


@pytest.mark.parametrize("name", RUNS)
async def test_a_run_that_failed_for_good_is_told(tmp_path: Path, hook: Hook, name: str) -> None:
    runs, expected = RUNS[name]
    world = World(tmp_path, hook, nightly=["one"])
    async with world.alarms() as alarms:
        for each in runs:
            alarms.ended(each)
        alarms.tell(Alert(kind=AlertKind.RELOAD_REFUSED, at=BEGIN, text="no"))
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: len(hook.taken) == len(expected) + 2)
    assert [kind for channel, kind, _ in world.taken() if channel == "one"] == sorted([*expected, "reload_refused"])


async def test_what_recovers_is_told_once(tmp_path: Path, hook: Hook) -> None:
    world = World(tmp_path, hook, nightly=["one"])
    async with world.alarms() as alarms:
        alarms.ended(replace(RUN, run_status="failed"))
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: len(hook.taken) == 1)
        for _ in range(3):
            alarms.ended(replace(RUN, run_status="completed"))
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: len(hook.taken) == 2)
        await asyncio.sleep(1.2)
    assert [title for _, _, title in sorted(world.taken())] == [
        "well again: nightly (1 run failed)",
        "1 run failed: nightly",
    ]


async def test_a_channel_that_fails_is_visible_and_tried_again_with_the_same_id(tmp_path: Path, hook: Hook) -> None:
    world = World(tmp_path, hook, nightly=["one"])
    hook.answers = [500, 302]
    with capture_logs() as logs:
        async with world.alarms() as alarms:
            alarms.closed(fire("nightly"))
            await asyncio.sleep(0.1)
            world.now += timedelta(seconds=10)
            await until(lambda: alarms.shown()[0].failing_since)
            assert (alarms.shown()[0].waiting, world.waiting()) == (1, 1)
            await until(lambda: hook.taken)
            await until(lambda: not world.waiting())
            shown = alarms.shown()[0]
    assert (shown.failing_since, shown.error, shown.waiting) == (None, None, 0)
    assert shown.delivered_at == world.now
    assert [post.status for post in hook.posts] == [500, 302, 204]
    assert len({post.headers["webhook-id"] for post in hook.posts}) == 1
    said = [(line["event"], line.get("error")) for line in logs if line["event"].startswith("notify.")]
    assert said == [
        ("notify.failed", "the answer was 500"),
        ("notify.failed", "the answer was 302"),
        ("notify.back", None),
        ("notify.sent", None),
    ]
    assert (world.counted("one", "failed"), world.counted("one", "delivered")) == (2, 1)


async def test_a_message_is_given_up_after_a_day_and_that_is_said(tmp_path: Path, hook: Hook) -> None:
    world = World(tmp_path, hook, nightly=["one"])
    hook.otherwise = 503
    async with world.alarms() as alarms:
        alarms.closed(fire("nightly"))
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: len(hook.posts) == 1)
    world.now += timedelta(days=1, seconds=1)
    with capture_logs() as logs:
        async with world.alarms():
            await until(lambda: not world.waiting())
    (lost,) = [line for line in logs if line["event"] == "notify.lost"]
    assert (lost["channel"], lost["title"]) == ("one", "1 fire failed: nightly")
    assert world.counted("one", "lost") == 1


async def test_messages_of_a_channel_that_is_gone_are_said_to_be_lost(tmp_path: Path, hook: Hook) -> None:
    world = World(tmp_path, hook, nightly=["one"])
    hook.otherwise = 503
    async with world.alarms() as alarms:
        alarms.closed(fire("nightly"))
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: hook.posts)
    del world.channels["one"]
    with capture_logs() as logs:
        async with world.alarms():
            await until(lambda: not world.waiting())
    assert [line["channel"] for line in logs if line["event"] == "notify.lost"] == ["one"]


async def test_what_happened_in_the_last_second_is_told_after_a_stop(tmp_path: Path, hook: Hook) -> None:
    world = World(tmp_path, hook, nightly=["one"])
    async with world.alarms() as alarms:
        await asyncio.sleep(0.1)
        alarms.closed(fire("nightly"))
    assert not hook.posts
    world.now += timedelta(seconds=60)
    async with world.alarms():
        await until(lambda: hook.taken)
    assert world.taken() == [("one", "failed", "1 fire failed: nightly")]


async def test_a_secret_that_is_gone_is_an_error_of_the_channel(tmp_path: Path, hook: Hook) -> None:
    world = World(tmp_path, hook, nightly=["one"])
    async with world.alarms() as alarms:
        (tmp_path / "secret").rename(tmp_path / "moved")
        alarms.closed(fire("nightly"))
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: alarms.shown()[0].error)
        assert "cannot read the secret of channel one" in (alarms.shown()[0].error or "")
        assert not hook.posts
        (tmp_path / "moved").rename(tmp_path / "secret")
        await until(lambda: hook.taken)


async def test_what_looks_like_a_secret_is_blanked_out(tmp_path: Path, hook: Hook) -> None:
    world = World(tmp_path, hook, nightly=["one"])
    async with world.alarms() as alarms:
        alarms.closed(
            fire("nightly", message="no access with ZENKEY_abcdef at https://somebody:pa55word@zenml.example.com")
        )
        await asyncio.sleep(0.1)
        world.now += timedelta(seconds=10)
        await until(lambda: hook.taken)
    text = json.loads(hook.taken[0].body)["data"]["alerts"][0]["text"]
    assert text == "no run, rejected: no access with *** at https://***@zenml.example.com"


async def test_apprise_says_why_without_the_url() -> None:
    with Mailbox() as mailbox:
        order = {"title": "a title", "body": "a text", "type": "failure"}
        await through_apprise({**order, "url": mailbox.url})
        assert mailbox.subjects == ["a title"]
    secret = "mailto://someone:pa55word-1@127.0.0.1:9/?from=a@example.org&to=token-2@example.org"
    for url in (secret, "nonsense-with-token-3"):
        with pytest.raises(Undelivered) as failure:
            await through_apprise({**order, "url": url})
        assert not {part for part in ("pa55word-1", "token-2", "token-3") if part in str(failure.value)}
        assert str(failure.value)
