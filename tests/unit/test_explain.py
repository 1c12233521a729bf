"""Triggers in words: a table, and that different fire times never have the same words."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zendaemon.core.cron import Cron, Rule
from zendaemon.core.errors import CronError
from zendaemon.core.explain import explain, explain_cron
from zendaemon.core.fields import MACROS, values
from zendaemon.core.schedule import Schedule

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/1 * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0-59/5 * * * *", "every 5 minutes"),
        ("0,30 * * * *", "every 30 minutes"),
        ("*/7 * * * *", "every 7 minutes from minute 0 to 56 of every hour"),
        ("*/90 * * * *", "every hour"),
        ("3-59/15 * * * *", "every 15 minutes from minute 3 to 48"),
        ("1-59/2 * * * *", "every 2 minutes from minute 1 to 59"),
        ("0-10 * * * *", "every minute from minute 0 to 10 of every hour"),
        ("1,2,30 * * * *", "at minutes 1, 2 and 30 of every hour"),
        ("1-3,30 * * * *", "at minutes 1 to 3 and 30 of every hour"),
        ("30-30/5 * * * *", "every hour at minute 30"),
        ("0 * * * *", "every hour"),
        ("5 0-23 * * *", "every hour at minute 5"),
        ("30 2 * * *", "at 02:30 every day"),
        ("00 02 * * *", "at 02:00 every day"),
        ("0 2,14 * * *", "at 02:00 and 14:00 every day"),
        ("0,30 2,14 * * *", "at 02:00, 02:30, 14:00 and 14:30 every day"),
        ("0 */6 * * *", "at 00:00, 06:00, 12:00 and 18:00 every day"),
        ("0 */5 * * *", "every 5 hours from 00:00 to 20:00 every day"),
        ("30 9-17/2 * * *", "every 2 hours from 09:30 to 17:30 every day"),
        ("5 9-17 * * *", "every hour from 09:05 to 17:05 every day"),
        ("0 1,2,4,8,16 * * *", "at 01:00, 02:00, 04:00, 08:00 and 16:00 every day"),
        ("0 0-9,20-23 * * *", "at minute 0 of the hours 0 to 9 and 20 to 23 every day"),
        ("* 5 * * *", "every minute from 05:00 to 05:59 every day"),
        ("0-10 3 * * *", "every minute from 03:00 to 03:10 every day"),
        ("*/7 3 * * *", "every 7 minutes from 03:00 to 03:56 every day"),
        ("*/15 9-17 * * mon-fri", "every 15 minutes from 09:00 to 17:45 on Monday to Friday"),
        ("15,45 9-17 * * MON-Fri", "every 30 minutes from 09:15 to 17:45 on Monday to Friday"),
        ("*/7 9-17 * * *", "every 7 minutes from minute 0 to 56 of the hours 9 to 17 every day"),
        ("1,2,4 7,9 * * *", "at minutes 1, 2 and 4 of the hours 7 and 9 every day"),
        ("1,2,4,8,16 7 * * *", "at minutes 1, 2, 4, 8 and 16 of hour 7 every day"),
        ("*/10 7,9 * * *", "every 10 minutes of the hours 7 and 9 every day"),
        ("* 0-22 * * *", "every minute from 00:00 to 22:59 every day"),
        # Weekdays, with Sunday as 0 and as 7.
        ("0 0 * * 0", "at 00:00 on Sunday"),
        ("0 0 * * 7", "at 00:00 on Sunday"),
        ("0 0 * * 5-7", "at 00:00 on Friday to Sunday"),
        ("0 0 * * 0-2", "at 00:00 on Monday, Tuesday and Sunday"),
        ("0 0 * * sat,sun", "at 00:00 on Saturday and Sunday"),
        ("0 0 * * mon,wed,fri", "at 00:00 on Monday, Wednesday and Friday"),
        ("0 0 * * mon-fri/2", "at 00:00 on Monday, Wednesday and Friday"),
        ("0 0 * * */2", "at 00:00 on Tuesday, Thursday, Saturday and Sunday"),
        ("0 0 * * 0-7", "at 00:00 every day"),
        ("0 0 * * 1-7", "at 00:00 every day"),
        # Days of the month, and months.
        ("0 0 31 * *", "at 00:00 on day 31 of the month"),
        ("0 0 1,15 * *", "at 00:00 on days 1 and 15 of the month"),
        ("0 0 1-7 * *", "at 00:00 on days 1 to 7 of the month"),
        ("0 0 */2 * *", "at 00:00 on every 2nd day from 1 to 31 of the month"),
        ("0 0 */3 * *", "at 00:00 on every 3rd day from 1 to 31 of the month"),
        ("0 0 */40 * *", "at 00:00 on day 1 of the month"),
        ("0 0 1 1 *", "at 00:00 on 1 January"),
        ("0 0 29 2 *", "at 00:00 on 29 February"),
        ("0 0 1 */3 *", "at 00:00 on day 1 of the month in January, April, July and October"),
        ("0 0 1 jan,jul *", "at 00:00 on day 1 of the month in January and July"),
        ("0 0 * 2-4 *", "at 00:00 every day in February to April"),
        ("* * * 12 *", "every minute in December"),
        # Both day fields: OR where neither begins with a star, else AND.
        ("0 0 13 * 5", "at 00:00 on day 13 of the month or on Friday (either is enough)"),
        ("0 2 1,15 7 mon", "at 02:00 on days 1 and 15 of the month or on Monday (either is enough), in July"),
        ("0 0 1-7 * 1,5", "at 00:00 on days 1 to 7 of the month or on Monday or Friday (either is enough)"),
        ("0 0 1-31 * 5", "at 00:00 every day"),
        ("0 0 13 * 0-6", "at 00:00 every day"),
        ("0 0 */2 * 5", "at 00:00 on every 2nd day from 1 to 31 of the month if it is Friday"),
        ("0 0 13 * */2", "at 00:00 on day 13 of the month if it is Tuesday, Thursday, Saturday or Sunday"),
        ("0 0 13 * *,5", "at 00:00 on day 13 of the month"),
        ("0 0 *,13 * 5", "at 00:00 on Friday"),
        # L, W and #.
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 l 2 *", "at 00:00 on the last day of the month in February"),
        ("0 0 LW * *", "at 00:00 on the last weekday (Monday to Friday) of the month"),
        ("0 0 15W * *", "at 00:00 on the weekday (Monday to Friday) nearest to day 15 of the month"),
        ("0 0 1,L * *", "at 00:00 on day 1 and the last day of the month"),
        ("0 0 * * 5L", "at 00:00 on the last Friday of the month"),
        ("0 0 * * 7L", "at 00:00 on the last Sunday of the month"),
        ("0 0 * * friL", "at 00:00 on the last Friday of the month"),
        ("0 0 * * 5#2", "at 00:00 on the second Friday of the month"),
        ("0 0 * * sun#5", "at 00:00 on the fifth Sunday of the month"),
        ("0 0 * * 5#1,5#3", "at 00:00 on the first Friday and the third Friday of the month"),
        ("0 0 * * mon,5L", "at 00:00 on Monday and the last Friday of the month"),
        ("0 0 L * 5L", "at 00:00 on the last day of the month or on the last Friday of the month (either is enough)"),
        # H, of a schedule called `nightly`.
        ("H H * * *", "at 04:43 every day (H: by the schedule's name)"),
        ("H * * * *", "every hour at minute 43 (H: by the schedule's name)"),
        ("H/15 * * * *", "every 15 minutes from minute 13 to 58 (H: by the schedule's name)"),
        ("H(0-29) 3 * * *", "at 03:13 every day (H: by the schedule's name)"),
        # Macros, in any case.
        ("@hourly", "every hour"),
        ("@Daily", "at 00:00 every day"),
        ("@midnight", "at 00:00 every day"),
        ("@weekly", "at 00:00 on Sunday"),
        ("@monthly", "at 00:00 on day 1 of the month"),
        ("@yearly", "at 00:00 on 1 January"),
        ("@annually", "at 00:00 on 1 January"),
    ],
)
def test_an_expression_in_words(expression: str, words: str) -> None:
    assert explain_cron(expression, "nightly") == words


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cron": "0 2 * * *", "timezone": BERLIN}, "at 02:00 every day, Europe/Berlin"),
        ({"cron": ["0 6 * * mon-fri", "0 9 * * sat"]}, "at 06:00 on Monday to Friday; and at 09:00 on Saturday, UTC"),
        ({"every": "6h"}, "every 6 hours (counted from 1970-01-01 00:00 UTC)"),
        (
            {"every": "1h", "timezone": BERLIN, "start_time": "2026-12-01"},
            "every hour (counted from 2026-12-01 00:00 Europe/Berlin)",
        ),
        ({"every": "90s"}, "every 1 minute 30 seconds (counted from 1970-01-01 00:00 UTC)"),
        ({"every": "1d"}, "every 24 hours (counted from 1970-01-01 00:00 UTC)"),
        ({"every": "1w"}, "every 7 days of 24 hours (counted from 1970-01-01 00:00 UTC)"),
        ({"every": "36h"}, "every 36 hours (counted from 1970-01-01 00:00 UTC)"),
        (
            {"at": ["2027-01-01T02:00:30", "2026-12-24"], "timezone": BERLIN},
            "at 2026-12-24 00:00 and 2027-01-01 02:00:30, Europe/Berlin",
        ),
        (
            {"at": [f"2027-01-0{day}" for day in range(1, 8)]},
            "at 2027-01-01 00:00, 2027-01-02 00:00, 2027-01-03 00:00, 2027-01-04 00:00, 2027-01-05 00:00 and 2 more, UTC",
        ),
        (
            {"cron": "0 2 * * *", "timezone": BERLIN, "start_time": "2026-12-01", "end_time": "2027-12-01T12:00:00"},
            "at 02:00 every day, Europe/Berlin; from 2026-12-01 00:00 Europe/Berlin on; before 2027-12-01 12:00 Europe/Berlin",
        ),
        (
            {
                "cron": "0 2 * * *",
                "exclude": ["2026-12-24", "2026-12-27/2027-01-02", "* * * 12 sat,sun", "calendar:bank"],
            },
            "at 02:00 every day, UTC; except 2026-12-24, 2026-12-27 to 2027-01-02, every minute on Saturday and Sunday in December and calendar bank",
        ),
        ({"cron": "0 2 * * *", "jitter": "5m"}, "at 02:00 every day, UTC; started 3m46s later (jitter 5m)"),
    ],
)
def test_a_schedule_in_words(keys: dict[str, Any], words: str) -> None:
    assert explain(Schedule.model_validate({"name": "nightly", "snapshot": "prod", **keys})) == words


@pytest.mark.parametrize("macro", MACROS)
def test_a_macro_stands_for_what_the_evaluator_takes_it_for(macro: str) -> None:
    one, other = Rule(macro, ""), Rule(MACROS[macro], "")
    assert all(getattr(one, name) == getattr(other, name) for name in Rule.__slots__)


def items(*texts: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(texts), min_size=1, max_size=3, unique=True).map(",".join)


EXPRESSIONS = st.tuples(
    items("*", "0", "30", "*/15", "*/7", "*/20", "1-59/2", "10-20", "5"),
    items("*", "0", "2", "*/6", "*/5", "9-17", "9-17/2", "22", "23"),
    items("*", "1", "13", "*/2", "L", "LW", "15W", "1-31", "1-7", "31"),
    items("*", "1", "2", "*/3", "6-8", "dec"),
    items("*", "0", "7", "5", "*/2", "5L", "5#2", "1-5", "0-7", "sat"),
).map(" ".join)


def rule_of(expression: str) -> tuple[object, ...]:
    """All that decides about wall times, however it is written."""
    Rule(expression, "")  # refuses what never fires
    says = values(expression)
    every_day, every_weekday = len(says.days) == 31, len(says.weekdays) == 7
    if says.either and (every_day or every_weekday):
        return says.minutes, says.hours, says.months, None, None, False
    return (
        says.minutes,
        says.hours,
        says.months,
        None if every_day else (says.days, says.special_days),
        None if every_weekday else (says.weekdays, says.special_weekdays),
        says.either and not every_day and not every_weekday,
    )


WORDS: dict[str, tuple[object, ...]] = {}


@settings(max_examples=1500, deadline=None)
@given(EXPRESSIONS)
def test_the_same_words_mean_the_same_fire_times(expression: str) -> None:
    try:
        rule = rule_of(expression)
    except CronError:  # days that never meet
        return
    words = explain_cron(expression)
    assert WORDS.setdefault(words, rule) == rule, expression


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_every_fire_is_in_the_fields(expression: str) -> None:
    try:
        cron = Cron(expression)
    except CronError:
        return
    fields = values(expression)
    fire = cron.next_after(NOW)
    assert fire is not None
    assert (fire.minute in fields.minutes, fire.hour in fields.hours, fire.month in fields.months) == (True, True, True)
