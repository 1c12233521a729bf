"""Whether a condition of a schedule holds, by what the server says of the thing that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zendaemon.core.duration import format_duration
from zendaemon.core.fire import instant_text
from zendaemon.core.run import SUCCEEDED, TERMINAL

if TYPE_CHECKING:
    from datetime import datetime

    from zendaemon.core.policy import Condition


@dataclass(frozen=True, slots=True)
class Newest:
    """The run of a pipeline, or the version of an artifact or model, that was created last.

    `at` is when the run ended or the version was made, by the server's clock; None where it does not tell. `status` is
    the run's, None of a version.
    """

    name: str
    at: datetime | None
    status: str | None = None


def subject(condition: Condition) -> str:
    """What a condition is about: `artifact 'dataset'`."""
    for kind in ("pipeline", "artifact", "model"):
        if (name := getattr(condition, kind)) is not None:
            return f"{kind} {name!r}"
    raise AssertionError("a condition names one of them")


def _thing(condition: Condition) -> str:
    return "run" if condition.pipeline is not None else "version"


def missing(condition: Condition) -> str:
    """That the server shows nothing of what the condition names."""
    return f"{subject(condition)}: no {_thing(condition)} of it; not found or not permitted"


def unmet(condition: Condition, newest: Newest | None, since: datetime | None, now: datetime) -> str | None:
    """Why the condition does not hold, None when it does.

    `since` is the start of the schedule's last run that succeeded, None while there is none: then it is enough that
    there is something at all. It and `now` are by the server's clock. `newest` is None where the server shows nothing.
    """
    about, thing = subject(condition), _thing(condition)
    if newest is None:
        return missing(condition)
    if newest.status is not None and newest.status not in SUCCEEDED:
        ended = "ended as" if newest.status in TERMINAL else "has not ended, it is"
        return f"{about}: the last run {newest.name!r} {ended} {newest.status}"
    if condition.within is None and since is None:
        return None
    if newest.at is None:
        return f"{about}: the server does not tell of when the {thing} {newest.name!r} is"
    what = "the last run {!r} ended at {}" if newest.status else "the newest version {!r} is of {}"
    dated = f"{about}: {what.format(newest.name, instant_text(newest.at))}"
    if condition.within is not None:
        recent = newest.at >= now - condition.within
        return None if recent else f"{dated}, longer than {format_duration(condition.within)} ago"
    if since is None or newest.at > since:
        return None
    return f"{dated}, before our last success, which began at {instant_text(since)}"
