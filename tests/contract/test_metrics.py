"""Metrics of a daemon at work, as a scrape sees them; traces have their own file."""

from __future__ import annotations

import asyncio
import platform
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from contract.test_engine import Daemon, World, loaded, schedule, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from standin import server as standins
from standin.server import StandIn

from zendaemon import __version__, clock
from zendaemon.core.errors import JournalError
from zendaemon.core.fire import FireState
from zendaemon.core.shown import ShownChannel, ShownReload
from zendaemon.events import Observers
from zendaemon.journal import Reader
from zendaemon.metrics import Metrics
from zendaemon.operations import Operations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
ONCALL = ShownChannel(channel="oncall", kind="apprise", waiting=0, delivered_at=None, failing_since=None, error=None)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with StandIn() as server:
        yield World(tmp_path, server)


@dataclass
class Process:
    """What operations want of a daemon's process."""

    started_at: datetime
    reloads: tuple[ShownReload, ...] = ()
    healthy: bool = True
    phase: str = "running"


def watched(world: World, daemon: Daemon, *, per_schedule: bool = False) -> tuple[Metrics, Process]:
    """Metrics of a daemon, and the process that they believe it is."""
    metrics, process = Metrics(per_schedule=per_schedule), Process(world.clock())
    daemon.attempts.observer = daemon.runs.observer = Observers(metrics)
    operations = Operations(
        engine=daemon.engine,
        targets=daemon.targets,
        attempts=daemon.attempts,
        server=daemon.zenml,
        process=process,  # type: ignore[arg-type]
        reader=Reader(world.url),
    )
    operations.channels = lambda: (ONCALL,)
    metrics.expect([ONCALL.channel])
    metrics.mirror(operations, daemon.engine, daemon.targets, daemon.attempts, daemon.journal)
    return metrics, process


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample of a scrape that is not 0, as `name{label=value,...}`."""
    return {name: value for name, value in everything(metrics).items() if value}


def everything(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in parse(metrics.render()[0].decode()):
        for name, labels, value, *_ in family.samples:
            shown = ",".join(f"{label}={text}" for label, text in sorted(labels.items()) if text)
            found[f"{name}{{{shown}}}" if shown else name] = value
    return found


async def test_a_fire_is_counted_with_its_lateness_and_its_attempt(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)
        before = everything(metrics)
        assert before["zendaemon_fires_total{manual=false,state=started}"] == 0
        assert before["zendaemon_next_fire_timestamp_seconds"] % 3600 == 0
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        seen = values(metrics)
    assert seen["zendaemon_fires_total{manual=false,state=started}"] == 1
    assert seen["zendaemon_attempts_total{outcome=started}"] == 1
    assert seen["zendaemon_attempt_duration_seconds_count"] == 1
    assert 0 < seen["zendaemon_attempt_duration_seconds_sum"] < 5
    assert seen["zendaemon_fire_lateness_seconds_sum"] == pytest.approx(fire.lateness_seconds)
    assert seen["zendaemon_start_limit"] == 2
    assert seen["zendaemon_server_up"] == seen["zendaemon_journal_writable"] == 1
    assert seen["zendaemon_schedules{state=active}"] == 1
    assert seen[f"zendaemon_build_info{{python={platform.python_version()},version={__version__}}}"] == 1
    assert 0 <= everything(metrics)["zendaemon_engine_beat_age_seconds"] < 5
    assert not [name for name in seen if name.endswith("_created") or name.startswith("zendaemon_schedule_")]


async def test_plain_text_and_openmetrics_say_the_same(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)
        body, kind = metrics.render()
        assert kind.startswith("text/plain; version=0.0.4")
        names = {family.name for family in parse(body.decode())}
        body, kind = metrics.render(OPENMETRICS)
        assert kind.startswith(OPENMETRICS)
        assert body.endswith(b"# EOF\n")
        assert {family.name for family in parse_openmetrics(body.decode())} == names


OUTCOMES: list[tuple[standins.Fault, str]] = [
    (standins.NO_SLOT, "busy"),
    (standins.RESET, "uncertain"),
    (standins.Fault(409, {"detail": ["EntityExistsError", "there is such a run"]}), "name_taken"),
    (standins.Fault(422, {"detail": ["ValueError", "no"]}), "rejected"),
]


@pytest.mark.parametrize(("fault", "outcome"), OUTCOMES, ids=[outcome for _, outcome in OUTCOMES])
async def test_attempts_are_counted_by_outcome(world: World, fault: standins.Fault, outcome: str) -> None:
    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)
        world.server.script(fault)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        seen = values(metrics)
    assert seen[f"zendaemon_attempts_total{{outcome={outcome}}}"] >= 1
    reason = f",reason={fire.reason}" if fire.reason else ""
    assert seen[f"zendaemon_fires_total{{manual=false{reason},state={fire.state}}}"] == 1
    assert sum(value for name, value in seen.items() if name.startswith("zendaemon_fires_total")) == 1
    assert sum(value for name, value in seen.items() if name.startswith("zendaemon_attempts_total")) == fire.attempts
    assert "zendaemon_claims_unsettled" not in seen


async def test_a_server_that_is_away(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)
        await until(lambda: daemon.targets._checked)
        await world.server.refuse()
        daemon.wake(seconds=6)
        await until(lambda: daemon.attempts.queue.unavailable_since)
        seen = everything(metrics)
    assert seen["zendaemon_server_up"] == 0
    assert seen["zendaemon_start_limit"] == 1
    assert seen["zendaemon_fires_waiting"] + seen["zendaemon_starts_in_flight"] == 1
    assert seen["zendaemon_attempts_total{outcome=refused}"] >= 1
    assert seen["zendaemon_claims_unsettled"] == 0


async def test_claims_are_unsettled_until_the_server_has_told(world: World) -> None:
    """After an answer that was lost, and, of another process, after a crash."""

    def mute(arrival: standins.Arrival) -> standins.Fault | None:
        return standins.RESET if arrival.is_start else standins.ERROR if arrival.query.get("name") else None

    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)
        await until(lambda: daemon.targets._checked)
        world.server.draw = mute
        daemon.wake(seconds=6)
        await until(lambda: values(metrics).get("zendaemon_claims_unsettled"))
        (fire,) = world.rows
        assert fire.claimed_at is not None
        claimed_at = pytest.approx(fire.claimed_at.timestamp())
        assert values(metrics)["zendaemon_oldest_unsettled_claim_timestamp_seconds"] == claimed_at
    metrics = Metrics()
    metrics.left_behind(fire)
    assert list(metrics.unsettled.values()) == [fire.claimed_at]
    metrics.closed(replace(fire, state=FireState.FAILED))
    assert not metrics.unsettled


async def test_manual_fires_are_told_apart(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)
        _, closed = await daemon.engine.fire_now("nightly")
        await closed
        await asyncio.sleep(0.05)
        seen = values(metrics)
    assert seen["zendaemon_fires_total{manual=true,state=started}"] == 1
    assert "zendaemon_fire_lateness_seconds_count" not in seen


async def test_series_of_a_schedule_come_and_go_with_it(world: World) -> None:
    nightly, other = schedule(), schedule(name="other", cron="30 * * * *", jitter="10m")
    async with world.daemon(nightly, other) as daemon:
        metrics, _ = watched(world, daemon, per_schedule=True)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        seen = values(metrics)
        assert seen["zendaemon_schedule_fires_total{schedule=nightly,state=started}"] == 1
        last = fire.fire_time.timestamp()
        assert seen["zendaemon_schedule_last_success_timestamp_seconds{schedule=nightly}"] == last
        following = nightly.next_after(clock.now())
        assert following is not None
        assert seen["zendaemon_schedule_next_fire_timestamp_seconds{schedule=nightly}"] == following.timestamp()
        half = other.next_after(clock.now())
        assert half is not None
        due = (half + other.delay).timestamp()
        assert other.delay > timedelta()
        assert seen["zendaemon_schedule_next_fire_timestamp_seconds{schedule=other}"] == due
        await daemon.engine.apply(loaded(other))
        seen = values(metrics)
        assert not [name for name in seen if "nightly" in name]
        assert not metrics.last_started
        assert not metrics.fires_by_schedule
    async with world.daemon(nightly) as daemon:
        metrics, _ = watched(world, daemon, per_schedule=True)
        assert values(metrics)["zendaemon_schedule_last_success_timestamp_seconds{schedule=nightly}"] == last


async def test_unresolved_schedules_reloads_and_a_clock_that_jumps(world: World) -> None:
    wrong = schedule(name="wrong", snapshot="no-such")
    async with world.daemon(schedule(), wrong, schedule(name="off", enabled=False)) as daemon:
        metrics, process = watched(world, daemon)
        await until(lambda: len(daemon.targets._checked) == 2)
        at = datetime(2026, 11, 23, tzinfo=UTC)
        process.reloads = (ShownReload(at=at + timedelta(hours=1), applied=False), ShownReload(at=at, applied=True))
        world.clock.leap(hours=2)
        await until(lambda: daemon.engine.awake.jumps)
        seen = everything(metrics)
    assert seen["zendaemon_schedules_unresolved"] == 1
    assert [seen[f"zendaemon_schedules{{state={state}}}"] for state in ("active", "unresolved", "disabled")] == [
        1,
        1,
        1,
    ]
    assert seen["zendaemon_last_reload_successful"] == 0
    assert seen["zendaemon_last_reload_success_timestamp_seconds"] == at.timestamp()
    assert seen["zendaemon_clock_jumps_total"] == 1
    assert seen["zendaemon_oldest_resolve_timestamp_seconds"] > 0


async def test_a_journal_that_cannot_be_written_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)

        def broken() -> None:
            raise JournalError("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(daemon.journal._guard, "check", broken)
            with pytest.raises(JournalError):
                await daemon.journal.watermarks()
        assert everything(metrics)["zendaemon_journal_writable"] == 0
        await daemon.journal.watermarks()
        assert everything(metrics)["zendaemon_journal_writable"] == 1


async def test_runs_are_counted_when_they_end(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        world.server.runs[fire.run_name or ""]["body"]["status"] = "failed"
        daemon.runs.follow(fire, after=0)
        await until(lambda: values(metrics).get("zendaemon_runs_ended_total{status=failed}"))
    metrics.ended(replace(fire, run_status="a status of tomorrow"))
    assert values(metrics)["zendaemon_runs_ended_total{status=other}"] == 1


UNITS = {
    "_timestamp_seconds": "Unix seconds",
    "_time_seconds": "Unix seconds",
    "_seconds": "seconds",
    "_bytes": "bytes",
}


def unit(name: str) -> str:
    return next((word for suffix, word in UNITS.items() if name.removesuffix("_total").endswith(suffix)), "")


async def test_the_docs_tell_every_metric_with_its_type_its_labels_and_its_unit(world: World) -> None:
    async with world.daemon(schedule(sla={"max_runtime": "1h"})) as daemon:
        metrics, _ = watched(world, daemon, per_schedule=True)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        metrics.left_behind(fire)
        families = list(parse(metrics.render()[0].decode()))
    scraped = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels if label != "le"),
            unit(family.name),
        )
        for family in families
        if family.samples
    }
    row = r"^\| `((?:zendaemon|process)_\w+)` \| (\w+) \|([\w, ]*)\|([\w ]*)\| (.+) \|$"
    told = re.findall(row, DOC.read_text(), re.MULTILINE)
    assert {
        (name, kind, frozenset(filter(None, re.split(r"[ ,]+", labels))), of.strip())
        for name, kind, labels, of, _ in told
    } == scraped
    assert len(told) == len(families) == len(scraped)
    assert all(meaning.endswith(".") for *_, meaning in told)


class Broken(Metrics):
    """Fails whatever it is told."""

    def posting(self, fire: Any) -> None:  # noqa: ANN401
        raise RuntimeError(fire.schedule)

    posted = closed = posting  # type: ignore[assignment]


async def test_an_observer_that_fails_disturbs_neither_fires_nor_others(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world.daemon(schedule()) as daemon:
        metrics, _ = watched(world, daemon)
        daemon.attempts.observer = Observers(Broken(), metrics)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        assert fire.state is FireState.STARTED
        assert values(metrics)["zendaemon_fires_total{manual=false,state=started}"] == 1
    assert capsys.readouterr().out.count("engine.error") == 1
