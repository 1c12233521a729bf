"""Which schedules of many are wanted, and in what order: one definition for the pages and the HTTP API. Pure."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from zendaemon.core.fire import FireState
from zendaemon.core.shown import ScheduleState
from zendaemon.web.wire import LastFire, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from zendaemon.journal import Last
    from zendaemon.operations import Brief
    from zendaemon.web.wire import SchedulesWanted

_WORST = (
    ScheduleState.UNRESOLVED,
    ScheduleState.PAUSED,
    ScheduleState.ACTIVE,
    ScheduleState.DISABLED,
    ScheduleState.FINISHED,
)


def select(briefs: Iterable[Brief], wanted: SchedulesWanted, last: Mapping[str, Last]) -> list[str]:
    """The names of those that are wanted, sorted. `last` may be empty unless `wanted.needs_last`."""
    words = (wanted.search or "").casefold().split()
    found = [brief for brief in briefs if _fits(brief, words, wanted, last.get(brief.schedule.name))]
    found.sort(key=lambda brief: brief.schedule.name)
    down = wanted.sort.startswith("-")
    key = _order(Order(wanted.sort.removeprefix("-")), last)
    valued = [(key(brief), brief.schedule.name) for brief in found]
    sortable = sorted((pair for pair in valued if pair[0] is not None), key=itemgetter(0), reverse=down)
    return [name for _, name in sortable] + [name for value, name in valued if value is None]


def tags(briefs: Iterable[Brief]) -> list[str]:
    """All tags, the most used first."""
    counts = Counter(tag for brief in briefs for tag in brief.schedule.tags)
    return [tag for tag, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _fits(brief: Brief, words: list[str], wanted: SchedulesWanted, last: Last | None) -> bool:
    schedule = brief.schedule
    if wanted.state not in (None, brief.state):
        return False
    if wanted.promises == "broken" and not brief.breaks:
        return False
    if wanted.tag is not None and wanted.tag not in schedule.tags:
        return False
    if wanted.last is not None and not _was(last, wanted.last):
        return False
    if not words:
        return True
    texts = [text.casefold() for text in (schedule.name, schedule.description, str(schedule.target), *schedule.tags)]
    return all(any(word in text for text in texts) for word in words)


def _was(last: Last | None, wanted: LastFire) -> bool:
    if last is None:
        return wanted is LastFire.NONE
    if wanted is LastFire.TROUBLE:
        return last.state in (FireState.FAILED, FireState.MISSED) or last.run_status == "failed"
    return last.state == wanted.value


def _order(order: Order, last: Mapping[str, Last]) -> Callable[[Brief], Any]:
    """What schedules are sorted by; those where that is None come at the end, either way."""
    match order:
        case Order.NEXT:
            return lambda brief: brief.next_fire_time
        case Order.LAST:
            return lambda brief: found.fire_time if (found := last.get(brief.schedule.name)) else None
        case Order.STATE:
            return lambda brief: _WORST.index(brief.state)
        case _:
            return lambda brief: brief.schedule.name
