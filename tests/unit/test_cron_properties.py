"""Properties of Cron: against a slow reference of Debian's main loop in all zones, and against cronsim and croniter.

`ZENDAEMON_CRON_CASES=100000` is the long form. Where the libraries are wrong, and are not asked, is in decision 13.
"""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from unit.cron_peers import CHANGES, HOURS, KNOWN, PEERS, ZONES, difference, within_patience
from unit.cron_reference import Reference, random_expression

from zendaemon.core.cron import Cron
from zendaemon.core.errors import CronError

CASES = int(os.environ.get("ZENDAEMON_CRON_CASES", "250"))
MINUTE = timedelta(minutes=1)
pytestmark = pytest.mark.timeout(300 + CASES // 50)
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Any expression, or one whose hours are those in which clocks change."""
    chance = random.Random(draw(st.integers(0, 2**48)))  # noqa: S311 - no secret
    expression = random_expression(chance)
    if draw(st.booleans()):
        fields = expression.split()
        fields[1] = draw(st.sampled_from(HOURS))
        if draw(st.booleans()):
            fields[2:] = "***"
        expression = " ".join(fields)
    return expression


@st.composite
def instants(draw: st.DrawFn) -> datetime:
    near = draw(st.sampled_from(CHANGES))
    if draw(st.integers(0, 3)):
        start = datetime.fromisoformat(near).replace(tzinfo=UTC)
        return start + timedelta(seconds=draw(st.integers(-18000, 18000)))
    return datetime(1990, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 50 * 365 * 86400)))


def load(expression: str, zone: str = "UTC") -> Cron:
    try:
        return Cron(expression, zone)
    except CronError as error:
        assert "never meet" in error.message  # noqa: PT017 - the only reason that these expressions can give
        assume(False)  # noqa: FBT003
        raise


@settings(max_examples=CASES, deadline=None, suppress_health_check=SLOW)
@given(expressions(), st.sampled_from(ZONES), instants())
def test_the_next_fire_is_that_of_debians_main_loop(expression: str, zone: str, instant: datetime) -> None:
    cron = load(expression, zone)
    wanted = list(Reference(expression, zone).fires(instant, instant + timedelta(hours=30)))
    asked = instant
    for expected in wanted[:40]:
        assert cron.next_after(asked) == expected
        asked = expected
    if len(wanted) < 40:
        after = cron.next_after(asked)
        assert after is None or after > instant + timedelta(hours=30)


@settings(max_examples=CASES, deadline=None, suppress_health_check=SLOW)
@given(expressions(), st.sampled_from(ZONES), instants(), st.floats(0, 1))
def test_later_monotone_and_the_same_from_any_instant_between(
    expression: str, zone: str, instant: datetime, part: float
) -> None:
    cron = load(expression, zone)
    for _ in range(5):
        found = cron.next_after(instant)
        if found is None:
            return
        assert found > instant
        assert (found.tzinfo, found.second, found.microsecond) == (UTC, 0, 0)
        between = instant + (found - instant) * part
        if between < found:
            assert cron.next_after(between) == found
        assert cron.next_after(found - timedelta(microseconds=1)) == found
        instant = found


@settings(max_examples=CASES, deadline=None, suppress_health_check=SLOW)
@given(expressions(), instants())
def test_far_fires_are_on_the_first_matching_day(expression: str, instant: datetime) -> None:
    """In UTC, over years: the days that the reference rejects, one by one."""
    cron, reference = load(expression), Reference(expression, "UTC")
    found = cron.next_after(instant)
    assert found is not None
    assert reference.matches(found.replace(tzinfo=None))
    day = (instant + timedelta(days=1)).date()
    while day < found.date():
        assert not reference.day(day)
        day += timedelta(days=1)


@settings(max_examples=CASES, deadline=None, suppress_health_check=SLOW)
@given(expressions(), st.sampled_from(ZONES), instants())
def test_every_fire_is_at_a_wall_time_that_the_fields_name_or_is_one_that_was_skipped(
    expression: str, zone: str, instant: datetime
) -> None:
    cron, reference = load(expression, zone), Reference(expression, zone)
    for _ in range(4):
        found = cron.next_after(instant)
        if found is None:
            return
        wall, before = reference.wall(found), reference.wall(found - MINUTE)
        repeated = found.astimezone(ZoneInfo(zone)).fold and wall - before == MINUTE
        if not reference.matches(wall):
            skipped = [before + n * MINUTE for n in range(1, int((wall - before) / MINUTE))]
            assert not reference.wild
            assert 0 < len(skipped) < 180
            assert any(reference.matches(time) for time in skipped)
        elif repeated and not reference.wild:
            assert not within_three_hours(found, zone)
        instant = found


def within_three_hours(second: datetime, zone: str) -> bool:
    """Whether the clock was set back by three hours or less for this second pass."""
    first = second.astimezone(ZoneInfo(zone)).replace(fold=0)
    return second - first.astimezone(UTC) <= timedelta(hours=3)


@pytest.mark.parametrize("weekday", range(7))
def test_leap_days_of_every_weekday_are_found_forty_years_away(weekday: int) -> None:
    """A fifth such weekday in February is a 29th: 28 years apart as a rule, and 12 or 40 around 1900 and 2100."""
    cron = Cron(f"30 4 * 2 {weekday}#5")
    leaps = [date(year, 2, 29) for year in range(1600, 2500) if year % 4 == 0 and (year % 100 or year % 400 == 0)]
    wanted = [day for day in leaps if day.isoweekday() % 7 == weekday]
    instant = datetime(1600, 1, 1, tzinfo=UTC)
    for day in wanted:
        assert cron.next_after(instant) == datetime(day.year, 2, 29, 4, 30, tzinfo=UTC)
        instant = datetime(day.year, 3, 1, tzinfo=UTC)
    assert max(later.year - day.year for day, later in pairwise(wanted)) == 40


@settings(max_examples=CASES, deadline=None, suppress_health_check=SLOW)
@given(
    st.sets(st.integers(0, 59), min_size=1, max_size=3), st.sampled_from(["*/5,{} 2", "{} */2", "{} 2"]),
    st.sampled_from(["29 2 */7", "* 2 1#5", "31W 5 *", "29 2 *", "L 2 5L", "30 11 *", "29W 2 */7"]),
    st.sampled_from(ZONES), instants(),
)  # fmt: skip
def test_rare_fires_and_none_at_all_come_at_a_bounded_cost(
    minutes: set[int], clock: str, days: str, zone: str, instant: datetime
) -> None:
    cron = load(f"{clock.format(','.join(map(str, minutes)))} {days}", zone)
    assert seconds_for(cron, instant) < 0.05


def seconds_for(cron: Cron, instant: datetime) -> float:
    """The quickest of some calls, in time of this process, since the machine may have other work."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        cron.next_after(instant)
        taken.append(time.process_time() - begun)
    return min(taken)


@pytest.mark.parametrize("peer", PEERS)
@settings(max_examples=CASES, deadline=None, suppress_health_check=SLOW)
@given(expressions(), st.sampled_from(ZONES), instants())
def test_a_peer_agrees_in_every_zone_or_differs_in_a_known_way(
    peer: str, expression: str, zone: str, instant: datetime
) -> None:
    """And in a zone without changes of the clock it agrees always."""
    cron = load(expression, zone)
    ask, knows = PEERS[peer]
    assume(knows(expression))
    asked = instant
    for _ in range(3):
        found = cron.next_after(asked)
        assert found is not None
        theirs = within_patience(ask, expression, asked.astimezone(ZoneInfo(zone)))
        if theirs != found:
            assert difference(peer, expression, zone, asked, (found, theirs)) in KNOWN
        asked = found


@pytest.mark.parametrize(("peer", "rule", "clock", "answer"), KNOWN)
def test_no_known_difference_is_one_away_from_changes_of_the_clock(
    peer: str, rule: str, clock: str, answer: str
) -> None:
    assert peer in PEERS
    assert clock != "none", (rule, answer)
