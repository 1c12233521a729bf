"""A pause as tables: when it holds, which fire times it covers, and what follows from a chain of them."""

# ruff: noqa: E501, FBT001, FBT003 - a case of a table is a line, and some columns are flags
from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zendaemon.core.fire import FireState, Reason
from zendaemon.core.pause import Pause
from zendaemon.core.planning import Standing, plan, unfold
from zendaemon.core.schedule import Schedule

TICK = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-23T{text}").replace(tzinfo=UTC)


def paused(since: str, until: str | None = None) -> Pause:
    return Pause(schedule="nightly", since=at(since), until=at(until) if until else None)


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


@pytest.mark.parametrize(
    ("until", "now", "expected"),
    [
        case("without an end it holds", None, "23:00", True),
        case("before its end", "03:00", "02:59:59.999999", True),
        case("its end is not part of it", "03:00", "03:00", False),
        case("a clock set back before its beginning lifts it not", "03:00", "01:00", True),
        case("nor one without an end", None, "01:00", True),
    ],
)  # fmt: skip
def test_holds(until: str | None, now: str, expected: bool) -> None:
    assert paused("02:00", until).holds(at(now)) is expected


@pytest.mark.parametrize(
    ("pause", "delay", "due", "first", "last"),
    [
        case("from the very instant on", paused("02:00"), 0, "05:00", "02:00", "05:00"),
        case("to before its end", paused("02:00", "03:00"), 0, "05:00", "02:00", "02:59:59.999999"),
        case("an end to come", paused("02:00", "09:00"), 0, "05:00", "02:00", "05:00"),
        case("jitter counts: it is the start that is paused", paused("02:00", "03:00"), 10, "05:00", "01:50", "02:49:59.999999"),
    ],
)  # fmt: skip
def test_span(pause: Pause, delay: int, due: str, first: str, last: str) -> None:
    after, until = pause.span(timedelta(minutes=delay), at(due))
    assert (after + TICK, until) == (at(first), at(last))


@pytest.mark.parametrize(
    ("pause", "due"),
    [
        case("it begins later than what is due", paused("06:00"), "05:00"),
        case("it ended before it began, by a clock that was set back", paused("04:00", "03:00"), "05:00"),
        case("the same, and less is due", paused("04:00", "01:00"), "02:00"),
    ],
)
def test_a_span_of_nothing_leaves_all_to_the_rest(pause: Pause, due: str) -> None:
    """What is due is in (.., first] or in (last, due], and nothing is in both."""
    after, until = pause.span(timedelta(), at(due))
    assert min(at(due), after) == until


@pytest.mark.parametrize(
    ("before", "since", "undecided", "expected"),
    [
        case("one that holds is replaced without a gap", paused("02:00"), "04:00", None, "02:00"),
        case("also where it has an end", paused("02:00", "05:00"), "04:00", None, "02:00"),
        case("one that is over and decided is past", paused("02:00", "03:00"), "04:00", None, "04:00"),
        case("one that is over, and what it covers is not decided", paused("02:00", "03:00"), "04:00", "02:30", "02:00"),
        case("what waits is from before it", paused("02:00", "03:00"), "04:00", "01:00", "02:00"),
        case("what waits is from after it", paused("02:00", "03:00"), "04:00", "03:00", "04:00"),
        case("the clock was set back", paused("05:00"), "04:00", None, "04:00"),
    ],
)  # fmt: skip
def test_in_place_of(before: Pause, since: str, undecided: str | None, expected: str) -> None:
    found = paused(since, "09:00").in_place_of(before, at(undecided) if undecided else None)
    assert found == paused(expected, "09:00")


@dataclass
class Life:
    """A schedule, planned again and again while operators pause and resume it, as the engine and its journal do."""

    schedule: Schedule
    now: datetime
    watermark: datetime
    awake_since: datetime
    active: bool = False
    pause: Pause | None = None
    covered: list[Pause] = field(default_factory=list)
    rows: dict[datetime, tuple[FireState, Reason | None, bool]] = field(default_factory=dict)

    def decide(self, limit: int | None) -> None:
        standing = Standing(self.watermark, self.awake_since, claimed=self.active, pause=self.pause)
        found = plan(self.schedule, standing, self.now, limit=limit)
        for fire in (fire for row in found.fires for fire in unfold(row)):
            assert fire.fire_time not in self.rows, "decided twice"
            start = fire.fire_time + self.schedule.delay
            inside = any(p.since <= start and (p.until is None or start < p.until) for p in self.covered)
            self.rows[fire.fire_time] = fire.state, fire.reason, inside
        self.watermark = found.watermark

    def begin(self, end: int | None) -> None:
        self.decide(3)
        pause = Pause(schedule="a", since=self.now, until=self.now + timedelta(seconds=end) if end else None)
        if self.pause is not None:
            first = self.schedule.trigger.next_after(self.watermark)
            pause = pause.in_place_of(self.pause, first and first + self.schedule.delay)
            if self.pause.holds(self.now) or pause.since == self.pause.since:  # it goes on in the one in its place
                self.covered.remove(self.pause)
        self.pause = pause
        self.covered.append(pause)

    def resume(self) -> None:
        self.decide(3)
        if self.pause is not None and self.pause.holds(self.now):
            self.pause = self.cover(self.pause, self.now)

    def cover(self, pause: Pause, until: datetime) -> Pause:
        ended = Pause(schedule="a", since=pause.since, until=until)
        self.covered = [ended if one is pause else one for one in self.covered]
        return ended


STEPS = st.lists(
    st.tuples(
        st.integers(-1800, 7200),
        st.sampled_from(["look", "begin", "begin with an end", "resume", "sleep", "run begins", "run ends"]),
        st.integers(60, 9000),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["allow", "skip", "buffer_one"]),
    st.sampled_from(["none", "latest", "all"]),
    st.sampled_from(["0s", "1h"]),
    STEPS,
)
@example("allow", "none", "0s", [(5941, "begin with an end", 60), (60, "begin", 60), (-1, "resume", 60)])
def test_whatever_operators_do_each_fire_time_is_decided_once_and_none_starts_in_a_pause(
    overlap: str, catchup: str, jitter: str, steps: list[tuple[int, str, int]]
) -> None:
    begin = at("00:00")
    keys = {"every": "10m", "overlap": overlap, "catchup": catchup, "catchup_window": "2h", "jitter": jitter}
    schedule = Schedule.model_validate({"name": "a", "snapshot": "prod", **keys})
    life = Life(schedule, begin, begin, begin)
    for seconds, deed, end in steps:
        life.now += timedelta(seconds=seconds)
        life.awake_since = life.now if deed == "sleep" else min(life.awake_since, life.now)
        if deed.startswith("run"):
            life.active = deed == "run begins"
        if deed.startswith("begin"):
            life.begin(end if deed != "begin" else None)
        elif deed == "resume":
            life.resume()
        else:
            life.decide(3)
    life.now, life.active = max(life.now, life.watermark) + timedelta(hours=4), False
    for _ in range(100):
        life.decide(3)
    expected, instant = [], schedule.trigger.next_after(begin)
    while instant is not None and instant <= life.now - schedule.delay:
        expected.append(instant)
        instant = schedule.trigger.next_after(instant)
    assert sorted(life.rows) == expected
    for fire_time, (state, reason, inside) in life.rows.items():
        assert not (inside and state is FireState.CLAIMED), fire_time
        assert inside or reason is not Reason.PAUSED, fire_time
