"""The journal for readers: nothing is locked, migrated or written, with or without a daemon beside."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, inspect, literal_column, or_, select, text

from zendaemon.core.errors import JournalError
from zendaemon.core.fire import FireState
from zendaemon.core.planning import unfolded
from zendaemon.journal.database import connect, sqlite_path, translated
from zendaemon.journal.store import COLUMNS, as_fire, load_pauses
from zendaemon.journal.tables import LATEST, TROUBLE, Instant, fires

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Select

    from zendaemon.core.fire import Fire, Reason
    from zendaemon.core.pause import Pause

_BATCH = 500
_TICK = timedelta(microseconds=1)


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

    def clip(self, row: Fire) -> Fire:
        """A row that stands for no more than what is wanted, as far as times go; so the rest is never unfolded."""
        if row.through is None:
            return row
        first = row.fire_time if self.since is None else max(row.fire_time, self.since)
        last = row.through if self.until is None else min(row.through, self.until - _TICK)
        return replace(row, fire_time=first, through=last)

    def has(self, fire: Fire) -> bool:
        """Whether a fire out of a row that holds some of them is one."""
        after = self.since is None or fire.fire_time >= self.since
        return after and (self.until is None or fire.fire_time < self.until)


EVERYTHING = Wanted()


class Last(NamedTuple):
    """The latest fire of a schedule, in short."""

    fire_time: datetime
    state: FireState
    run_status: str | None


_LATEST = literal_column(LATEST, Instant())
_RECENT = select(*COLUMNS).order_by(_LATEST.desc(), fires.c.id.desc()).limit(bindparam("count"))
_LATEST_OF_SCHEDULE = _RECENT.where(fires.c.schedule == bindparam("name"))
_TROUBLE = _RECENT.where(text(TROUBLE), bindparam("since") <= _LATEST)
# From one name to the next by the index, which no DISTINCT does.
_LAST = text(f"""
    WITH RECURSIVE names(name) AS (
        SELECT min(schedule) FROM fires
        UNION ALL SELECT (SELECT min(schedule) FROM fires WHERE schedule > name) FROM names WHERE name IS NOT NULL
    )
    SELECT schedule, {LATEST} AS latest, state, run_status FROM names JOIN fires ON id = (
        SELECT id FROM fires WHERE schedule = name ORDER BY {LATEST} DESC, id DESC LIMIT 1
    )
""").columns(latest=Instant())  # noqa: S608 - nothing but constants

_MINUTES = text(f"""
    SELECT substr(coalesce(claimed_at, fire_time), 1, 16) AS minute, state, count(*), min(schedule), max(schedule)
    FROM fires WHERE {LATEST} >= :since AND fire_time < :until AND through IS NULL GROUP BY minute, state
""").bindparams(bindparam("since", type_=Instant()), bindparam("until", type_=Instant()))  # noqa: S608 - constants


class Reader:
    """Reads a journal. Every method may be called from any thread, and raises JournalError when it cannot be read.

    A journal that is not there yet is an empty one.
    """

    def __init__(self, url: str) -> None:
        self._path = sqlite_path(url)
        self._engine = connect(url, read_only=True)

    def close(self) -> None:
        self._engine.dispose()

    def check(self) -> None:
        """Read a little."""
        with self._connected() as connection:
            if connection is not None:
                connection.execute(select(fires.c.id).limit(1)).all()

    def rows(self, wanted: Wanted = EVERYTHING) -> Iterator[Fire]:
        """Every row that holds what is wanted, as `history` sorts them, read as they are asked for."""
        with self._connected() as connection:
            if connection is not None:
                yield from history(connection, wanted)

    def fires(self, wanted: Wanted = EVERYTHING) -> Iterator[Fire]:
        """Every fire that is wanted, the latest first, read as they are asked for; each fire of a range by itself."""
        return (fire for fire in unfolded(map(wanted.clip, self.rows(wanted))) if wanted.has(fire))

    def minutes(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, FireState, int, set[str]]]:
        """The rows of single fires, counted by minute and state, with some schedules of each; in no order.

        A fire counts for the minute in which its start was decided, which tells what was crowded.
        """
        with self._connected() as connection:
            if connection is not None:
                for minute, state, count, *names in connection.execute(_MINUTES, {"since": since, "until": until}):
                    begins = datetime.fromisoformat(f"{minute}:00+00:00")
                    yield begins, FireState(state), count, set(names)

    def ranges(self, since: datetime, until: datetime) -> Iterator[Fire]:
        """The rows that stand for many fires, clipped to those from `since` on and before `until`, the latest first."""
        wanted = Wanted(since=since, until=until)
        with self._connected() as connection:
            if connection is not None:
                query = wanted.narrow(select(*COLUMNS).where(fires.c.through.is_not(None)))
                for row in connection.execute(query.order_by(_LATEST.desc())):
                    yield wanted.clip(as_fire(row))

    def latest(self, names: Iterable[str], count: int) -> dict[str, list[Fire]]:
        """The latest `count` rows of each schedule, the latest first; a range is one of them."""
        with self._connected() as connection:
            if connection is None:
                return {}
            return {
                name: [as_fire(row) for row in connection.execute(_LATEST_OF_SCHEDULE, {"name": name, "count": count})]
                for name in names
            }

    def last(self) -> dict[str, Last]:
        """The latest fire of every schedule that has one, those that are not loaded any more among them."""
        with self._connected() as connection:
            if connection is None:
                return {}
            return {
                name: Last(latest, FireState(state), status)
                for name, latest, state, status in connection.execute(_LAST)
            }

    def recent(self, count: int) -> list[Fire]:
        """The latest `count` rows of all schedules, the latest first."""
        return self._some(_RECENT, count=count)

    def trouble(self, since: datetime, count: int) -> list[Fire]:
        """The latest `count` rows that are failed or missed, or whose run failed, from `since` on, the latest first."""
        return self._some(_TROUBLE, since=since, count=count)

    def _some(self, query: Select[Any], **values: object) -> list[Fire]:
        with self._connected() as connection:
            return [as_fire(row) for row in connection.execute(query, values)] if connection is not None else []

    def pauses(self) -> list[Pause]:
        """The latest pause of every schedule that ever had one, by name; those that are over among them."""
        with self._connected() as connection:
            if connection is None or not inspect(connection).has_table("pauses"):  # of an older version
                return []
            return sorted(load_pauses(connection), key=lambda pause: pause.schedule)

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
    latest = _LATEST
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
