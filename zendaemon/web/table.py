"""The table of schedules: which of thousands are shown, in what order, and on which page. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from zendaemon.core.fire import FireState
from zendaemon.core.shown import ScheduleState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from zendaemon.journal import Last
    from zendaemon.operations import Brief

PAGE = 100
TROUBLE = "trouble"
LASTS = (TROUBLE, *(state.value for state in FireState), "none")
"""What the last fire may be asked for: `trouble` is failed, missed, or a run that failed; `none` never fired."""
SORTS = ("name", "next", "last", "state")
_NEVER = datetime.max.replace(tzinfo=UTC)
_EVER = datetime.min.replace(tzinfo=UTC)
_WORST = (
    ScheduleState.UNRESOLVED,
    ScheduleState.PAUSED,
    ScheduleState.ACTIVE,
    ScheduleState.DISABLED,
    ScheduleState.FINISHED,
)
_DEFAULTS: Mapping[str, object] = {"sort": "name", "page": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked of the table. Empty strings ask for nothing; `sort` is one of SORTS, with `-` the other way."""

    q: str = ""
    state: str = ""
    last: str = ""
    tag: str = ""
    sort: str = "name"
    page: int = 1

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Query:
        """From an address; what has no meaning is left out, since addresses are written and kept by people."""
        sort = asked.get("sort", "name")
        page = asked.get("page", "1")
        return cls(
            q=asked.get("q", "")[:200],
            state=_one_of(asked.get("state", ""), tuple(ScheduleState)),
            last=_one_of(asked.get("last", ""), LASTS),
            tag=asked.get("tag", "")[:200],
            sort=sort if sort.removeprefix("-") in SORTS else "name",
            page=int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
        )

    @property
    def key(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def needs_last(self) -> bool:
        """Whether the latest fire of every schedule must be known."""
        return bool(self.last) or self.key == "last"

    @property
    def narrowed(self) -> bool:
        return bool(self.q or self.state or self.last or self.tag)

    def link(self, **changes: object) -> str:
        """The address of the table with something changed; of its first page, unless a page is given."""
        plain = {"q": self.q, "state": self.state, "last": self.last, "tag": self.tag, "sort": self.sort, "page": 1}
        values = {name: value for name, value in (plain | changes).items() if value and value != _DEFAULTS.get(name)}
        return "/" + (f"?{urlencode(values)}" if values else "")


@dataclass(frozen=True, slots=True)
class Page:
    """The schedules of one page, by name; `found` of all match. `page` is within the `pages` that there are."""

    names: list[str]
    found: int
    page: int
    pages: int

    @property
    def first(self) -> int:
        return (self.page - 1) * PAGE + 1 if self.found else 0

    @property
    def end(self) -> int:
        return min(self.page * PAGE, self.found)


def select(briefs: Sequence[Brief], last: Mapping[str, Last], query: Query) -> Page:
    """The page that is asked for. `last` may be empty unless the query needs it."""
    chosen = [brief for brief in briefs if _matches(brief, last.get(brief.schedule.name), query)]
    chosen.sort(key=lambda brief: brief.schedule.name)
    if query.key != "name":
        chosen.sort(key=_order(query.key, last), reverse=query.sort.startswith("-"))
    elif query.sort.startswith("-"):
        chosen.reverse()
    pages = max(1, -(-len(chosen) // PAGE))
    page = min(max(1, query.page), pages)
    shown = chosen[(page - 1) * PAGE : page * PAGE]
    return Page([brief.schedule.name for brief in shown], len(chosen), page, pages)


def tags(briefs: Sequence[Brief]) -> list[str]:
    """All tags, the most used first."""
    counts = Counter(tag for brief in briefs for tag in brief.schedule.tags)
    return [tag for tag, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _one_of(value: str, known: Sequence[str]) -> str:
    return value if value in known else ""


def _matches(brief: Brief, last: Last | None, query: Query) -> bool:
    schedule = brief.schedule
    if query.state and brief.state != query.state:
        return False
    if query.tag and query.tag not in schedule.tags:
        return False
    if query.last and not _was(last, query.last):
        return False
    return all(
        word in schedule.name or word in schedule.description.lower() or word in str(schedule.target).lower()
        for word in query.q.lower().split()
    )


def _was(last: Last | None, wanted: str) -> bool:
    if last is None:
        return wanted == "none"
    if wanted == TROUBLE:
        return last.state in (FireState.FAILED, FireState.MISSED) or last.run_status == "failed"
    return last.state == wanted


def _order(key: str, last: Mapping[str, Last]) -> Callable[[Brief], Any]:
    """What schedules are sorted by; those that fire next, fired last or are in the worst state come first."""
    if key == "next":
        return lambda brief: brief.next_fire_time or _NEVER
    if key == "last":
        ages = {name: _NEVER - found.fire_time for name, found in last.items()}
        oldest = _NEVER - _EVER
        return lambda brief: ages.get(brief.schedule.name, oldest)
    return lambda brief: _WORST.index(brief.state)
