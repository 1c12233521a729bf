"""What the tables of cron tests are written with."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from zendaemon.core.cron import Cron

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
