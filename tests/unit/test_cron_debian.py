"""Cron beside Debian's own: the binary of the package was run over changes of the clock and its starts were recorded.

The record is data/debian_cron.tsv; data/record_debian_cron.py made it and says how. Differences that are meant are
listed here, and explained in docs/decisions/0013-cron-oracles.md.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby
from pathlib import Path

import pytest

from zendaemon.core.cron import Cron
from zendaemon.core.errors import CronError

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Case:
    kind: str
    zone: str
    start: datetime
    end: datetime
    expression: str
    seconds: tuple[int, ...]

    @property
    def group(self) -> str:
        return f"{self.zone}, {self.kind}"

    @property
    def minutes(self) -> list[datetime]:
        """When the job was started, to the minute: a rule that makes up for several times does so within one."""
        return sorted({self.start + second // 60 * MINUTE for second in self.seconds})

    @property
    def ours(self) -> list[datetime]:
        cron, found, at = Cron(self.expression, self.zone), [], self.start
        while (later := cron.next_after(at)) is not None and later <= self.end:
            found.append(later)
            at = later
        return found


def read() -> list[Case]:
    cases = []
    for line in (Path(__file__).parent / "data/debian_cron.tsv").read_text().splitlines():
        if not line.startswith("#"):
            kind, zone, start, end, expression, steps = line.split("\t")
            counted = (step.partition("*") for step in steps.split())
            seconds = accumulate(int(step) for step, _, count in counted for _ in range(int(count or 1)))
            instants = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
            cases.append(Case(kind, zone, *instants, expression, tuple(seconds)))
    return cases


CASES = read()
PARSED = [case for case in CASES if case.kind.startswith("parse")]
CROWDED = [case for case in CASES if case.kind.startswith("crowded")]
FIRED = [case for case in CASES if case.kind.startswith(("change", "calm", "calendar"))]
GROUPS = {group: list(cases) for group, cases in groupby(FIRED, key=lambda case: case.group)}

# What Debian's cron loads by accident: it never fires, or fires otherwise than it reads.
ACCIDENTS = {
    "0-59/2/3 * * * *": "what follows is junk that it does not read",
    "*5 * * * *": "the same",
    "1-5-7 * * * *": "the same",
    "0 22-4 * * *": "never fires",
    "50-10 * * * *": "the same",
    "* * * * fri-sun": "the same",
    "* * * * 5-0": "the same",
    "* * * * 7-3": "the same",
    "* * * nov-feb *": "the same",
    "1-5,30-20 * * * *": "never fires from 30 on",
    "0 0 30 2 *": "never fires: there is no such day",
    "0 0 31 2,4,6,9,11 *": "the same",
    "@reboot": "is no time",
}
# What Debian's cron refuses, or reads as junk after a value, and zendaemon has.
BEYOND = {"* * L * *", "* * 15W * *", "* * * * 5L", "* * * * 5#2", "H * * * *", "@Daily"}


def test_the_record_is_large_enough_to_mean_something() -> None:
    zones = {case.zone for case in CASES}
    assert {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Europe/Dublin", "Africa/Casablanca"} <= zones
    assert {"Africa/Cairo", "Asia/Beirut", "Pacific/Apia", "Antarctica/Casey", "Asia/Kathmandu", "UTC"} <= zones
    assert len(FIRED) > 2000
    assert len(FIRED) == sum(map(len, GROUPS.values())) == len(CASES) - len(PARSED) - len(CROWDED)
    assert sum(len(case.minutes) for case in FIRED) > 20_000


@pytest.mark.parametrize("group", GROUPS)
def test_the_fires_are_those_of_debians_cron(group: str) -> None:
    for case in GROUPS[group]:
        assert case.ours == case.minutes, case.expression


@pytest.mark.parametrize("group", GROUPS)
def test_the_next_fire_is_debians_from_wherever_it_is_asked(group: str) -> None:
    for case in GROUPS[group]:
        cron, minutes = Cron(case.expression, case.zone), case.minutes
        asked = case.start
        while asked < case.end and (place := bisect_right(minutes, asked)) < len(minutes):
            assert cron.next_after(asked) == minutes[place], (case.expression, asked)
            asked += 17 * MINUTE + timedelta(seconds=1)


@pytest.mark.parametrize("case", CROWDED, ids=lambda case: case.group)
def test_many_skipped_times_are_one_fire_where_debians_cron_takes_minutes_for_them(case: Case) -> None:
    """It starts the job for each of them, ten seconds apart; ours is one fire, at the first of these starts."""
    ours, theirs = case.ours, case.minutes
    assert set(ours) <= set(theirs)
    more = sorted(set(theirs) - set(ours))
    if more:
        change = datetime.fromisoformat(case.kind.split()[-1]).replace(tzinfo=UTC)
        assert change in ours
        assert change < more[0] <= more[-1] <= change + 6 * MINUTE


@pytest.mark.parametrize("case", PARSED, ids=lambda case: case.expression)
def test_what_debians_cron_refuses_is_refused_and_what_it_loads_fires_alike(case: Case) -> None:
    loaded = case.kind == "parse loaded"
    if case.expression in ACCIDENTS or not (loaded or case.expression in BEYOND):
        with pytest.raises(CronError):
            Cron(case.expression)
        assert loaded is (case.expression in ACCIDENTS)
    elif case.expression not in BEYOND:
        assert case.ours == case.minutes
