"""The wall clock of the real daemon is set forward and back, flaps, sleeps, and passes changes of daylight saving.

libfaketime gives the daemon a wall clock of its own, which obeys a file; its monotonic clock is the real one, as in a
machine whose clock is set. The server's clock is right all the while.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import count
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGSTOP
from typing import TYPE_CHECKING, Any

import libfaketime
import pytest
from anyio.from_thread import start_blocking_portal
from process.daemon import Daemon, every_second, instant, same_runs, text_of, until
from standin.server import Fault, StandIn

from zendaemon.control import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.from_thread import BlockingPortal

Schedules = Mapping[str, Mapping[str, Any]]

LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
SOON = 2.5
"""Seconds within which due fires start after a step; about one on a machine that does nothing else."""
TARGETS = {"snapshot": {"snapshot": "training-prod"}, "build": {"pipeline": "training", "version": "45"}}
DAY = "2027-03-10"
TICKER = {"every": "1s"}
OFTEN = {"cron": "*/10 * * * *"}
NIGHTLY = {"cron": "0 2 * * *"}


class Clock:
    """A wall clock that is set at will; processes with `environment` have it."""

    def __init__(self, folder: Path, moment: str) -> None:
        self._file = folder / "clock"
        self.environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else every wait for the interpreter's lock spins
        }
        self.be(moment)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def be(self, moment: datetime | str) -> float:
        """Set it; the monotonic second when that was done."""
        return self._set((instant(moment) if isinstance(moment, str) else moment) - datetime.now(UTC))

    def step(self, **by: float) -> float:
        return self._set(self._ahead + timedelta(**by))

    def _set(self, ahead: timedelta) -> float:
        self._ahead = ahead
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.6f}\n")
        new.replace(self._file)
        return time.monotonic()


class ClockedDaemon(Daemon):
    """A daemon with a clock of its own, and `more` in its environment."""

    def __init__(self, folder: Path, server_url: str, clock: Clock, **settings: object) -> None:
        super().__init__(folder, server_url, **settings)
        self.more = clock.environment

    def _environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        return super()._environment(settings) | self.more


@dataclass(frozen=True, slots=True)
class Stage:
    """A daemon that lives by `clock` and starts runs at a server whose clock is right."""

    clock: Clock
    server: StandIn
    daemon: ClockedDaemon
    portal: BlockingPortal

    def write(self, schedules: Schedules) -> None:
        self.daemon.write({name: {**TARGETS[self.server.kind], **given} for name, given in schedules.items()})

    def start(self, schedules: Schedules) -> None:
        self.write(schedules)
        self.daemon.start()

    def reload(self, schedules: Schedules) -> None:
        self.write(schedules)
        assert ask(self.daemon.state, "reload")["ok"]

    def runs(self, name: str) -> list[str]:
        return [run for run in list(self.server.runs) if run.startswith(f"{name}-")]

    def fires(self, name: str, number: int = 2) -> None:
        """Let so many more runs of the schedule start."""
        number += len(self.runs(name))
        until(lambda: len(self.runs(name)) >= number)

    def settled(self) -> None:
        until(lambda: not self.daemon.open_claims())

    def rests(self, seconds: float = 2) -> None:
        """Nothing is decided or started for so long."""
        self.settled()
        before = len(self.daemon.history()), len(self.server.starts)
        time.sleep(seconds)
        assert (len(self.daemon.history()), len(self.server.starts)) == before

    def outcomes(self, name: str) -> dict[str, str]:
        """What became of each fire time: the reason, or the state where there is none."""
        return {row["fire_time"]: row["reason"] or row["state"] for row in self.daemon.history(name)}

    def become(self, name: str, expected: Mapping[str, str]) -> None:
        """Wait until the schedule has as many outcomes, which must be these."""
        until(lambda: len(self.outcomes(name)) >= len(expected))
        self.settled()
        assert self.outcomes(name) == expected

    def started_within(self, since: float, *names: str) -> None:
        """Assert that the runs of these names were asked for soon."""
        late = {start.config["run_configuration"]["run_name"]: start.at - since for start in list(self.server.starts)}
        print({name: round(late[name], 2) for name in names})
        assert max(late[name] for name in names) < SOON

    def gapless(self, name: str) -> None:
        """One row for every second, from the first to the last."""
        rows = self.daemon.history(name)
        assert [row["fire_time"] for row in rows] == every_second(rows)

    def check(self, *, lost: int = 0) -> None:
        """One row a fire time, one run a started row, and no start without a run but those that were lost."""
        self.settled()
        times = [(row["schedule"], row["fire_time"], row["manual"]) for row in self.daemon.history()]
        assert len(set(times)) == len(times), "two rows for a fire time"
        same_runs([row for row in self.daemon.started() if not row["manual"]], self._of_schedules())
        assert len(self.server.starts) == len(self.server.creations) + lost
        assert len(self.server.creations) == len(self.server.runs) == len(self.daemon.started())
        assert not self.daemon.events("engine.error"), self.daemon.log()
        assert not self.daemon.stray, self.daemon.log()

    def _of_schedules(self) -> list[dict[str, Any]]:
        return [run for name, run in self.server.runs.items() if "-manual-" not in name]


Staging = Callable[..., Stage]
Scene = Callable[[Staging], None]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Staging]:
    """`stage(moment, version, **settings)`: a new one, not started yet."""
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        numbers = count()

        def new(moment: str, version: str = "0.98.0", **settings: object) -> Stage:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            server = stack.enter_context(portal.wrap_async_context_manager(StandIn(version)))
            clock = Clock(folder, moment)
            daemon = ClockedDaemon(folder, server.url, clock, **settings)
            stack.callback(daemon.kill)
            return Stage(clock, server, daemon, portal)

        yield new


def play(stage: Staging, scenes: Mapping[str, Scene]) -> None:
    """Play them at once, some at a time, since most of it is waiting."""
    failures: list[Exception] = []
    with ThreadPoolExecutor(10) as pool:
        for name, done in {name: pool.submit(scene, stage) for name, scene in scenes.items()}.items():
            if isinstance(error := done.exception(), Exception):
                error.add_note(f"in the scene {name!r}")
                failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(scenes)} scenes", failures)


def of_day(outcomes: Mapping[str, str]) -> dict[str, str]:
    """Outcomes by times of DAY; "01:40..02:10" stands for every ten minutes of it."""
    found: dict[str, str] = {}
    for span, outcome in outcomes.items():
        first, _, last = span.partition("..")
        moment = instant(f"{DAY}T{first}:00Z")
        while moment <= instant(f"{DAY}T{last or first}:00Z"):
            found[text_of(moment)] = outcome
            moment += timedelta(minutes=10)
    return found


def test_set_forward_by_hours(stage: Staging) -> None:
    on = stage(f"{DAY}T01:30:01Z")
    on.start(
        {
            "all": {**OFTEN, "catchup": "all", "catchup_window": "45m"},
            "latest": OFTEN,
            "none": {**OFTEN, "catchup": "none"},
            "nightly": NIGHTLY,
            "closed": {**NIGHTLY, "catchup_window": "20m"},
            "ticker": TICKER,
        }
    )
    on.fires("ticker")
    stepped = on.clock.step(hours=1)
    assert 3599 < on.daemon.wait_for("clock.jumped")["seconds"] < 3605
    on.become("nightly", of_day({"02:00": "started"}))
    on.become("closed", of_day({"02:00": "catchup_window"}))
    on.become("all", of_day({"01:40": "catchup_window", "01:50..02:30": "started"}))
    on.become("latest", of_day({"01:40..02:20": "catchup_latest", "02:30": "started"}))
    on.become("none", of_day({"01:40..02:30": "catchup_none"}))
    on.started_within(stepped, "nightly-20270310T020000Z", "all-20270310T015000Z", "latest-20270310T023000Z")
    on.fires("ticker")

    stepped = on.clock.step(hours=6)
    on.daemon.wait_for("clock.jumped", count=2)
    window = {"01:40": "catchup_window", "01:50..02:30": "started", "02:40..07:40": "catchup_window"}
    on.become("all", of_day({**window, "07:50..08:30": "started"}))
    latest = {"01:40..02:20": "catchup_latest", "02:30": "started", "02:40..07:30": "catchup_window"}
    on.become("latest", of_day({**latest, "07:40..08:20": "catchup_latest", "08:30": "started"}))
    on.become("none", of_day({"01:40..08:30": "catchup_none"}))
    on.started_within(stepped, "all-20270310T075000Z", "all-20270310T083000Z", "latest-20270310T083000Z")
    on.fires("ticker")
    on.daemon.finish()
    on.gapless("ticker")
    on.check()


def test_a_suspend(stage: Staging) -> None:
    """The wall clock goes on while the machine sleeps; the process and its monotonic clock do not."""
    on = stage(f"{DAY}T01:30:01Z")
    on.start(
        {
            "nightly": {**NIGHTLY, "catchup_window": "6h"},
            "all": {**OFTEN, "catchup": "all", "catchup_window": "30m"},
            "none": {**OFTEN, "catchup": "none"},
            "ticker": TICKER,
        }
    )
    for times, hour in enumerate(("04", "06"), 1):
        on.fires("ticker")
        on.daemon.send(SIGSTOP)
        time.sleep(0.3)
        on.clock.be(f"{DAY}T{hour}:30:05Z")
        woken = time.monotonic()
        on.daemon.send(SIGCONT)
        assert on.daemon.wait_for("clock.jumped", count=times)["seconds"] > 3600
        until(lambda last=f"all-20270310T{hour}3000Z": last in on.server.runs)
        on.started_within(woken, *(f"all-20270310T{hour}{minute}000Z" for minute in (1, 2, 3)))
    on.become("nightly", of_day({"02:00": "started"}))
    missed = {"01:40..04:00": "catchup_window", "04:40..06:00": "catchup_window"}
    on.become("all", of_day({**missed, "04:10..04:30": "started", "06:10..06:30": "started"}))
    on.become("none", of_day({"01:40..06:30": "catchup_none"}))
    on.fires("ticker")
    on.daemon.finish()
    on.gapless("ticker")
    on.check()


def forward_by_decades(stage: Staging) -> None:
    """A machine without a battery wakes in 2000, and then hears what the time is."""
    on = stage("2000-01-01T00:00:10Z")
    on.start({"nightly": {**NIGHTLY, "catchup_window": "2d"}, "ticker": TICKER})
    on.fires("ticker")
    stepped = on.clock.be(f"{DAY}T12:00:00Z")
    until(lambda: "nightly-20270310T020000Z" in on.server.runs)
    on.started_within(stepped, "nightly-20270310T020000Z")
    on.fires("ticker")
    rows = on.daemon.history("nightly")
    assert len(rows) == (instant(f"{DAY}T02:00:00Z") - instant("1999-12-31T02:00:00Z")).days
    assert [row["state"] for row in rows] == ["missed"] * (len(rows) - 1) + ["started"]


def forward_by_seconds(stage: Staging) -> None:
    """As NTP does it: nothing is missed, and it is no sleep."""
    on = stage(f"{DAY}T12:00:00Z")
    tickers = {catchup: {**TICKER, "catchup": catchup} for catchup in ("all", "latest", "none")}
    on.start(tickers)
    for seconds in (2, 7, 0.4):
        on.fires("none", 3)
        on.clock.step(seconds=seconds)
    on.fires("none", 3)
    on.daemon.finish()
    assert not on.daemon.events("clock.jumped")
    for name in tickers:
        on.gapless(name)
        assert {row["state"] for row in on.daemon.history(name)} == {"started"}
    on.check()


def forward_and_reloaded(stage: Staging) -> None:
    """What a sleep left over is a misfire, also for a reload that comes first of all at the moment of waking."""
    on = stage(f"{DAY}T01:30:01Z")
    policies = {catchup: {**OFTEN, "catchup": catchup} for catchup in ("latest", "none")}
    on.start({**policies, "gone": {**OFTEN, "catchup": "none"}, "ticker": TICKER})
    on.fires("ticker")
    on.write({name: {**given, "description": "changed"} for name, given in policies.items()} | {"ticker": TICKER})
    on.daemon.send(SIGSTOP)
    on.clock.step(hours=1)
    on.daemon.send(SIGHUP)
    on.daemon.send(SIGCONT)
    on.daemon.wait_for("reload.applied")
    on.become("latest", of_day({"01:40..02:20": "catchup_latest", "02:30": "started"}))
    on.become("none", of_day({"01:40..02:30": "catchup_none"}))
    on.become("gone", of_day({"01:40..02:30": "catchup_none"}))
    on.daemon.finish()
    on.check()


def test_set_forward(stage: Staging) -> None:
    scenes = (forward_by_decades, forward_by_seconds, forward_and_reloaded)
    play(stage, {scene.__name__: scene for scene in scenes})


def back_by_an_hour(stage: Staging) -> None:
    """Nothing fires before the clock is where it was, whatever becomes of the daemon."""
    on = stage(f"{DAY}T12:00:00Z")
    on.start({"ticker": {**TICKER, "catchup": "none"}})
    on.fires("ticker", 3)
    on.clock.step(hours=-1)
    assert -3601 < on.daemon.wait_for("clock.jumped")["seconds"] < -3590
    on.rests()
    mark = instant(on.daemon.history()[-1]["fire_time"])
    for end in (on.daemon.stop, on.daemon.kill):
        end()
        on.daemon.start()
        behind = on.daemon.wait_for("clock.behind")
        assert (behind["schedules"], instant(behind["until"])) == (1, mark)
        on.rests()
    on.clock.be(mark - timedelta(seconds=2))
    on.fires("ticker", 3)
    on.daemon.finish()
    on.gapless("ticker")
    assert {row["state"] for row in on.daemon.history()} == {"started"}
    on.check()


def back_by_seconds(stage: Staging) -> None:
    on = stage(f"{DAY}T12:00:00Z")
    on.start({"ticker": TICKER, "by-hand": NIGHTLY})
    for times in (1, 2):
        on.fires("ticker", 3)
        for step in (-3, 0):  # by hand before the step and after it, at a second that may be the same
            assert ask(on.daemon.state, "fire", name="by-hand", wait=True)["started"]
            on.clock.step(seconds=step)
        assert -4 < on.daemon.wait_for("clock.jumped", count=times)["seconds"] < -1
    on.fires("ticker", 3)
    on.daemon.finish()
    on.gapless("ticker")
    assert len(on.daemon.started("by-hand")) == 4
    on.check()


def back_and_added(stage: Staging) -> None:
    """A new schedule has no past, so it fires at once, by a clock that is wrong; the others wait for the clock."""
    on = stage(f"{DAY}T12:00:00Z")
    on.start({"ticker": TICKER})
    on.fires("ticker", 3)
    on.clock.step(hours=-1)
    on.daemon.wait_for("clock.jumped")
    on.rests(1)
    old, new = len(on.runs("ticker")), {name: {**TICKER, "catchup": name} for name in ("all", "latest", "none")}
    on.reload({"ticker": TICKER, **new})
    assert on.daemon.wait_for("clock.behind")["schedules"] == 1
    time.sleep(4)
    for name in new:
        assert len(on.daemon.history(name)) > 2
        assert set(on.outcomes(name).values()) <= {"claimed", "started"}, f"{name}: missed, though it was awake"
    assert len(on.runs("ticker")) == old
    on.clock.step(hours=1)
    on.fires("ticker", 3)
    on.daemon.finish()
    for name in ("ticker", *new):
        on.gapless(name)
    on.check()


def back_and_begun_anew(stage: Staging, *, removed: bool) -> None:
    """The schedule's watermark is the reload, and some fire times after that have been started already."""
    on = stage(f"{DAY}T12:00:00Z")
    on.start({"ticker": TICKER, "other": NIGHTLY})
    on.fires("ticker", 5)
    on.clock.step(seconds=-4)
    if removed:
        on.reload({"other": NIGHTLY})
    on.reload({"ticker": TICKER if removed else {"every": "2s"}})
    on.fires("ticker", 2)
    on.daemon.finish()
    seconds = every_second(rows := on.daemon.history("ticker"))
    assert {row["fire_time"] for row in rows} >= {s for s in seconds if removed or int(s[-3:-1]) % 2 == 0}
    on.check()


