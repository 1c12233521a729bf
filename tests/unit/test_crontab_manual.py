"""The manual as a table: crontab(5) and cron(8) of Debian's cron, what zendaemon adds to them and what it refuses."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

import pytest
from unit.cron_tables import START, case, fires

from zendaemon.core.cron import Cron
from zendaemon.core.errors import CronError


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        case("a field may be an asterisk, which always stands for first-last", "* * * * *", "01-01 00:01, 01-01 00:02"),
        case("ranges are two numbers with a hyphen, inclusive: 8-11 is hours 8, 9, 10 and 11", "0 8-11 * * *", "01-01 08:00, 01-01 09:00, 01-01 10:00, 01-01 11:00, 01-02 08:00"),
        case("a range of one value", "0 5-5 * * *", "01-01 05:00, 01-02 05:00"),
        case("a range of one value with a step is that value", "30-30/5 0 * * *", "01-01 00:30, 01-02 00:30"),
        case("a list is a set of numbers separated by commas: 1,2,5", "1,2,5 0 * * *", "01-01 00:01, 01-01 00:02, 01-01 00:05, 01-02 00:01"),
        case("or of ranges: 0-1,8-9", "0 0-1,8-9 2 * *", "01-02 00:00, 01-02 01:00, 01-02 08:00, 01-02 09:00"),
        case("lists need no order", "30,10 1 * * *", "01-01 01:10, 01-01 01:30, 01-02 01:10"),
        case("steps on a range: 0-23/2 specifies execution every other hour", "0 0-23/2 * * *", "01-01 02:00, 01-01 04:00"),
        case("steps begin at the range's start", "5-59/20 3 * * *", "01-01 03:05, 01-01 03:25, 01-01 03:45, 01-02 03:05"),
        case("steps are also permitted after an asterisk: every two hours is */2", "0 */2 * * *", "01-01 02:00, 01-01 04:00"),
        case("an uneven step starts anew each hour", "*/25 1-2 * * *", "01-01 01:00, 01-01 01:25, 01-01 01:50, 01-01 02:00"),
        case("a step larger than its range keeps the first value", "*/90 * * * *", "01-01 01:00, 01-01 02:00"),
        case("day-of-month steps begin at 1", "0 0 */10 * *", "01-11 00:00, 01-21 00:00, 01-31 00:00, 02-01 00:00"),
        case("month steps begin at 1", "0 0 1 */5 *", "06-01 00:00, 11-01 00:00, 01-01 00:00"),
        case("leading zeros", "05 04 * * *", "01-01 04:05"),
        case("when specifying day of week, both day 0", "0 0 * * 0", "01-04 00:00, 01-11 00:00"),
        case("and day 7 will be considered Sunday", "0 0 * * 7", "01-04 00:00, 01-11 00:00"),
        case("5-7 is Friday to Sunday", "0 0 * * 5-7", "01-02 00:00, 01-03 00:00, 01-04 00:00, 01-09 00:00"),
        case("0-7 is every day", "0 0 * * 0-7", "01-02 00:00, 01-03 00:00, 01-04 00:00, 01-05 00:00"),
        case("*/7 of the weekdays is Sunday, twice named", "0 0 * * */7", "01-04 00:00, 01-11 00:00"),
        case("1-7/3 is Monday, Thursday and Sunday", "0 0 * * 1-7/3", "01-04 00:00, 01-05 00:00, 01-08 00:00"),
        case("names can be used for the day of week, case does not matter", "0 0 * * Mon,FRI,wed", "01-02 00:00, 01-05 00:00, 01-07 00:00"),
        case("names can be used for the month: the first three letters, case does not matter", "0 0 1 feb,MAR,Dec *", "02-01 00:00, 03-01 00:00, 12-01 00:00"),
        case("ranges of names: the manual forbids them, Debian's cron takes them", "0 0 * jan mon-wed", "01-05 00:00, 01-06 00:00, 01-07 00:00, 01-12 00:00"),
        case("ranges of names with a step", "0 0 * * mon-fri/2", "01-02 00:00, 01-05 00:00, 01-07 00:00"),
        case("a name and a number in one range", "0 0 * * mon-3", "01-05 00:00, 01-06 00:00, 01-07 00:00"),
        case("sun-tue starts the week on Sunday", "0 0 * * sun-tue", "01-04 00:00, 01-05 00:00, 01-06 00:00, 01-11 00:00"),
        case("if both day fields are restricted (are not *), either matches: 30 4 1,15 * 5", "30 4 1,15 * 5", "01-01 04:30, 01-02 04:30, 01-09 04:30, 01-15 04:30, 01-16 04:30"),
        case("the day of month is *: the day of week alone", "0 0 * * 1", "01-05 00:00, 01-12 00:00"),
        case("the day of week is *: the day of month alone", "0 0 13 * *", "01-13 00:00, 02-13 00:00"),
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
        case("lists of names: the manual forbids them too", "0 0 1 jan,jul *", "07-01 00:00, 01-01 00:00"),
        case("lists and ranges are allowed to co-exist in the same field: 1-3,7-9", "0 0 1-3,7-9 2 *", "02-01 00:00, 02-02 00:00, 02-03 00:00, 02-07 00:00, 02-08 00:00, 02-09 00:00"),
        case("ranges can include steps: 1-9/2 is the same as 1,3,5,7,9", "0 0 1-9/2 2 *", "02-01 00:00, 02-03 00:00, 02-05 00:00, 02-07 00:00, 02-09 00:00"),
        case("the manual's example: five minutes after midnight, every day", "5 0 * * *", "01-01 00:05, 01-02 00:05"),
        case("the manual's example: at 2:15pm on the first of every month", "15 14 1 * *", "01-01 14:15, 02-01 14:15"),
        case("the manual's example: at 10 pm on weekdays", "0 22 * * 1-5", "01-01 22:00, 01-02 22:00, 01-05 22:00"),
        case("the manual's example: 23 minutes after midnight, 2am, 4am, every day", "23 0-23/2 * * *", "01-01 00:23, 01-01 02:23, 01-01 04:23"),
        case("the manual's example: at 5 after 4 every Sunday", "5 4 * * sun", "01-04 04:05, 01-11 04:05"),
        case("minute 0-59", "0,59 0 * * *", "01-01 00:59, 01-02 00:00"),
        case("hour 0-23", "0 0,23 * * *", "01-01 23:00, 01-02 00:00"),
        case("day of month 1-31 (the manual's 0 is refused by cron)", "0 12 1,31 * *", "01-01 12:00, 01-31 12:00, 02-01 12:00"),
        case("month 1-12", "0 12 1 1,12 *", "01-01 12:00, 12-01 12:00, 01-01 12:00"),
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


# cron(8), in New York: 2026-03-08 02:00 -> 03:00, 2026-11-01 02:00 -> 01:00; in Casey and Apia, larger ones.
@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        case("if the time has moved forwards, jobs in the time that was skipped run soon after the change", "30 2 * * *", "America/New_York", "2026-03-08 00:00", "03-08 03:00-0400, 03-09 02:30-0400"),
        case("if it has moved backwards, those jobs that fall into the repeated time will not be re-run", "30 1 * * *", "America/New_York", "2026-11-01 00:00", "11-01 01:30-0400, 11-02 01:30-0500"),
        case("only jobs that run at a particular time are affected: not a * in the minute, forwards", "*/30 2 * * *", "America/New_York", "2026-03-08 00:00", "03-09 02:00-0400, 03-09 02:30-0400"),
        case("a * in the minute, backwards", "*/30 1 * * *", "America/New_York", "2026-11-01 00:00", "11-01 01:00-0400, 11-01 01:30-0400, 11-01 01:00-0500, 11-01 01:30-0500, 11-02 01:00-0500"),
        case("a * in the hour, backwards", "30 * * * *", "America/New_York", "2026-11-01 01:00-04:00", "11-01 01:30-0400, 11-01 01:30-0500, 11-01 02:30-0500"),
        case("@hourly, forwards", "@hourly", "America/New_York", "2026-03-08 00:30", "03-08 01:00-0500, 03-08 03:00-0400"),
        case("@hourly, backwards", "@hourly", "America/New_York", "2026-11-01 00:30", "11-01 01:00-0400, 11-01 01:00-0500, 11-01 02:00-0500"),
        case("changes of more than 3 hours are corrections, and the new time is used immediately", "0 12 * * *", "Pacific/Apia", "2011-12-29 00:00", "12-29 12:00-1000, 12-31 12:00+1400"),
        case("of exactly 3 hours, forwards: a correction", "30 1 * * *", "Antarctica/Casey", "2020-10-03 12:00", "10-05 01:30+1100"),
        case("of exactly 3 hours, backwards: not re-run", "30 0 * * *", "Antarctica/Casey", "2010-03-04 12:00", "03-05 00:30+1100, 03-06 00:30+0800"),
    ],
)  # fmt: skip
def test_the_rules_of_cron_when_the_clock_is_changed(expression: str, zone: str, start: str, expected: str) -> None:
    wanted = expected.split(", ")
    assert fires(expression, start, len(wanted), zone) == wanted


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
