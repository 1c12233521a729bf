"""Many rows in one statement of SQLite, as JSON: it takes them without Python's lock, beside the starts.

Statements of SQLAlchemy for many rows take and give the lock once or more a row, and have each value in Python's hands.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from zendaemon.core.fire import EarlierRun, Fire, FireState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

KEY = ("schedule", "fire_time", "manual")
EARLIER = TypeAdapter(tuple[EarlierRun, ...])
_NAMES = (*(field.name for field in fields(Fire)), "followed")
_PLACES = {name: f"value ->> {place}" for place, name in enumerate(_NAMES)}
_LIKE_KEY = " AND ".join(f"fires.{name} = {_PLACES[name]}" for name in KEY)
_KNOWN = f"SELECT json_group_array(key) FROM json_each(?) WHERE EXISTS (SELECT 1 FROM fires WHERE {_LIKE_KEY})"  # noqa: S608 - names of ours
_INSERT = f"INSERT INTO fires ({', '.join(_NAMES)}) SELECT {', '.join(_PLACES.values())} FROM json_each(?)"  # noqa: S608
_CLOSE = (
    f"UPDATE fires SET {', '.join(f'{name} = {place}' for name, place in _PLACES.items() if name not in KEY)} "  # noqa: S608
    f"FROM json_each(?) WHERE {_LIKE_KEY} AND fires.state = '{FireState.CLAIMED}'"
)
_MOVE = "UPDATE schedules SET watermark = value ->> 1 FROM json_each(?) WHERE schedules.name = value ->> 0"
_VALUES = attrgetter(*_NAMES[:-1])


def insert_fires(connection: Connection, planned: Sequence[Fire]) -> list[Fire]:
    """Insert fires; return those that were not there before.

    Which ones were is one row of an answer: each row takes Python's lock anew, which the starts want too.
    """
    rows = json.dumps([_row(fire, followed=False) for fire in planned])
    if known := set(json.loads(connection.exec_driver_sql(_KNOWN, (rows,)).scalar_one())):
        planned = [fire for number, fire in enumerate(planned) if number not in known]
        rows = json.dumps([_row(fire, followed=False) for fire in planned])
    connection.exec_driver_sql(_INSERT, (rows,))
    return list(planned)


def close_fires(connection: Connection, closed: Sequence[Fire]) -> None:
    """Update the claims of these fires to what they are now. A row that is final already is left alone."""
    connection.exec_driver_sql(_CLOSE, (json.dumps([_row(fire, followed=fire.followed) for fire in closed]),))


def move_watermarks(connection: Connection, watermarks: Mapping[str, datetime]) -> None:
    if watermarks:
        rows = [(name, _text(mark)) for name, mark in watermarks.items()]
        connection.exec_driver_sql(_MOVE, (json.dumps(rows),))


def _row(fire: Fire, *, followed: bool) -> list[Any]:
    values = [value if value is None else storable(value) for value in _VALUES(fire)]
    return [*[_text(value) if isinstance(value, datetime) else value for value in values], followed]


@lru_cache(maxsize=256)  # many fires of one second
def _text(instant: datetime) -> str:
    """An instant as SQLAlchemy keeps it in SQLite."""
    return instant.astimezone(UTC).isoformat(" ", "microseconds")[:26]


def storable(value: Any) -> Any:  # noqa: ANN401 - a value of a row
    """A value as a column takes it. A server's text may have half characters or a NUL; no database takes them."""
    if isinstance(value, str):
        return value if value.isprintable() else value.encode(errors="replace").decode().replace("\0", "?")
    return (EARLIER.dump_json(value).decode() if value else None) if isinstance(value, tuple) else value
