"""Durations as files write them."""

# ruff: noqa: E501 - a table is a line
from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zendaemon.core.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10s", timedelta(seconds=10)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        (" 5M ", timedelta(minutes=5)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5h", timedelta(minutes=90)),
        ("2w1d", timedelta(days=15)),
        ("0s", timedelta()),
        ("1m1m", timedelta(minutes=2)),
    ],
)
def test_parse(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected
    assert parse_duration(expected) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "10", "s", "-1s", "1h-30m", "1 hour", "1y", "1,5h", "1e3s", "٣s", "1s!", ".5s", "1234567890s", 10, None, True, 1.5]
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_a_remedy(text: object) -> None:
    with pytest.raises(ValueError, match=r"is no duration; write a number and a unit, such as 30s"):
        parse_duration(text)


def test_what_no_calendar_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="too long a duration"):
        parse_duration("999999999w")


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=7), "7d"),
        (timedelta(milliseconds=1500), "1s500ms"),
        (timedelta(), "0s"),
    ],
)
def test_format(duration: timedelta, expected: str) -> None:
    assert format_duration(duration) == expected


@given(st.integers(0, 10**14))
def test_format_and_parse_are_inverse(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration
