"""Which schedules of many are wanted, and in what order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from zendaemon.web.wire import Order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zendaemon.operations import Brief
    from zendaemon.web.wire import SchedulesWanted

_NEVER = datetime.max.replace(tzinfo=UTC)


def select(briefs: Iterable[Brief], wanted: SchedulesWanted) -> list[str]:
    """The names of those that are wanted, sorted."""
    found = sorted((brief for brief in briefs if _fits(brief, wanted)), key=lambda brief: brief.schedule.name)
    down = wanted.sort.startswith("-")
    match Order(wanted.sort.removeprefix("-")):
        case Order.NEXT:
            dated = [brief for brief in found if brief.next_fire_time is not None]
            dated.sort(key=lambda brief: brief.next_fire_time or _NEVER, reverse=down)
            found = dated + [brief for brief in found if brief.next_fire_time is None]
        case Order.STATE:
            found.sort(key=lambda brief: brief.state.value, reverse=down)
        case _ if down:
            found.reverse()
    return [brief.schedule.name for brief in found]


def _fits(brief: Brief, wanted: SchedulesWanted) -> bool:
    schedule = brief.schedule
    if wanted.state not in (None, brief.state):
        return False
    if wanted.tag is not None and wanted.tag not in schedule.tags:
        return False
    words = (schedule.name, schedule.description, str(schedule.target), *schedule.tags)
    return not wanted.search or any(wanted.search.casefold() in word.casefold() for word in words)
