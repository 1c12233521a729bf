"""The only reader of the clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the place


def monotonic() -> float:
    """Seconds that no clock change touches; comparable within one process."""
    return time.monotonic()


def monotonic_usec() -> int:
    """CLOCK_MONOTONIC in microseconds, as systemd wants it."""
    return time.monotonic_ns() // 1000
