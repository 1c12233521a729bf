"""RRULE: the days that dateutil finds too, wherever its search has an end."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from dateutil import rrule
from hypothesis import given, settings
from hypothesis import strategies as st

from zendaemon.core.recurrence import Budget, Frequency, Recurrence, TooMuchWork

BEGIN, END = date(2024, 1, 1), date(2030, 1, 1)
ALL = {"YEARLY": rrule.YEARLY, "MONTHLY": rrule.MONTHLY, "WEEKLY": rrule.WEEKLY, "DAILY": rrule.DAILY}


def days(start: date, budget: int = 10**6, **rule: Any) -> list[date]:  # noqa: ANN401 - the parts of a rule
    return list(Recurrence(**rule).days(start, BEGIN, END, Budget(budget)))


@st.composite
def rules(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same rule in dateutil's words and in ours; such that each year has a day of it."""
    frequency = draw(st.sampled_from(sorted(ALL)))
    theirs: dict[str, Any] = {"freq": ALL[frequency], "interval": draw(st.sampled_from([1, 2, 3, 5]))}
    ours: dict[str, Any] = {"frequency": Frequency(frequency), "interval": theirs["interval"]}
    theirs["wkst"] = ours["week_start"] = draw(st.sampled_from([0, 6, 3]))
    kind = draw(st.sampled_from(["", "month", "monthday", "weekday", "nth", "yearday"]))
    if kind == "month" or (kind == "weekday" and draw(st.booleans())):
        theirs["bymonth"] = months = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True))
        ours["months"] = frozenset(months)
    if kind == "monthday":
        theirs["bymonthday"] = some = draw(st.lists(st.sampled_from([1, 5, 28, -1, -15, 31]), min_size=1, max_size=3))
        ours["month_days"] = frozenset(some)
    if kind == "yearday" and frequency == "YEARLY":
        theirs["byyearday"] = some = draw(st.lists(st.sampled_from([1, 60, 365, -1, -366]), min_size=1, max_size=3))
        ours["year_days"] = frozenset(some)
    if kind == "weekday" or (kind == "nth" and frequency in ("YEARLY", "MONTHLY")):
        which = st.sampled_from([1, 2, 4, -1, -2]) if kind == "nth" else st.just(0)
        pairs = draw(st.lists(st.tuples(which, st.integers(0, 6)), min_size=1, max_size=3))
        theirs["byweekday"] = [rrule.weekday(day, number or None) for number, day in pairs]
        ours["weekdays"] = frozenset(pairs)
        if draw(st.booleans()):
            theirs["bysetpos"] = places = draw(st.lists(st.sampled_from([1, 2, -1]), min_size=1, max_size=2))
            ours["positions"] = frozenset(places)
    return theirs, ours


@settings(deadline=None, max_examples=150)
@given(
    rules(),
    st.dates(date(2015, 1, 1), date(2026, 1, 1)),
    st.none() | st.integers(1, 60),
    st.none() | st.dates(BEGIN, END),
)
def test_the_days_are_dateutils(
    rule: tuple[dict[str, Any], dict[str, Any]], start: date, count: int | None, until: date | None
) -> None:
    theirs, ours = rule
    midnight = datetime(start.year, start.month, start.day)
    rough = rrule.rrule(dtstart=midnight, until=datetime(2060, 1, 1), **theirs)
    first = next(iter(rough), None)
    if first is None or first.date() >= END:
        return
    last = datetime(END.year, END.month, END.day) if until is None else datetime(until.year, until.month, until.day)
    expected = islice(rrule.rrule(dtstart=first, until=last, **theirs), count)
    found = days(first.date(), **ours, count=count, until=until)
    within = [day.date() for day in expected if BEGIN <= day.date() < END]
    assert found == within or (first.date() > last.date() and found == [first.date()])


@pytest.mark.parametrize(
    ("start", "rule", "expected"),
    [
        pytest.param("2020-02-29", {"frequency": Frequency.YEARLY}, "2024-02-29, 2028-02-29", id="a leap day"),
        pytest.param("2029-10-31", {"frequency": Frequency.MONTHLY}, "2029-10-31, 2029-12-31", id="a month without the day is passed over"),
        pytest.param("2029-11-05", {"frequency": Frequency.MONTHLY, "month_days": frozenset({31})}, "2029-11-05, 2029-12-31", id="the first day is one, whatever the rule"),
        pytest.param("1601-01-01", {"frequency": Frequency.YEARLY, "interval": 2}, "2025-01-01, 2027-01-01, 2029-01-01", id="from Outlook's first year"),
        pytest.param("2023-01-01", {"frequency": Frequency.DAILY, "count": 366}, "2024-01-01", id="the count begins at the first day"),
        pytest.param("2035-01-01", {"frequency": Frequency.DAILY}, "", id="after the span"),
        pytest.param("2029-01-01", {"frequency": Frequency.YEARLY, "interval": 100_000}, "2029-01-01", id="beyond the calendar"),
    ],
)  # fmt: skip
def test_recurrence(start: str, rule: dict[str, Any], expected: str) -> None:
    assert days(date.fromisoformat(start), **rule) == [date.fromisoformat(day) for day in expected.split(", ") if day]


def test_a_day_that_never_comes_ends_the_search_at_the_end_of_the_span() -> None:
    never = {"months": frozenset({2}), "month_days": frozenset({31})}
    assert days(date(2024, 1, 1), 10_000, frequency=Frequency.YEARLY, **never) == [date(2024, 1, 1)]


def test_a_search_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(TooMuchWork):
        days(date(1601, 1, 1), 100_000, frequency=Frequency.DAILY, count=10**6)
    assert days(date(1601, 1, 1), 10_000, frequency=Frequency.DAILY)[-1] == END - timedelta(days=1)
