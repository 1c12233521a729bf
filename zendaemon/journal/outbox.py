"""The SQL of alerts: messages that are not delivered yet, and the state of each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, func, select
from sqlalchemy.dialects import sqlite

from zendaemon.core.message import Message
from zendaemon.journal.tables import channels, fires, messages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

_MESSAGE = TypeAdapter(Message)


def save(connection: Connection, new: Sequence[Message], states: Mapping[str, str]) -> None:
    """Messages to be delivered, and the states of channels that have changed, as JSON."""
    rows = [
        {"id": str(each.id), "channel": each.channel, "at": each.at, "content": _MESSAGE.dump_json(each).decode()}
        for each in new
    ]
    if rows:
        connection.execute(sqlite.insert(messages).on_conflict_do_nothing(index_elements=["id"]), rows)
    if states:
        statement = sqlite.insert(channels)
        changed = {"state": statement.excluded.state}
        connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_=changed),
            [{"name": name, "state": state} for name, state in states.items()],
        )


def drop(connection: Connection, ids: Sequence[str]) -> None:
    """They are delivered, or given up."""
    connection.execute(delete(messages).where(messages.c.id.in_(ids)))


def load(connection: Connection) -> tuple[list[Message], dict[str, str]]:
    """The messages that are to be delivered, the oldest first, and the state of each channel as JSON.

    What another version wrote and this one cannot read is dropped.
    """
    waiting, bad = [], []
    for row in connection.execute(select(messages).order_by(messages.c.at)):
        try:
            waiting.append(_MESSAGE.validate_json(row.content))
        except ValidationError:
            bad.append(row.id)
    if bad:
        drop(connection, bad)
    return waiting, {row.name: row.state for row in connection.execute(select(channels))}


def claimed_until(connection: Connection, instant: datetime) -> int:
    """How many fires whose time was not after this instant are still claimed."""
    query = select(func.count()).where(fires.c.state == "claimed", fires.c.fire_time <= instant)
    return int(connection.execute(query).scalar_one())
