"""The rules of crontab(5) and cron(8) as tables, in Debian's reading, and what zendaemon adds or refuses."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from zendaemon.core.cron import Cron
from zendaemon.core.errors import CronError

START = "2026-01-01 00:00"  # a Thursday


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(expression: str, start: str, count: int, zone: str = "UTC", name: str = "") -> list[str]:
    """The next fire times, as wall clock time with the offset; `start` is wall time unless it has an offset."""
    asked = datetime.fromisoformat(start)
    instant = asked if asked.tzinfo else asked.replace(tzinfo=ZoneInfo(zone))
    cron = Cron(expression, zone, name)
    found = []
    for _ in range(count):
        later = cron.next_after(instant)
        assert later is not None
        assert later > instant
        assert later.tzinfo is UTC
        found.append(f"{later.astimezone(ZoneInfo(zone)):%m-%d %H:%M%z}"[: None if zone != "UTC" else -5])
        instant = later
    return found


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        case("an asterisk stands for first-last", "* * * * *", "01-01 00:01, 01-01 00:02"),
        case("ranges are inclusive: 8-11 is 8, 9, 10 and 11", "0 8-11 * * *", "01-01 08:00, 01-01 09:00, 01-01 10:00, 01-01 11:00, 01-02 08:00"),
        case("a range of one value", "0 5-5 * * *", "01-01 05:00, 01-02 05:00"),
        case("a range of one value with a step is that value", "30-30/5 0 * * *", "01-01 00:30, 01-02 00:30"),
        case("lists: 1,2,5", "1,2,5 0 * * *", "01-01 00:01, 01-01 00:02, 01-01 00:05, 01-02 00:01"),
        case("lists of ranges: 0-1,8-9", "0 0-1,8-9 2 * *", "01-02 00:00, 01-02 01:00, 01-02 08:00, 01-02 09:00"),
        case("lists need no order", "30,10 1 * * *", "01-01 01:10, 01-01 01:30, 01-02 01:10"),
        case("steps on a range: 0-23/2 is every other hour", "0 0-23/2 * * *", "01-01 02:00, 01-01 04:00"),
        case("steps begin at the range's start", "5-59/20 3 * * *", "01-01 03:05, 01-01 03:25, 01-01 03:45, 01-02 03:05"),
        case("steps on an asterisk: every two hours", "0 */2 * * *", "01-01 02:00, 01-01 04:00"),
        case("an uneven step starts anew each hour", "*/25 1-2 * * *", "01-01 01:00, 01-01 01:25, 01-01 01:50, 01-01 02:00"),
        case("a step larger than its range keeps the first value", "*/90 * * * *", "01-01 01:00, 01-01 02:00"),
        case("day-of-month steps begin at 1", "0 0 */10 * *", "01-11 00:00, 01-21 00:00, 01-31 00:00, 02-01 00:00"),
        case("month steps begin at 1", "0 0 1 */5 *", "06-01 00:00, 11-01 00:00, 01-01 00:00"),
        case("leading zeros", "05 04 * * *", "01-01 04:05"),
        case("0 is Sunday", "0 0 * * 0", "01-04 00:00, 01-11 00:00"),
        case("7 is Sunday", "0 0 * * 7", "01-04 00:00, 01-11 00:00"),
        case("5-7 is Friday to Sunday", "0 0 * * 5-7", "01-02 00:00, 01-03 00:00, 01-04 00:00, 01-09 00:00"),
        case("0-7 is every day", "0 0 * * 0-7", "01-02 00:00, 01-03 00:00, 01-04 00:00, 01-05 00:00"),
        case("*/7 of the weekdays is Sunday, twice named", "0 0 * * */7", "01-04 00:00, 01-11 00:00"),
        case("1-7/3 is Monday, Thursday and Sunday", "0 0 * * 1-7/3", "01-04 00:00, 01-05 00:00, 01-08 00:00"),
        case("names of days, case does not matter", "0 0 * * Mon,FRI,wed", "01-02 00:00, 01-05 00:00, 01-07 00:00"),
        case("names of months, case does not matter", "0 0 1 feb,MAR,Dec *", "02-01 00:00, 03-01 00:00, 12-01 00:00"),
        case("ranges of names", "0 0 * jan mon-wed", "01-05 00:00, 01-06 00:00, 01-07 00:00, 01-12 00:00"),
        case("ranges of names with a step", "0 0 * * mon-fri/2", "01-02 00:00, 01-05 00:00, 01-07 00:00"),
        case("a name and a number in one range", "0 0 * * mon-3", "01-05 00:00, 01-06 00:00, 01-07 00:00"),
        case("sun-tue starts the week on Sunday", "0 0 * * sun-tue", "01-04 00:00, 01-05 00:00, 01-06 00:00, 01-11 00:00"),
        case("both day fields restricted: either matches (30 4 1,15 * 5)", "30 4 1,15 * 5", "01-01 04:30, 01-02 04:30, 01-09 04:30, 01-15 04:30, 01-16 04:30"),
        case("star rule: dom * leaves dow alone", "0 0 * * 1", "01-05 00:00, 01-12 00:00"),
        case("star rule: dow * leaves dom alone", "0 0 13 * *", "01-13 00:00, 02-13 00:00"),
        case("star rule: */2 is a star, the day fields are ANDed", "0 0 */2 * fri", "01-09 00:00, 01-23 00:00, 02-13 00:00"),
        case("star rule: *,5 begins with a star", "0 0 *,5 * fri", "01-02 00:00, 01-09 00:00"),
        case("star rule: 5,* does not, so the fields are ORed", "0 0 5,* * fri", "01-02 00:00, 01-03 00:00"),
        case("star rule: dow */2 with a date is ANDed", "0 0 13 * */5", "02-13 00:00, 03-13 00:00, 09-13 00:00, 11-13 00:00"),
        case("star rule: 1-31 is no star", "0 0 1-31 * fri", "01-02 00:00, 01-03 00:00"),
        case("dom 31 skips short months", "0 0 31 * *", "01-31 00:00, 03-31 00:00, 05-31 00:00"),
        case("dom 31 in short months fires on its weekdays only", "0 0 31 4,6 mon", "04-06 00:00, 04-13 00:00"),
        case("29 February waits for the leap year", "0 0 29 2 *", "02-29 00:00"),
        case("@hourly", "@hourly", "01-01 01:00, 01-01 02:00"),
        case("@daily", "@daily", "01-02 00:00, 01-03 00:00"),
        case("@midnight", "@midnight", "01-02 00:00, 01-03 00:00"),
        case("@weekly is Sunday", "@weekly", "01-04 00:00, 01-11 00:00"),
        case("@monthly", "@monthly", "02-01 00:00, 03-01 00:00"),
        case("@yearly", "@yearly", "01-01 00:00"),
        case("@annually, in any case", " @Annually ", "01-01 00:00"),
        case("blanks and tabs between and around the fields", " \t0  2\t* *   *\n", "01-01 02:00"),
        case("L: the last day of the month", "0 0 L * *", "01-31 00:00, 02-28 00:00, 03-31 00:00, 04-30 00:00"),
        case("LW: the last weekday of the month", "0 0 LW * *", "01-30 00:00, 02-27 00:00, 03-31 00:00, 04-30 00:00, 05-29 00:00"),
        case("15W: the weekday nearest to the 15th", "0 0 15w * *", "01-15 00:00, 02-16 00:00, 03-16 00:00, 04-15 00:00, 05-15 00:00"),
        case("1W stays in its month", "0 0 1W 8,11 *", "08-03 00:00, 11-02 00:00"),
        case("31W stays in its month, and needs one with 31 days", "0 0 31W 1,5,6 *", "01-30 00:00, 05-29 00:00"),
        case("L among dates", "0 0 1,15,L 2 *", "02-01 00:00, 02-15 00:00, 02-28 00:00"),
        case("5L: the last Friday", "0 0 * * 5L", "01-30 00:00, 02-27 00:00, 03-27 00:00"),
        case("friL, 7L", "0 0 * * friL,7L", "01-25 00:00, 01-30 00:00, 02-22 00:00, 02-27 00:00"),
        case("5#2: the second Friday", "0 0 * * 5#2", "01-09 00:00, 02-13 00:00"),
        case("fri#5: only where there is a fifth", "0 0 * * fri#5", "01-30 00:00, 05-29 00:00, 07-31 00:00"),
        case("mon#1,mon#3", "0 0 * * mon#1,mon#3", "01-05 00:00, 01-19 00:00, 02-02 00:00"),
        case("L and 5L are restrictions: ORed", "0 0 L * 5L", "01-30 00:00, 01-31 00:00, 02-27 00:00, 02-28 00:00"),
    ],
)  # fmt: skip
def test_the_rules_of_crontab(expression: str, expected: str) -> None:
    wanted = expected.split(", ")
    assert fires(expression, START, len(wanted)) == wanted


@pytest.mark.parametrize(
    ("expression", "field", "reason", "remedy"),
    [
        case("empty", "", 'expression ""', "is empty", "write minute, hour"),
        case("blank", "  \t ", 'expression ""', "is empty", "write minute, hour"),
        case("four fields", "0 2 * *", "expression", "4 of five", "write minute, hour"),
        case("six fields", "*/10 * * * * *", "expression", "6 fields", "every: 10s"),
        case("six fields, a command", "0 2 * * * root", "expression", "6 fields", "leave out seconds, year and command"),
        case("@reboot", "@reboot", 'expression "@reboot"', "no time", "zendaemon fire"),
        case("a macro misspelt", "@dayly", "@dayly", "not a macro", "did you mean @daily?"),
        case("a macro unknown", "@xyzzy", "@xyzzy", "not a macro", "@hourly"),
        case("@every", "@every 10s", "@every", "not a macro", "every: 10s"),
        case("step of zero on a star", "*/0 * * * *", 'minute "*/0"', "zero", "1 or more"),
        case("step of zero on a range", "0 1-5/00 * * *", 'hour "1-5/00"', "zero", "1 or more"),
        case("step missing", "*/ * * * *", 'minute "*/"', "not a step", "as in */15"),
        case("step a word", "*/x * * * *", 'minute "*/x"', "not a step", "as in */15"),
        case("two steps", "0-59/2/3 * * * *", 'minute "0-59/2/3"', "not a step", "as in */15"),
        case("step negative", "*/-5 * * * *", 'minute "*/-5"', "not a step", "as in */15"),
        case("step on a value: minute", "5/15 * * * *", 'minute "5/15"', "a step needs a range", "say 5-59/15"),
        case("step on a value: hour", "0 1/4 * * *", 'hour "1/4"', "a step needs a range", "say 1-23/4"),
        case("step on a value: day", "0 0 2/4 * *", 'day-of-month "2/4"', "a step needs a range", "say 2-31/4"),
        case("step on a value: weekday", "0 0 * * mon/2", 'day-of-week "mon/2"', "a step needs a range", "say 1-6/2"),
        case("reversed hours", "0 22-4 * * *", 'hour "22-4"', "backwards", "say 22-23,0-4"),
        case("reversed hours from the last", "0 23-4 * * *", 'hour "23-4"', "backwards", "say 23,0-4"),
        case("reversed with a step", "0 22-4/2 * * *", 'hour "22-4/2"', "backwards", "say 22,0,2,4"),
        case("reversed minutes", "50-10 * * * *", 'minute "50-10"', "backwards", "say 50-59,0-10"),
        case("reversed weekdays to sun", "0 0 * * fri-sun", 'day-of-week "fri-sun"', "backwards", "say fri,sat,sun or 5-7"),
        case("reversed weekdays to 0", "0 0 * * 5-0", 'day-of-week "5-0"', "backwards", "say 5-6,0 or 5-7"),
        case("reversed weekdays", "0 0 * * sat-mon", 'day-of-week "sat-mon"', "backwards", "say sat,sun,mon"),
        case("reversed weekdays from 7", "0 0 * * 7-3", 'day-of-week "7-3"', "backwards", "say 7,0-3"),
        case("reversed months", "0 0 1 nov-feb *", 'month "nov-feb"', "backwards", "say nov,dec,jan,feb"),
        case("reversed in H", "H(9-3) * * * *", 'minute "H(9-3)"', "backwards", "say H(3-9)"),
        case("minute out of range", "60 * * * *", 'minute "60"', "out of range", "use 0-59"),
        case("hour out of range", "0 24 * * *", 'hour "24"', "out of range", "use 0-23"),
        case("day 0", "0 0 0 * *", 'day-of-month "0"', "out of range", "use 1-31"),
        case("day 32", "0 0 32 * *", 'day-of-month "32"', "out of range", "use 1-31"),
        case("month 0", "0 0 * 0 *", 'month "0"', "out of range", "use 1-12 or jan-dec"),
        case("month 13", "0 0 * 13 *", 'month "13"', "out of range", "use 1-12 or jan-dec"),
        case("weekday 8", "0 0 * * 8", 'day-of-week "8"', "out of range", "use 0-7 or sun-sat"),
        case("range out of range though its step stays inside", "5-64/30 * * * *", 'minute "5-64/30"', "64 is out of range", "use 0-59"),
        case("W out of range", "0 0 32W * *", 'day-of-month "32W"', "out of range", "use 1-31"),
        case("an endless number", "9" * 9999 + " * * * *", "minute", "out of range", "use 0-59"),
        case("day's name in the month", "0 0 * mon *", 'month "mon"', "belongs into the day-of-week", "use 1-12 or jan-dec here"),
        case("month's name in the weekday", "0 0 * * jan", 'day-of-week "jan"', "belongs into the month", "use 0-7 or sun-sat here"),
        case("name in the minute", "mon * * * *", 'minute "mon"', "belongs into the day-of-week", "use 0-59 here"),
        case("full name", "0 0 * * Monday", 'day-of-week "Monday"', "not a name", "did you mean mon?"),
        case("misspelt name", "0 0 * ja *", 'month "ja"', "not a value", "did you mean jan?"),
        case("no value", "x * * * *", 'minute "x"', "not a value", "use 0-59"),
        case("Quartz's question mark", "0 0 ? * 1", 'day-of-month "?"', "not a value", "say *"),
        case("trailing comma", "1, * * * *", 'minute "1,"', "empty", "remove the comma"),
        case("leading comma", "0 ,1 * * *", 'hour ",1"', "empty", "remove the comma"),
        case("doubled comma", "0 0 1,,2 * *", 'day-of-month "1,,2"', "empty", "remove the comma"),
        case("junk after a star", "*5 * * * *", 'minute "*5"', "nothing may follow the *", "*/5"),
        case("junk after a range", "1-5-7 * * * *", 'minute "1-5-7"', "two ends", "say 1-5"),
        case("range without end", "0 5- * * *", 'hour "5-"', "missing", "use 0-23"),
        case("range without start", "0 -5 * * *", 'hour "-5"', "missing", "use 0-23"),
        case("other digits than 0-9", "٣ * * * *", 'minute "٣"', "not a value", "use 0-59"),
        case("other digits in a step", "*/٣ * * * *", 'minute "*/٣"', "not a step", "as in */15"),
        case("superscript digits", "0 0 ² * *", 'day-of-month "²"', "not a value", "use 1-31"),
        case("no-break space is no blank", "0\u00a00 * * * *", "minute", "not a value", "use 0-59"),
        case("W alone", "0 0 W * *", 'day-of-month "W"', "not a value", "use 1-31"),
        case("W on a range", "0 0 1-5W * *", 'day-of-month "1-5W"', "neither a range nor a step", "list the days"),
        case("L with a distance", "0 0 L-3 * *", 'day-of-month "L-3"', "neither a range nor a step", "list the days"),
        case("L with a step", "0 0 L/2 * *", 'day-of-month "L/2"', "neither a range nor a step", "list the days"),
        case("L alone as a weekday", "0 0 * * L", 'day-of-week "L"', "a weekday is missing", "5L"),
        case("L in the hour", "0 L * * *", 'hour "L"', "not a value", "use 0-23"),
        case("8L", "0 0 * * 8L", 'day-of-week "8L"', "out of range", "use 0-7"),
        case("L on a range", "0 0 * * 1-5L", 'day-of-week "1-5L"', "neither a range nor a step", "list the days"),
        case("#0", "0 0 * * 5#0", 'day-of-week "5#0"', "not a week", "#1 to #5"),
        case("#6", "0 0 * * 5#6", 'day-of-week "5#6"', "not a week", "#1 to #5"),
        case("# without a week", "0 0 * * 5#", 'day-of-week "5#"', "not a week", "#1 to #5"),
        case("# without a day", "0 0 * * #2", 'day-of-week "#2"', "a weekday is missing", "5#2"),
        case("# on a range", "0 0 * * 1-5#2", 'day-of-week "1-5#2"', "neither a range nor a step", "list the days"),
        case("H out of range", "H(0-60) * * * *", 'minute "H(0-60)"', "60 is out of range", "use 0-59"),
        case("H with a step too large", "0 H/25 * * *", 'hour "H/25"', "larger than its range", "at most 24"),
        case("H with junk", "H5 * * * *", 'minute "H5"', "not a value", "use 0-59"),
        case("H half open", "H(0- * * * *", 'minute "H(0-"', "not a value", "use 0-59"),
        case("never: 30 February", "0 0 30 2 *", 'day-of-month "30", month "2"', "never meet", "use L"),
        case("never: 31st of short months", "0 0 31 2,4,6,9,11 *", 'month "2,4,6,9,11"', "never meet", "use L"),
        case("never: 31W of short months", "0 0 31W 2,4,6,9,11 *", 'day-of-month "31W"', "never meet", "use L"),
        case("never: weekday on a weekend", "0 0 15W * */6", 'day-of-week "*/6"', "never meet", "use L"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_field_and_the_remedy(expression: str, field: str, reason: str, remedy: str) -> None:
    with pytest.raises(CronError) as caught:
        Cron(expression)
    assert isinstance(caught.value, ValueError)
    assert field in caught.value.message
    assert reason in caught.value.message
    assert remedy in caught.value.hint
    assert len(str(caught.value)) < 300


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
        case("New York: spring", "15 2 * * *", "America/New_York", "2026-03-07 12:00", "03-08 03:00-0400, 03-09 02:15-0400"),
        case("New York: midnight after the spring change", "0 0 * * *", "America/New_York", "2026-03-08 00:00", "03-09 00:00-0400, 03-10 00:00-0400"),
        case("New York: autumn", "30 1 * * *", "America/New_York", "2026-10-31 12:00", "11-01 01:30-0400, 11-02 01:30-0500"),
        case("New York: autumn, second pass", "30 1 * * *", "America/New_York", "2026-11-01 01:00-05:00", "11-02 01:30-0500"),
        case("New York: autumn, wildcard", "*/30 1 * * *", "America/New_York", "2026-11-01 00:45", "11-01 01:00-0400, 11-01 01:30-0400, 11-01 01:00-0500, 11-01 01:30-0500"),
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
        case("Apia: the skipped day is not made good", "0 12 * * *", "Pacific/Apia", "2011-12-29 00:00", "12-29 12:00-1000, 12-31 12:00+1400"),
        case("Apia: a rule of that date only", "0 12 30 12 *", "Pacific/Apia", "2011-12-01 00:00", "12-30 12:00+1400"),
        case("Apia: fires at the instant after the jump", "0 0 * * *", "Pacific/Apia", "2011-12-29 12:00", "12-31 00:00+1400, 01-01 00:00+1400"),
        # Casey moves by exactly three hours: too large to be made good
        case("Casey: three hours forward", "30 1 * * *", "Antarctica/Casey", "2020-10-03 12:00", "10-05 01:30+1100"),
        case("Casey: three hours back", "30 0 * * *", "Antarctica/Casey", "2010-03-04 12:00", "03-05 00:30+1100, 03-05 00:30+0800, 03-06 00:30+0800"),
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
