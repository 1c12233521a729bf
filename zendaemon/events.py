"""The events of fires: what each carries, and the one that closes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from zendaemon.core.fire import FireState, instant_text

if TYPE_CHECKING:
    from zendaemon.core.fire import Fire

log = structlog.get_logger()


def fire_values(fire: Fire) -> dict[str, object]:
    """What every event of a fire carries, as far as it is known."""
    values = {
        "schedule": fire.schedule,
        "fire_time": instant_text(fire.fire_time),
        "fire_key": str(fire.key),
        "run_name": fire.run_name,
        "run_id": fire.run_id,
        "attempt": fire.attempts or None,
        "lateness_seconds": None if fire.lateness_seconds is None else round(fire.lateness_seconds, 3),
    }
    return {key: value for key, value in values.items() if value is not None}


def say_closed(fire: Fire) -> None:
    """The one closing event of a fire, or of a range of them."""
    more = {"reason": fire.reason, "message": fire.message, "through": fire.through and instant_text(fire.through)}
    bound = fire_values(fire) | {key: value for key, value in more.items() if value}
    match fire.state:
        case FireState.STARTED:
            log.info("fire.started", run_status=fire.run_status, **bound)
        case FireState.SKIPPED:
            log.info("fire.skipped", **bound)
        case FireState.MISSED:
            log.warning("fire.missed", **bound)
        case FireState.FAILED:
            log.error("fire.failed", **bound)
        case FireState.CLAIMED:
            raise AssertionError("a claim is not closed")
