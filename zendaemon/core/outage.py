"""One outage of the server, and what becomes of alerts that follow from it: they are counted, and told at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from zendaemon.core.alert import AlertKind
from zendaemon.core.fire import FireState, Reason

if TYPE_CHECKING:
    from zendaemon.core.alert import Alert
    from zendaemon.core.fire import Fire

_KNOWN = 1000
_NO_PATIENCE = frozenset({Reason.RETRIES_EXHAUSTED, Reason.CATCHUP_WINDOW, Reason.CATCHUP_LATEST})
"""The reasons with which a fire ends that nothing but the outage was against."""


@dataclass(slots=True, kw_only=True)
class Outage:
    """From `since` till the server answered at `back_at` and everything that waited till then is through.

    `late`, `missed` and `failed` count fires; a range of missed ones counts once.
    """

    since: datetime
    why: str
    back_at: datetime | None = None
    told: bool = False
    inherited: bool = False
    late: int = 0
    missed: int = 0
    failed: int = 0
    names: list[str] = field(default_factory=list)

    def closed(self, fire: Fire) -> None:
        """Count it, if it had to wait for the server."""
        if self.inherited and self.back_at is None and fire.state is FireState.STARTED:
            self.back_at = fire.decided_at  # who went down with the earlier process, nobody here saw come back
        if fire.state is FireState.STARTED:
            self.late += self._waited(fire)
        elif follows(fire):
            self.missed += fire.state is FireState.MISSED
            self.failed += fire.state is FireState.FAILED
            if fire.schedule not in self.names and len(self.names) < _KNOWN:
                self.names.append(fire.schedule)

    def _waited(self, fire: Fire) -> bool:
        return self.back_at is not None and fire.fire_time <= self.back_at <= (fire.decided_at or fire.fire_time)

    @property
    def counts(self) -> dict[str, int]:
        return {"late": self.late, "missed": self.missed, "failed": self.failed}

    @property
    def lasted(self) -> timedelta:
        return max(timedelta(), (self.back_at or self.since) - self.since)


def follows(fire: Fire) -> bool:
    """Whether a fire that became no run lacked nothing but the server."""
    return fire.state in (FireState.MISSED, FireState.FAILED) and fire.reason in _NO_PATIENCE


def absorbed(alert: Alert) -> bool:
    """Whether an alert during an outage is only counted."""
    if alert.kind is AlertKind.LATE_START:
        return True
    return alert.kind in (AlertKind.FAILED, AlertKind.MISSED) and alert.fire is not None and follows(alert.fire)


HELD = frozenset({AlertKind.RUN_STUCK, AlertKind.LATE_FINISH, AlertKind.NO_SUCCESS})
"""What may only seem so while the server tells nothing: kept back, and told at the end where it is still so."""
