"""What a change of clocks does to fires, in words, over the zones that do it in their own way."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zendaemon.core import dst
from zendaemon.core.cron import Cron, Rule
from zendaemon.core.schedule import Schedule
from zendaemon.core.trigger import Trigger

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
DUBLIN, CASABLANCA, APIA, CAIRO = "Europe/Dublin", "Africa/Casablanca", "Pacific/Apia", "Africa/Cairo"
FORWARD = "when the clock is set forward"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def notes(schedule: Schedule, after: str, count: int) -> dict[str, str]:
    """The notes of the next fires, by local time."""
    found, instant = {}, utc(after)
    for _ in range(count):
        fire = schedule.next_after(instant)
        if fire is None:
            break
        if note := dst.note(schedule, instant, fire):
            found[f"{fire.astimezone(ZoneInfo(schedule.timezone)):%m-%d %H:%M%z}"] = note
        instant = fire
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("30 2 * * *", BERLIN, "2027-03-26", {"03-28 03:00+0200": f"02:30 does not exist on that day: fires at 03:00, {FORWARD}"}),
        ("30 2 * * *", BERLIN, "2027-10-29", {"10-31 02:30+0200": "02:30 occurs twice: fires on the first pass"}),
        ("0,15,30,45 2 * * *", BERLIN, "2027-03-27T12", {"03-28 03:00+0200": f"02:00, 02:15, 02:30 and 02:45 do not exist on that day: one fire for all at 03:00, {FORWARD}"}),
        ("0-59 2 * * *", BERLIN, "2027-03-27T12", {"03-28 03:00+0200": f"60 times from 02:00 to 02:59 do not exist on that day: one fire for all at 03:00, {FORWARD}"}),
        ("0 2,3 * * *", BERLIN, "2027-03-26", {"03-28 03:00+0200": f"02:00 does not exist on that day: fires at 03:00, {FORWARD}, as one with 03:00 itself"}),
        ("30 3 * * *", BERLIN, "2027-03-26", {}),
        ("0 3 * * *", BERLIN, "2027-03-26", {}),
        ("0 3 * * *", BERLIN, "2027-10-29", {}),
        ("*/30 * * * *", BERLIN, "2027-03-28T00:45", {"03-28 03:00+0200": "02:00 and 02:30 do not exist on that day: no fire"}),
        ("*/30 2 * * *", BERLIN, "2027-03-27T12", {"03-29 02:00+0200": "02:00 and 02:30 do not exist on 2027-03-28: no fire"}),
        (
            "*/30 2 * * *",
            BERLIN,
            "2027-10-30T12",
            {
                "10-31 02:00+0200": "02:00 occurs twice: fires on both passes, this is the first",
                "10-31 02:30+0200": "02:30 occurs twice: fires on both passes, this is the first",
                "10-31 02:00+0100": "02:00 occurs twice: fires on both passes, this is the second",
                "10-31 02:30+0100": "02:30 occurs twice: fires on both passes, this is the second",
            },
        ),
        ("30 2 14 3 *", NEW_YORK, "2027-01-01", {"03-14 03:00-0400": f"02:30 does not exist on that day: fires at 03:00, {FORWARD}"}),
        ("30 1 * * *", NEW_YORK, "2027-11-06", {"11-07 01:30-0400": "01:30 occurs twice: fires on the first pass"}),
        ("15 2 * * *", LORD_HOWE, "2026-10-02", {"10-04 02:30+1100": f"02:15 does not exist on that day: fires at 02:30, {FORWARD}"}),
        ("30 2 * * *", LORD_HOWE, "2026-10-02", {}),
        ("45 1 * * *", LORD_HOWE, "2027-04-02", {"04-04 01:45+1100": "01:45 occurs twice: fires on the first pass"}),
        ("15 1 * * *", LORD_HOWE, "2027-04-02", {}),
        ("30 1 * * *", DUBLIN, "2027-03-26", {"03-28 02:00+0100": f"01:30 does not exist on that day: fires at 02:00, {FORWARD}"}),
        ("30 1 * * *", DUBLIN, "2027-10-29", {"10-31 01:30+0100": "01:30 occurs twice: fires on the first pass"}),
        ("30 2 * * *", CASABLANCA, "2026-02-13", {"02-15 02:30+0100": "02:30 occurs twice: fires on the first pass"}),
        ("30 2 * * *", CASABLANCA, "2026-03-20", {"03-22 03:00+0100": f"02:30 does not exist on that day: fires at 03:00, {FORWARD}"}),
        ("30 2 * * *", APIA, "2011-12-29T00", {"12-31 02:30+1400": "02:30 does not exist on 2011-12-30: no fire"}),
        ("0 */6 * * *", APIA, "2011-12-30T05", {"12-31 00:00+1400": "00:00, 06:00, 12:00 and 18:00 do not exist on 2011-12-30: no fire"}),
        ("0 0 * * *", CAIRO, "2027-04-28", {"04-30 01:00+0300": f"00:00 does not exist on that day: fires at 01:00, {FORWARD}"}),
        ("30 23 * * *", CAIRO, "2027-10-27", {"10-28 23:30+0300": "23:30 occurs twice: fires on the first pass"}),
        ("30 2 * * *", "UTC", "2027-03-26", {}),
        (["30 2 * * *", "0 2 * * *"], BERLIN, "2027-03-27T12", {"03-28 03:00+0200": f"02:30 does not exist on that day: fires at 03:00, {FORWARD}; 02:00 does not exist on that day: fires at 03:00, {FORWARD}"}),
    ],
)  # fmt: skip
def test_a_note(cron: str, zone: str, after: str, expected: dict[str, str]) -> None:
    schedule = Schedule(name="a", snapshot="x", cron=cron, timezone=zone)  # type: ignore[arg-type]
    assert notes(schedule, after, 8) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2027-03-28T02:30:00", {"03-28 03:30+0200": "02:30 does not exist on that day: fires at 03:30"}),
        ("2027-10-31T02:30:00", {"10-31 02:30+0200": "02:30 occurs twice: fires on the first pass"}),
        ("2027-10-31T02:30:00+01:00", {}),
        ("2027-10-31", {}),
        ("2027-10-31T12:00:00", {}),
    ],
)
def test_a_time_of_at(at: str, expected: dict[str, str]) -> None:
    schedule = Schedule(name="a", snapshot="x", at=at, timezone=BERLIN)  # type: ignore[arg-type]
    assert notes(schedule, "2027-01-01", 1) == expected


def test_an_interval_has_no_notes() -> None:
    schedule = Schedule(name="a", snapshot="x", every="30m", timezone=BERLIN)  # type: ignore[arg-type]
    assert notes(schedule, "2027-03-27T23", 8) == {}


def test_what_is_excluded_or_before_the_start_is_not_missed() -> None:
    keys = {"name": "a", "snapshot": "x", "cron": "*/30 2 * * *", "timezone": BERLIN}
    assert notes(Schedule.model_validate({**keys, "exclude": ["2027-03-28"]}), "2027-03-27T12", 3) == {}
    assert notes(Schedule.model_validate({**keys, "start_time": "2027-03-29"}), "2027-03-27T12", 3) == {}


@pytest.mark.parametrize(
    "zone", [BERLIN, LORD_HOWE, DUBLIN, CASABLANCA, CAIRO, APIA, "America/Nuuk", "Pacific/Chatham"]
)
def test_the_changes_of_a_zone(zone: str) -> None:
    """Against a look at every quarter of an hour of 2011 and 2027."""
    tz = ZoneInfo(zone)
    for year in (2011, 2027):
        first = datetime(year, 1, 1, tzinfo=UTC)
        steps = [first + timedelta(minutes=15) * step for step in range(365 * 96 + 1)]
        offsets = [step.astimezone(tz).utcoffset() for step in steps]
        expected = [
            (steps[index], offsets[index - 1], offsets[index])
            for index in range(1, len(steps))
            if offsets[index] != offsets[index - 1]
        ]
        found = dst.changes(zone, first, steps[-1])
        assert [(change.instant, change.before, change.after) for change in found] == expected


HOURS = st.sampled_from(["*", "0", "1", "2", "1-3", "*/2", "0,2", "23"])
MINUTES = st.sampled_from(["*", "0", "15", "*/20", "30", "0,45", "5-59/25"])
ZONES = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, DUBLIN, CASABLANCA, CAIRO, "America/Nuuk", "Asia/Beirut"])


@settings(max_examples=200, deadline=None)
@given(MINUTES, HOURS, ZONES)
def test_a_note_is_there_exactly_where_the_wall_says_so(minutes: str, hours: str, zone: str) -> None:
    """A fire at a time that the expression does not name, or that occurs twice, has a note; other fires, if times are gone."""
    expression = f"{minutes} {hours} * * *"
    rule, cron, trigger = Rule(expression, ""), Cron(expression, zone), Trigger(zone, cron=(expression,))
    tz = ZoneInfo(zone)
    for change in dst.changes(zone, utc("2026-01-01"), utc("2027-01-01")):
        instant = change.instant - timedelta(hours=4)
        while (fire := cron.next_after(instant)) is not None and fire < change.instant + timedelta(hours=4):
            local = fire.astimezone(tz)
            wall = local.replace(tzinfo=None) - datetime(1, 1, 1)
            named = rule.next_match(wall // timedelta(minutes=1)) == wall // timedelta(minutes=1)
            twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
            gone = bool(dst.touched(expression, "", change)) and change.forward and instant < change.instant <= fire
            note = dst.note_of_trigger(trigger, instant, fire)
            assert (note is not None) == (not named or twice or gone), (fire, note)
            assert named or (note or "").endswith(FORWARD) or "as one with" in (note or "")
            instant = fire
