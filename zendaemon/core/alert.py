"""An alert: something that a person wants to be told of, and not only to find in the log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from zendaemon.core.fire import Fire


class AlertKind(StrEnum):
    """What happened. `recovered` tells that what was alerted before is well again."""

    FAILED = "failed"
    MISSED = "missed"
    RUN_FAILED = "run_failed"
    RUN_STUCK = "run_stuck"
    LATE_START = "late_start"
    LATE_FINISH = "late_finish"
    NO_SUCCESS = "no_success"
    PAUSED = "paused"
    UNRESOLVED = "unresolved"
    UNAVAILABLE = "unavailable"
    RELOAD_REFUSED = "reload_refused"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One happening. Of what concerns the whole daemon, such as a server that is away, `schedule` is None.

    `of` is the kind that a `recovered` one ends. `fire` is there where it is about one.
    """

    kind: AlertKind
    at: datetime
    text: str
    schedule: str | None = None
    fire: Fire | None = None
    of: AlertKind | None = None