def back_and_changed(stage: Staging, catchup: str, cron: str, moments: Iterable[str]) -> None:
    """Hours were decided when the clock was ahead, and some of their fire times come again by another trigger."""
    on = stage(f"{DAY}T01:30:01Z")
    on.start({"often": {**OFTEN, "catchup": catchup}})
    on.clock.be(f"{DAY}T02:30:05Z")
    decided = of_day({"01:40..02:30": "catchup_none" if catchup == "none" else "started"})
    on.become("often", decided)
    on.clock.be(f"{DAY}T01:31:00Z")
    on.daemon.wait_for("clock.jumped", count=2)
    on.reload({"often": {"cron": cron, "catchup": "none"}})
    for moment in moments:
        on.clock.be(instant(f"{DAY}T{moment}:00Z") - timedelta(seconds=1))
        time.sleep(2.5)
    on.check()
    outcomes = on.outcomes("often")
    assert {moment: outcomes[moment] for moment in decided} == decided
    new = of_day({"01:35..02:25" if cron.startswith("*/5") else "02:05": "any"})
    said = on.daemon.events("clock.behind")  # else the schedule began at the reload
    assert outcomes.keys() - decided.keys() == (set() if said else new.keys())


def flap(stage: Staging, *, kill: bool) -> None:
    """Two hours forward, four back, four forward: every two seconds."""
    on = stage(f"{DAY}T12:00:00Z")
    policies = {catchup: {"every": "1m", "catchup": catchup} for catchup in ("all", "latest", "none")}
    on.start({**policies, "ticker": TICKER})
    on.fires("ticker")
    for turn in range(10):
        on.clock.be(instant(f"{DAY}T12:00:00Z") + timedelta(hours=-2 if turn % 2 else 2, seconds=2 * turn))
        if kill and turn % 3 == 1:
            on.daemon.kill()
            on.daemon.start(ready=False)
        time.sleep(2)
    on.clock.be(f"{DAY}T14:01:00Z")
    on.daemon.wait_for("daemon.ready")
    on.fires("ticker")
    on.daemon.finish()
    on.gapless("ticker")
    for name in policies:
        times = [instant(row["fire_time"]) for row in on.daemon.history(name)]
        assert times == [times[0] + timedelta(minutes=number) for number in range(len(times))]
    on.check()


