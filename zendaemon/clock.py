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


def elapsed() -> float:
    """As `monotonic`, but it goes on while the machine sleeps, where the system has such a clock (Linux)."""
    boot: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def monotonic_usec() -> int:
    """CLOCK_MONOTONIC in microseconds, as systemd wants it."""
    return time.monotonic_ns() // 1000
