"""Cron in the zones of the world, its macros of time, `H`, and the shape of its answers.

The rules of crontab(5) are in test_crontab_manual.py, Debian's own fires in test_cron_debian.py.
"""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from unit.cron_tables import START, case, fires, utc

from zendaemon.core.cron import Cron
from zendaemon.core.errors import CronError


@pytest.mark.parametrize(
    ("zone", "remedy"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("", "use an IANA name"),
        ("Europe", ""),
        ("/etc/passwd", "use an IANA name"),
        ("../UTC", ""),
        ("+01:00", "use an IANA name"),
        ("Zürich\0", ""),
    ],
)
def test_an_unknown_zone_is_refused(zone: str, remedy: str) -> None:
    with pytest.raises(CronError, match=r"timezone .* is unknown") as caught:
        Cron("* * * * *", zone)
    assert remedy in caught.value.hint
    assert caught.value.hint


def test_a_renamed_zone_still_loads() -> None:
    assert fires("0 2 * * *", START, 1, "US/Eastern") == fires("0 2 * * *", START, 1, "America/New_York")


# Wall clock times with their offset. Fixed rules have no star in minute and hour, wildcard rules have.
@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        # Europe/Berlin: 2026-03-29 02:00 -> 03:00, 2026-10-25 03:00 -> 02:00
        case("spring: a skipped time fires once, at the change", "30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "03-29 03:00+0200, 03-30 02:30+0200"),
        case("spring: asked from just before the change", "30 2 * * *", "Europe/Berlin", "2026-03-29 01:59:59+01:00", "03-29 03:00+0200, 03-30 02:30+0200"),
        case("spring: asked from the change itself", "30 2 * * *", "Europe/Berlin", "2026-03-29 03:00+02:00", "03-30 02:30+0200"),
        case("spring: several skipped times become one", "0,15,30,45 2 * * *", "Europe/Berlin", "2026-03-29 01:59+01:00", "03-29 03:00+0200, 03-30 02:00+0200"),
        case("spring: skipped and regular at the same instant is one", "0 2,3 * * *", "Europe/Berlin", "2026-03-28 12:00", "03-29 03:00+0200, 03-30 02:00+0200, 03-30 03:00+0200"),
        case("spring: 0 3 fires once", "0 3 * * *", "Europe/Berlin", "2026-03-28 12:00", "03-29 03:00+0200, 03-30 03:00+0200"),
        case("spring: 5 0-23 is fixed", "5 0-23 * * *", "Europe/Berlin", "2026-03-29 00:30", "03-29 01:05+0100, 03-29 03:00+0200, 03-29 03:05+0200, 03-29 04:05+0200"),
        case("spring: wildcard minutes only at times that exist", "*/30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "03-30 02:00+0200, 03-30 02:30+0200"),
        case("spring: wildcard hours only at times that exist", "30 * * * *", "Europe/Berlin", "2026-03-29 00:40", "03-29 01:30+0100, 03-29 03:30+0200"),
        case("spring: */1 in the hour makes it wildcard", "30 */2 * * *", "Europe/Berlin", "2026-03-28 22:40", "03-29 00:30+0100, 03-29 04:30+0200"),
        case("spring: H is fixed", "30 H(2-2) * * *", "Europe/Berlin", "2026-03-28 12:00", "03-29 03:00+0200, 03-30 02:30+0200"),
        case("spring: a rule of that weekday only", "30 2 * * sun", "Europe/Berlin", "2026-03-28 12:00", "03-29 03:00+0200, 04-05 02:30+0200"),
        case("spring: @daily", "@daily", "Europe/Berlin", "2026-03-28 12:00", "03-29 00:00+0100, 03-30 00:00+0200"),
        case("autumn: a repeated time fires on the first pass only", "30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "10-25 02:30+0200, 10-26 02:30+0100"),
        case("autumn: asked from within the second pass", "30 2 * * *", "Europe/Berlin", "2026-10-25 02:10+01:00", "10-26 02:30+0100"),
        case("autumn: asked from the second pass, hourly fixed", "5 0-23 * * *", "Europe/Berlin", "2026-10-25 02:01+01:00", "10-25 03:05+0100"),
        case("autumn: asked from the first pass", "30 2 * * *", "Europe/Berlin", "2026-10-25 02:10+02:00", "10-25 02:30+0200, 10-26 02:30+0100"),
        case("autumn: the end of the second pass", "0 3 * * *", "Europe/Berlin", "2026-10-25 02:30+01:00", "10-25 03:00+0100, 10-26 03:00+0100"),
        case("autumn: fixed list over both passes", "0,30 1-3 * * *", "Europe/Berlin", "2026-10-25 01:15", "10-25 01:30+0200, 10-25 02:00+0200, 10-25 02:30+0200, 10-25 03:00+0100, 10-25 03:30+0100"),
        case("autumn: wildcard minutes fire on both passes", "*/30 2 * * *", "Europe/Berlin", "2026-10-25 00:00", "10-25 02:00+0200, 10-25 02:30+0200, 10-25 02:00+0100, 10-25 02:30+0100, 10-26 02:00+0100"),
        case("autumn: wildcard hours fire on both passes", "30 * * * *", "Europe/Berlin", "2026-10-25 01:00", "10-25 01:30+0200, 10-25 02:30+0200, 10-25 02:30+0100, 10-25 03:30+0100"),
        case("autumn: wildcard asked after its first pass", "*/20 2 * * *", "Europe/Berlin", "2026-10-25 02:50+02:00", "10-25 02:00+0100, 10-25 02:20+0100"),
        case("asked months ahead: a skipped time", "30 2 29 3 *", "Europe/Berlin", "2026-01-01 00:00", "03-29 03:00+0200, 03-29 02:30+0200"),
        case("asked months ahead: a wildcard on the day of the gap", "*/30 1-3 29 3 *", "Europe/Berlin", "2025-06-01 00:00", "03-29 01:00+0100, 03-29 01:30+0100, 03-29 03:00+0200"),
        case("asked months ahead: a repeated time", "30 2 25 10 *", "Europe/Berlin", "2026-01-01 00:00", "10-25 02:30+0200, 10-25 02:30+0200"),
        case("asked months ahead: a wildcard on both passes", "*/30 2 25 10 *", "Europe/Berlin", "2026-01-01 00:00", "10-25 02:00+0200, 10-25 02:30+0200, 10-25 02:00+0100"),
        # America/New_York: 2026-03-08 02:00 -> 03:00, 2026-11-01 02:00 -> 01:00
        case("New York: midnight after the spring change", "0 0 * * *", "America/New_York", "2026-03-08 00:00", "03-09 00:00-0400, 03-10 00:00-0400"),
        case("New York: autumn, second pass", "30 1 * * *", "America/New_York", "2026-11-01 01:00-05:00", "11-02 01:30-0500"),
        # Lord Howe: 2026-04-05 02:00+11 -> 01:30+10:30, 2026-10-04 02:00+10:30 -> 02:30+11
        case("Lord Howe: half an hour skipped", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", "10-04 02:30+1100, 10-05 02:15+1100"),
        case("Lord Howe: wildcard over the gap", "*/15 2 * * *", "Australia/Lord_Howe", "2026-10-04 00:00", "10-04 02:30+1100, 10-04 02:45+1100, 10-05 02:00+1100"),
        case("Lord Howe: half an hour repeated", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", "04-05 01:45+1100, 04-06 01:45+1030"),
        case("Lord Howe: second pass", "45 1 * * *", "Australia/Lord_Howe", "2026-04-05 01:35+10:30", "04-06 01:45+1030"),
        case("Lord Howe: wildcard on both passes", "*/15 1 * * *", "Australia/Lord_Howe", "2026-04-05 01:29", "04-05 01:30+1100, 04-05 01:45+1100, 04-05 01:30+1030, 04-05 01:45+1030, 04-06 01:00+1030"),
        # Chatham: 2026-04-05 03:45+13:45 -> 02:45+12:45, 2026-09-27 02:45+12:45 -> 03:45+13:45
        case("Chatham: skipped at an odd minute", "0 3 * * *", "Pacific/Chatham", "2026-09-26 12:00", "09-27 03:45+1345, 09-28 03:00+1345"),
        case("Chatham: half of the hour exists", "30,50 2 * * *", "Pacific/Chatham", "2026-09-27 00:00", "09-27 02:30+1245, 09-27 03:45+1345, 09-28 02:30+1345"),
        case("Chatham: wildcard over the gap", "*/20 * * * *", "Pacific/Chatham", "2026-09-27 02:20", "09-27 02:40+1245, 09-27 04:00+1345"),
        case("Chatham: repeated", "0 3 * * *", "Pacific/Chatham", "2026-04-04 12:00", "04-05 03:00+1345, 04-06 03:00+1245"),
        case("Chatham: wildcard repeated", "0 * * * *", "Pacific/Chatham", "2026-04-05 02:10", "04-05 03:00+1345, 04-05 03:00+1245, 04-05 04:00+1245"),
        # Dublin's winter time is the saving, and negative: 2026-03-29 01:00 -> 02:00, 2026-10-25 02:00 -> 01:00
        case("Dublin: spring", "30 1 * * *", "Europe/Dublin", "2026-03-28 12:00", "03-29 02:00+0100, 03-30 01:30+0100"),
        case("Dublin: autumn", "30 1 * * *", "Europe/Dublin", "2026-10-24 12:00", "10-25 01:30+0100, 10-26 01:30+0000"),
        case("Dublin: autumn, wildcard", "*/30 1 * * *", "Europe/Dublin", "2026-10-25 00:40", "10-25 01:00+0100, 10-25 01:30+0100, 10-25 01:00+0000, 10-25 01:30+0000"),
        # Casablanca goes back for Ramadan: 2025-02-23 03:00+01 -> 02:00+00, 2025-04-06 02:00+00 -> 03:00+01
        case("Casablanca: Ramadan begins", "30 2 * * *", "Africa/Casablanca", "2025-02-22 12:00", "02-23 02:30+0100, 02-24 02:30+0000"),
        case("Casablanca: Ramadan ends", "30 2 * * *", "Africa/Casablanca", "2025-04-05 12:00", "04-06 03:00+0100, 04-07 02:30+0100"),
        # Cairo: 2026-04-24 00:00 -> 01:00; 2026-10-30 00:00 -> 2026-10-29 23:00
        case("Cairo: midnight is skipped, @daily fires at 01:00", "@daily", "Africa/Cairo", "2026-04-23 12:00", "04-24 01:00+0300, 04-25 00:00+0300"),
        case("Cairo: a gap at midnight, of that weekday only", "30 0 * * fri", "Africa/Cairo", "2026-04-23 12:00", "04-24 01:00+0300, 05-01 00:30+0300"),
        case("Cairo: 23:30 repeated on the day before", "30 23 * * *", "Africa/Cairo", "2026-10-29 12:00", "10-29 23:30+0300, 10-30 23:30+0200"),
        case("Cairo: wildcard fires into the day before again", "*/30 23 * * *", "Africa/Cairo", "2026-10-29 23:10+03:00", "10-29 23:30+0300, 10-29 23:00+0200, 10-29 23:30+0200, 10-30 23:00+0200"),
        case("Cairo: @daily after the repeated hour", "@daily", "Africa/Cairo", "2026-10-29 12:00", "10-30 00:00+0200, 10-31 00:00+0200"),
        # Beirut: 2026-03-29 00:00 -> 01:00; 2026-10-25 00:00 -> 2026-10-24 23:00
        case("Beirut: midnight is skipped", "0 0 * * *", "Asia/Beirut", "2026-03-28 12:00", "03-29 01:00+0300, 03-30 00:00+0300"),
        case("Beirut: wildcard at midnight is skipped", "*/30 0 * * *", "Asia/Beirut", "2026-03-28 12:00", "03-30 00:00+0300, 03-30 00:30+0300"),
        case("Beirut: set back over midnight", "0 23 * * *", "Asia/Beirut", "2026-10-24 12:00", "10-24 23:00+0300, 10-25 23:00+0200"),
        # St. John's: 2006-10-29 00:01 -> 2006-10-28 23:01, so midnight is passed, left, and reached again
        case("St. John's: midnight twice, fixed once", "0 0 * * *", "America/St_Johns", "2006-10-28 12:00", "10-29 00:00-0230, 10-30 00:00-0330"),
        case("St. John's: midnight twice, wildcard twice", "*/60 0 * * *", "America/St_Johns", "2006-10-28 12:00", "10-29 00:00-0230, 10-29 00:00-0330, 10-30 00:00-0330"),
        # Troll moves by two hours: 2026-03-29 01:00+00 -> 03:00+02, 2026-10-25 03:00+02 -> 01:00+00
        case("Troll: two hours skipped are one fire", "0,30 1-2 * * *", "Antarctica/Troll", "2026-03-28 12:00", "03-29 03:00+0200, 03-30 01:00+0200"),
        case("Troll: two hours repeated", "0 1-2 * * *", "Antarctica/Troll", "2026-10-24 12:00", "10-25 01:00+0200, 10-25 02:00+0200, 10-26 01:00+0000"),
        # Apia had no 2011-12-30; the jump is no daylight saving, nothing is made good
        case("Apia: a rule of that date only", "0 12 30 12 *", "Pacific/Apia", "2011-12-01 00:00", "12-30 12:00+1400"),
        case("Apia: fires at the instant after the jump", "0 0 * * *", "Pacific/Apia", "2011-12-29 12:00", "12-31 00:00+1400, 01-01 00:00+1400"),
        # Casey moves by exactly three hours: forward is too large to be made good, back is not (decision 13)
        case("Casey: three hours back, second pass", "30 0 * * *", "Antarctica/Casey", "2010-03-05 00:10+08:00", "03-06 00:30+0800"),
        case("Casey: three hours back, wildcard", "*/60 0 * * *", "Antarctica/Casey", "2010-03-04 12:00", "03-05 00:00+1100, 03-05 00:00+0800, 03-06 00:00+0800"),
        # Changes by law: Pyongyang 2015-08-15 00:00+09 -> 2015-08-14 23:30+08:30, 2018-05-04 23:30+08:30 -> 2018-05-05 00:00+09
        case("Pyongyang: set back by law", "45 23 * * *", "Asia/Pyongyang", "2015-08-14 12:00", "08-14 23:45+0900, 08-15 23:45+0830"),
        case("Pyongyang: forward by law, over midnight", "45 23 * * *", "Asia/Pyongyang", "2018-05-04 12:00", "05-05 00:00+0900, 05-05 23:45+0900"),
    ],
)  # fmt: skip
def test_daylight_saving(expression: str, zone: str, start: str, expected: str) -> None:
    wanted = expected.split(", ")
    assert fires(expression, start, len(wanted), zone) == wanted


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        case("29 February over 1900", "0 0 29 2 *", "1896-03-01", "1904-02-29"),
        case("29 February over 2100", "0 0 29 2 *", "2096-03-01", "2104-02-29"),
        case("29 February on a Sunday, by a star", "0 0 29 2 */7", "2032-03-01", "2060-02-29"),
        case("29 February on a Sunday, forty years over 2100", "0 0 29 2 */7", "2088-03-01", "2128-02-29"),
        case("a fifth Friday in February", "0 0 * 2 5#5", "2008-03-01", "2036-02-29"),
        case("29 February on a weekday", "0 0 29W 2 *", "2028-03-01", "2032-02-27"),
    ],
)
def test_rare_dates_are_found(expression: str, start: str, expected: str) -> None:
    assert Cron(expression).next_after(utc(start)) == utc(expected)


def test_a_wildcard_rule_inside_every_gap_has_no_fire() -> None:
    assert Cron("*/5 2 * 3 sunL", "Europe/Berlin").next_after(utc("2026-01-01")) is None


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Etc/GMT+12"])
def test_the_ends_of_time(zone: str) -> None:
    cron = Cron("0 0 1 1 *", zone)
    assert cron.next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert cron.next_after(datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))) is None
    every = Cron("* * * * *", zone)
    assert every.next_after(utc("9999-12-31 09:58:00")) == utc("9999-12-31 09:59:00")
    assert every.next_after(utc("9999-12-31 23:59:00")) is None
    first = cron.next_after(datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))
    assert first is not None
    assert first > datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))