def test_set_back(stage: Staging) -> None:
    begun_anew, changed = back_and_begun_anew, back_and_changed
    play(
        stage,
        {
            **{scene.__name__: scene for scene in (back_by_an_hour, back_by_seconds, back_and_added)},
            "begun anew: changed": partial(begun_anew, removed=False),
            "begun anew: removed, and there again": partial(begun_anew, removed=True),
            "fires in a range": partial(
                changed, catchup="none", cron="*/5 * * * *", moments=("01:50", "02:10", "02:30")
            ),
            "a range over fires": partial(changed, catchup="all", cron="*/5 * * * *", moments=("02:30",)),
            "a range that begins at a fire": partial(changed, catchup="all", cron="5,40 * * * *", moments=("02:30",)),
            "flapping": partial(flap, kill=False),
            "flapping and killed": partial(flap, kill=True),
        },
    )


@dataclass(frozen=True, slots=True)
class Passage:
    """Moments that a daemon lives through, from seconds before each to seconds after, and all that fires meanwhile.

    `fires` has minutes after the first of the moments, by cron expression or `every`.
    """

    zone: str
    moments: tuple[str, ...]
    fires: Mapping[str, list[int]]

    def __call__(self, stage: Staging) -> None:
        begin, *_ = moments = [instant(f"{moment}:00Z") for moment in self.moments]
        on = stage(text_of(begin - timedelta(seconds=90)))
        common = {"timezone": self.zone, "catchup": "all", "catchup_window": "2d"}
        names = {f"{number}-of-them": rule for number, rule in enumerate(self.fires)}
        on.start({name: {**common, "every" if rule.isalnum() else "cron": rule} for name, rule in names.items()})
        for moment in moments:
            if moment == moments[len(moments) // 2]:
                on.daemon.kill()
                on.daemon.start()
            on.clock.be(moment - timedelta(seconds=2))
            due = sum(begin + timedelta(minutes=late) <= moment for times in self.fires.values() for late in times)
            until(lambda due=due: len(on.server.runs) >= due)
            time.sleep(1)  # for one too many
        on.settled()
        for name, rule in names.items():
            rows = on.daemon.history(name)
            assert [row["fire_time"] for row in rows] == [
                text_of(begin + timedelta(minutes=late)) for late in self.fires[rule]
            ], rule
            assert {row["state"] for row in rows} <= {"started"}
            lived = [row["lateness_seconds"] for row in rows if instant(row["fire_time"]) in moments]
            assert max(lived, default=0) < SOON
        on.check()


def around(day: str, change: int) -> tuple[str, ...]:
    """Half an hour before a change of daylight saving at this hour (UTC), the change, and twice half an hour later."""
    return (f"{day}T{change - 1:02}:30", f"{day}T{change:02}:00", f"{day}T{change:02}:30", f"{day}T{change + 1:02}:00")


SPRING = {  # the hour from 02:00 to 03:00 is not there
    "30 2 * * *": [30],
    "0,15,30 2 * * *": [30],
    "0 2,3 * * *": [30],
    "0 3 * * *": [30],
    "5 0-23 * * *": [30, 35],
    "0 4 * * *": [90],
    "*/30 2 * * *": [],
    "30 * * * *": [0, 60],
    "*/30 * * * *": [0, 30, 60, 90],
    "30m": [0, 30, 60, 90],
}
AUTUMN = {  # the hour `h` is there twice
    "30 h * * *": [0],
    "0 h * * *": [],
    "0,15,30 h * * *": [0],
    "5 0-23 * * *": [],
    "*/30 h * * *": [0, 30, 60],
    "30 * * * *": [0, 60],
    "*/30 * * * *": [0, 30, 60, 90],
    "30m": [0, 30, 60, 90],
}
PASSAGES = {
    "spring in Berlin": Passage("Europe/Berlin", around("2027-03-28", 1), SPRING),
    "spring in New York": Passage("America/New_York", around("2027-03-14", 7), SPRING),
    "autumn in Berlin": Passage(
        "Europe/Berlin",
        around("2027-10-31", 1),
        {"0 3 * * *": [90]} | {rule.replace("h", "2"): times for rule, times in AUTUMN.items()},
    ),
    "autumn in New York": Passage(
        "America/New_York",
        around("2027-11-07", 6),
        {"0 2 * * *": [90]} | {rule.replace("h", "1"): times for rule, times in AUTUMN.items()},
    ),
    "a leap day": Passage(
        "Europe/Berlin",
        ("2028-02-28T23:00", "2028-02-29T23:00"),
        {
            "0 0 29 2 *": [0],
            "0 0 L * *": [0],
            "59 23 28 2 *": [-1],
            "59 23 29 2 *": [1439],
            "@daily": [0, 1440],
            "@monthly": [1440],
            "12h": [60, 780],
        },
    ),
    "new year": Passage(
        "America/New_York",
        ("2028-01-01T05:00",),
        {
            "59 23 31 12 *": [-1],
            "59 23 L * *": [-1],
            "@yearly": [0],
            "0 0 * * sat": [0],
            "0 0 * 1 *": [0],
            "@weekly": [],
            "@hourly": [0],
        },
    ),
}


def test_the_calendar(stage: Staging) -> None:
    """Over changes of daylight saving, a leap day and new year, as design.md has it in section 6."""
    play(stage, PASSAGES)


LOST = Fault(created=True, seconds=2)
"""The run is made at once; its answer is lost two seconds later."""
NEVER_CAME = Fault(seconds=2)


@dataclass(frozen=True, slots=True)
class Lost:
    """A start without an answer, and `move` before that is known: the fire has its one run in the end, and knows it."""

    move: Callable[[Stage], object]
    fault: Fault = LOST
    version: str = "0.98.0"

    def __call__(self, stage: Staging) -> None:
        on = stage(f"{DAY}T12:00:00Z", self.version, settle_after="3s")
        on.server.script(self.fault)
        on.start({"once": {"cron": "0 13 * * *"}})
        on.clock.be(f"{DAY}T12:59:59Z")
        until(lambda: on.server.starts)
        self.move(on)
        on.settled()
        [row] = [row for row in on.daemon.history() if row["run_name"]]
        assert (row["state"], row["reason"], row["message"]) == ("started", None, None)
        on.check(lost=not self.fault.created)


def killed(on: Stage, **step: float) -> None:
    """Kill the daemon, set its clock, and start it again."""
    on.daemon.kill()
    on.clock.step(**step)
    on.daemon.start()


def asleep(on: Stage) -> None:
    """The answer is lost while the machine sleeps."""
    on.daemon.send(SIGSTOP)
    time.sleep(2)
    on.clock.step(hours=3)
    on.daemon.send(SIGCONT)


def hours_pass(on: Stage, hours: float) -> None:
    """For the server alone, as when the daemon's machine is a guest that was paused."""

    def later(_: object) -> Fault:
        date = datetime.now(UTC) + timedelta(hours=hours)
        return Fault(200, created=True, headers={"Date": format_datetime(date, usegmt=True)})

    on.server.draw = later


def off_for_two_hours(on: Stage) -> None:
    """And the clock is set back by one of them meanwhile."""
    hours_pass(on, 2)
    killed(on, hours=1)


LOSSES = {
    "back by an hour": Lost(lambda on: on.clock.step(hours=-1)),
    "back by ten seconds": Lost(lambda on: on.clock.step(seconds=-10)),
    "back by a day": Lost(lambda on: on.clock.step(days=-1)),
    "forward by ten minutes": Lost(lambda on: on.clock.step(minutes=10)),
    "forward by two hours, past the window": Lost(lambda on: on.clock.step(hours=2)),
    "asleep for three hours": Lost(asleep),
    "paused for three hours": Lost(lambda on: hours_pass(on, 3)),
    "killed": Lost(killed),
    "killed, back by an hour": Lost(partial(killed, hours=-1)),
    "killed, back by ten seconds": Lost(partial(killed, seconds=-10)),
    "killed, forward by two hours, past the window": Lost(partial(killed, hours=2)),
    "killed, off for two hours, back by one": Lost(off_for_two_hours),
    "names not unique, back by an hour": Lost(lambda on: on.clock.step(hours=-1), version="0.62.0"),
    "names not unique, killed, back by an hour": Lost(partial(killed, hours=-1), version="0.62.0"),
    "never came, back by an hour": Lost(lambda on: on.clock.step(hours=-1), NEVER_CAME),
    "never came, forward by ten minutes": Lost(lambda on: on.clock.step(minutes=10), NEVER_CAME),
    "never came, killed, back by an hour": Lost(partial(killed, hours=-1), NEVER_CAME),
}


def test_an_answer_lost_across_a_step(stage: Staging) -> None:
    play(stage, LOSSES)


def well(stage: Staging, days: int) -> None:
    """The daemon is well, says so to systemd, and tries again as soon as ever."""
    on = stage(f"{DAY}T12:00:00Z")
    address = str(on.daemon.folder)[-100:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{address}")
        systemd.settimeout(0)
        on.daemon.more |= {"NOTIFY_SOCKET": f"@{address}", "WATCHDOG_USEC": "1000000"}
        on.start({"ticker": {**TICKER, "catchup_window": "3d"}})
        on.fires("ticker")
        on.portal.call(on.server.refuse)
        on.daemon.wait_for("server.unavailable")
        on.clock.step(days=days)
        received(systemd)
        for _ in range(4):
            time.sleep(0.5)
            assert on.daemon.status()["state"] == "running"
        assert received(systemd).count(b"WATCHDOG=1") >= 2
        on.portal.call(on.server.listen)
        listening = time.monotonic()
        back = on.daemon.wait_for("server.back")
        assert time.monotonic() - listening < 10
        assert on.daemon.command("status").returncode == 0
        on.settled()
        assert on.daemon.stop() == 0
        assert time.monotonic() - listening < 20
    outcomes = set(on.outcomes("ticker").values())
    assert outcomes == ({"started"} if days < 0 else {"started", "catchup_latest"})
    on.check()
    assert 0 <= back["down_seconds"] < 60


def received(systemd: socket.socket) -> list[bytes]:
    """What the daemon has told systemd since the last time."""
    said: list[bytes] = []
    with suppress(BlockingIOError):
        while True:
            said.extend(systemd.recv(4096).splitlines())
    return said


def test_health_and_retries_by_the_other_clock(stage: Staging) -> None:
    play(stage, {"back by a day": partial(well, days=-1), "forward by a day": partial(well, days=1)})
