"""Deleting rows that nobody needs any more, a few in each transaction.

What goes is decided here alone: a row that is final and whose run is not followed any longer. Watermarks are in another
table and stay; runs that go are counted there, for `max_runs`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, literal_column, or_, select, update

from zendaemon.core.fire import FireState
from zendaemon.journal.tables import LATEST, Instant, fires, schedules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Row, Select

ROWS = 200
"""Rows that a transaction looks at for deletion, at most."""
STEPS = 20
"""Looks at the index in a transaction, at most: to find the next schedule, or to pass over rows that stay."""
STRIDE = 2000
"""Entries of the index that such a step passes over, at most; it does not read their rows."""

_latest = literal_column(LATEST, Instant())
_PLACE = select(_latest.label("latest"), fires.c.id)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sweep stands: at a row, named by its last fire time and id.

    A sweep by count stands in a schedule too, at its newest row while `latest` is None, and has `keep` more rows of it
    to pass over before the surplus begins.
    """

    latest: datetime | None = None
    id: int = 0
    schedule: str = ""
    keep: int = 0


@dataclass(frozen=True, slots=True)
class Swept:
    """What one transaction did: `rows` deleted, and where to go on, None at the end."""

    rows: int
    place: Place | None


def prune_old(connection: Connection, before: datetime, place: Place | None) -> Swept:
    """Delete rows whose last fire time is before `before`, from the oldest on."""
    page = _PLACE.where(_latest < before).order_by(_latest, fires.c.id).limit(ROWS)
    if place is not None:
        page = page.where(_latest >= place.latest, or_(_latest > place.latest, fires.c.id > place.id))
    found = connection.execute(page).all()
    rows = _delete(connection, found)
    return Swept(rows, Place(found[-1].latest, found[-1].id) if len(found) == ROWS else None)


def prune_surplus(connection: Connection, keep: int, before: datetime, place: Place | None) -> Swept:
    """Delete rows beyond the newest `keep` of their schedule whose last fire time is before `before`."""
    place = place or _next_schedule(connection, "", keep)
    rows, budget = 0, ROWS
    for _ in range(STEPS):
        if place is None or not budget:
            break
        if place.keep:
            place = _pass_over(connection, place) or _next_schedule(connection, place.schedule, keep)
            continue
        if place.latest is None or place.latest >= before:
            place = replace(place, latest=before, id=0)
        found = connection.execute(_of_schedule(place).limit(budget)).all()
        rows += _delete(connection, found)
        if len(found) < budget:
            place = _next_schedule(connection, place.schedule, keep)
        else:
            place = Place(found[-1].latest, found[-1].id, place.schedule)
        budget -= len(found)
    return Swept(rows, place)


def _of_schedule(place: Place) -> Select[Any]:
    """The rows of the place's schedule that are older than it, the newest first."""
    rows = _PLACE.where(fires.c.schedule == place.schedule).order_by(_latest.desc(), fires.c.id.desc())
    if place.latest is None:
        return rows
    return rows.where(_latest <= place.latest, or_(_latest < place.latest, fires.c.id < place.id))


def _pass_over(connection: Connection, place: Place) -> Place | None:
    """Keep some more of the newest rows; None when the schedule has no more than that."""
    step = min(place.keep, STRIDE)
    last = connection.execute(_of_schedule(place).offset(step - 1).limit(1)).first()
    return None if last is None else Place(last.latest, last.id, place.schedule, place.keep - step)


def _next_schedule(connection: Connection, name: str, keep: int) -> Place | None:
    """The place before the newest row of the schedule that comes after `name`: one look-up in the index each."""
    found = connection.scalar(select(func.min(fires.c.schedule)).where(fires.c.schedule > name))
    return None if found is None else Place(schedule=found, keep=keep)


def _delete(connection: Connection, found: Sequence[Row[Any]]) -> int:
    """Delete those of the rows that may go, and count the runs among them; return how many went."""
    may_go = fires.c.id.in_([row.id for row in found]), fires.c.state != FireState.CLAIMED.value, ~fires.c.followed
    gone = connection.execute(delete(fires).where(*may_go).returning(fires.c.schedule, fires.c.state, fires.c.manual))
    rows = gone.all()
    runs = Counter(row.schedule for row in rows if row.state == FireState.STARTED and not row.manual)
    if runs:
        more = {"pruned_runs": schedules.c.pruned_runs + bindparam("more")}
        connection.execute(
            update(schedules).where(schedules.c.name == bindparam("which")).values(more),
            [{"which": name, "more": count} for name, count in runs.items()],
        )
    return len(rows)
