"""The journal for readers: nothing is locked, migrated or written, with or without a daemon beside."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, literal_column, or_, select

from zendaemon.core.errors import JournalError
from zendaemon.core.planning import unfolded
from zendaemon.journal.database import connect, sqlite_path, translated
from zendaemon.journal.store import COLUMNS, as_fire
from zendaemon.journal.tables import LATEST, Instant, fires

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Select

    from zendaemon.core.fire import Fire, FireState, Reason

_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which fires: those of one schedule, state or reason, with fire times from `since` on and before `until`."""

    schedule: str | None = None
    state: FireState | None = None
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None

    def narrow(self, query: Select[Any]) -> Select[Any]:
        """A query for rows that hold any of them."""
        for name in ("schedule", "state", "reason"):
            value = getattr(self, name)
            query = query if value is None else query.where(fires.c[name] == str(value))
        if self.since is not None:
            query = query.where(literal_column(LATEST, Instant()) >= self.since)
        return query if self.until is None else query.where(fires.c.fire_time < self.until)

    def has(self, fire: Fire) -> bool:
        """Whether a fire out of a row that holds some of them is one."""
        after = self.since is None or fire.fire_time >= self.since
        return after and (self.until is None or fire.fire_time < self.until)


EVERYTHING = Wanted()


class Reader:
    """Reads a journal. Every method may be called from any thread, and raises JournalError when it cannot be read.

    A journal that is not there yet is an empty one.
    """

    def __init__(self, url: str) -> None:
        self._path = sqlite_path(url)
        self._engine = connect(url, read_only=True)

    def close(self) -> None:
        self._engine.dispose()

    def rows(self, wanted: Wanted = EVERYTHING) -> Iterator[Fire]:
        """Every row that holds what is wanted, as `history` sorts them, read as they are asked for."""
        with self._connected() as connection:
            if connection is not None:
                yield from history(connection, wanted)

    def fires(self, wanted: Wanted = EVERYTHING) -> Iterator[Fire]:
        """Every fire that is wanted, the latest first, read as they are asked for; each fire of a range by itself."""
        return (fire for fire in unfolded(self.rows(wanted)) if wanted.has(fire))

    def latest(self, names: Iterable[str], count: int) -> dict[str, list[Fire]]:
        """The latest `count` rows of each schedule, the latest first; a range is one of them."""
        latest = literal_column(LATEST, Instant())
        with self._connected() as connection:
            if connection is None:
                return {}
            return {
                name: [
                    as_fire(row)
                    for row in connection.execute(
                        select(*COLUMNS)
                        .where(fires.c.schedule == name)
                        .order_by(latest.desc(), fires.c.id.desc())
                        .limit(count)
                    )
                ]
                for name in names
            }

    @contextmanager
    def _connected(self) -> Iterator[Connection | None]:
        try:
            there = self._path is not None and self._path.exists()
        except PermissionError:
            raise JournalError(
                f"no permission to read the journal {self._path}", hint="run as the daemon's user"
            ) from None
        if not there:
            yield None
            return
        with translated(), self._engine.connect() as connection:
            yield connection if inspect(connection).has_table("fires") else None  # a daemon is just about to make it


def history(connection: Connection, wanted: Wanted = EVERYTHING) -> Iterator[Fire]:
    """Rows from the latest fire time that each stands for to the earliest, in batches as they are asked for."""
    latest = literal_column(LATEST, Instant())
    columns = select(*COLUMNS, fires.c.id, latest.label("latest"))
    query = wanted.narrow(columns).order_by(latest.desc(), fires.c.id.desc())
    place = None
    while True:
        page = query.limit(_BATCH)
        if place is not None:
            page = page.where(latest <= place.latest, or_(latest < place.latest, fires.c.id < place.id))
        rows = connection.execute(page).all()
        for row in rows:
            yield as_fire(row)
        if len(rows) < _BATCH:
            return
        place = rows[-1]


def read_history(url: str, schedule: str | None = None, state: FireState | None = None) -> Iterator[Fire]:
    """Rows of the journal at `url`, the latest first."""
    reader = Reader(url)
    try:
        yield from reader.rows(Wanted(schedule=schedule, state=state))
    finally:
        reader.close()