@pytest.mark.parametrize("zone", ["Africa/Monrovia", "Europe/Amsterdam", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("expression", ["30 2 * * *", "*/7 * * * *", "0 0 1 1 *"])
def test_offsets_below_the_minute_still_give_whole_minutes(zone: str, expression: str) -> None:
    cron, instant = Cron(expression, zone), utc("1880-01-01")
    for _ in range(300):
        later = cron.next_after(instant)
        assert later is not None
        assert later > instant
        assert (later.second, later.microsecond) == (0, 0)
        instant = later + timedelta(days=101)


def test_the_answer_is_strictly_later_and_whole() -> None:
    cron = Cron("* * * * *")
    assert cron.next_after(utc("2026-01-01 00:00:00")) == utc("2026-01-01 00:01")
    assert cron.next_after(utc("2026-01-01 00:00:59.999999")) == utc("2026-01-01 00:01")
    assert cron.next_after(utc("2026-01-01 00:01:00.000001")) == utc("2026-01-01 00:02")


def test_the_instant_may_be_in_any_zone() -> None:
    cron = Cron("0 2 * * *", "Europe/Berlin")
    asked = utc("2026-06-01 12:00")
    assert {cron.next_after(asked.astimezone(ZoneInfo(zone))) for zone in ("UTC", "Asia/Tokyo", "Europe/Berlin")} == {
        utc("2026-06-02 00:00")
    }


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Cron("* * * * *").next_after(datetime(2026, 1, 1))


def test_equality_minds_the_name_only_with_h() -> None:
    assert Cron("0  2 * * *", name="a") == Cron("0 2 * * *", name="b")
    assert hash(Cron("0 2 * * *", name="a")) == hash(Cron("0 2 * * *", name="b"))
    assert Cron("0 2 * * *") != Cron("0 2 * * *", "Europe/Berlin")
    assert Cron("0 2 * * *") != Cron("0 3 * * *")
    assert Cron("H 2 * * *", name="a") != Cron("H 2 * * *", name="b")
    assert Cron("H 2 * * *", name="a") == Cron("H 2 * * *", name="a")
    assert Cron("0 2 * * thu", name="a") == Cron("0 2 * * thu", name="b")


def test_a_cron_is_immutable_and_can_be_pickled() -> None:
    cron = Cron("0 2 * * *", "Europe/Berlin", "nightly")
    assert (cron.expression, cron.timezone, cron.name) == ("0 2 * * *", "Europe/Berlin", "nightly")
    with pytest.raises(AttributeError):
        cron.expression = "1 2 * * *"  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(cron))  # noqa: S301
    assert again == cron
    assert again.next_after(utc("2026-01-01")) == cron.next_after(utc("2026-01-01"))


def hashed(expression: str, names: int = 300) -> set[datetime]:
    return {
        found for n in range(names) if (found := Cron(expression, name=f"s{n}").next_after(utc("2026-01-31 23:59")))
    }


def test_h_spreads_over_its_range() -> None:
    assert {found.minute for found in hashed("H * * * *", 900)} == set(range(60))
    assert {found.hour for found in hashed("0 H * * *")} == set(range(24))
    assert {found.minute for found in hashed("H(10-19) * * * *")} == set(range(10, 20))
    assert {found.day for found in hashed("0 0 H * *", 600)} == set(range(1, 29))
    assert {found.month for found in hashed("0 0 1 H *")} == set(range(1, 13))
    assert {found.isoweekday() for found in hashed("0 0 * * H")} == set(range(1, 8))


def test_h_with_a_step_keeps_the_step() -> None:
    for n in range(50):
        minutes = [int(found[-2:]) for found in fires("H/15 * * * *", START, 8, name=f"s{n}")]
        assert {minute % 15 for minute in minutes} == {minutes[0] % 15}
        assert len(set(minutes)) == 4
        ranged = [int(found[-2:]) for found in fires("H(0-29)/10 * * * *", START, 6, name=f"s{n}")]
        assert {minute // 10 for minute in ranged} == {0, 1, 2}
        assert len({minute % 10 for minute in ranged}) == 1


def test_h_is_refused_to_those_names_alone_that_it_does_not_suit() -> None:
    for name in ("", *(f"s{n}" for n in range(50))):
        first = Cron("0 0 1 H *", name=name).next_after(utc("2026-01-01"))
        assert first is not None
        if first.month in {2, 4, 6, 9, 11}:
            with pytest.raises(CronError, match="never meet"):
                Cron("0 0 31 H *", name=name)
        else:
            last = Cron("0 0 31 H *", name=name).next_after(utc("2026-01-01"))
            assert last is not None
            assert (last.month, last.day) == (first.month, 31)


def test_h_is_the_same_in_every_process() -> None:
    asked = "Cron('H H H * *', name='nightly').next_after(datetime(2026, 1, 1, tzinfo=UTC))"
    code = f"from datetime import *; from zendaemon.core.cron import Cron; print({asked})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == str(Cron("H H H * *", name="nightly").next_after(utc("2026-01-01")))
    assert out.stdout.strip() == H_FOREVER


H_FOREVER = "2026-01-23 04:43:00+00:00"  # changing it moves every user's schedule


def test_no_zone_leaves_an_offset_and_returns_within_two_days() -> None:
    """What the search for a change relies on; looked at for the years to come."""
    for key in sorted(available_timezones()):
        zone = ZoneInfo(key)
        noons = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=40 * n) for n in range(700)]
        offsets = [noon.astimezone(zone).utcoffset() for noon in noons]
        changes = [n for n in range(1, len(offsets)) if offsets[n] != offsets[n - 1]]
        assert all(later - earlier > 2 for earlier, later in pairwise(changes)), key
