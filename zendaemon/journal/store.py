"""The SQL of the journal: plain functions of a connection, each one transaction's part."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.dialects import sqlite

from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.core.pause import Pause
from zendaemon.core.run import FAILED, SUCCEEDED
from zendaemon.journal import batch
from zendaemon.journal.tables import (
    BEGAN,
    FOLLOWED,
    LATEST,
    RETRIED,
    RUN,
    SUCCESS,
    fires,
    pauses,
    resolved,
    schedules,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Select

_FIELDS = tuple(field.name for field in fields(Fire))
COLUMNS = [fires.c[name] for name in _FIELDS]
_BATCH = 500


def _row(fire: Fire, *, followed: bool = False) -> dict[str, Any]:
    row = {field.name: getattr(fire, field.name) for field in fields(Fire)} | {"followed": followed}
    return {name: batch.storable(value) for name, value in row.items()}


def as_fire(row: Any) -> Fire:  # noqa: ANN401 - a row of any width
    """A fire out of a row that begins with COLUMNS."""
    values = dict(zip(_FIELDS, row, strict=False))
    values["state"] = FireState(values["state"])
    values["reason"] = Reason(values["reason"]) if values["reason"] else None
    values["earlier_runs"] = batch.EARLIER.validate_json(values["earlier_runs"]) if values["earlier_runs"] else ()
    return Fire(**values)


def sync(
    connection: Connection, rules: Mapping[str, str], restarted: Iterable[str], now: datetime
) -> dict[str, datetime]:
    """Bring the table of schedules in line with the enabled ones (`rules`: name -> rule); return their watermarks.

    A schedule that is new, in `restarted`, or has another rule than the journal knows starts at `now`; after the clock
    was set back, where its name has been decided till. One that is gone loses its rule, so that it starts anew when it
    comes back; its fires stay.
    """
    rows = connection.execute(select(schedules.c.name, schedules.c.rule, schedules.c.watermark))
    known = {name: (former, mark) for name, former, mark in rows}
    anew = set(restarted)
    watermarks: dict[str, datetime] = {}
    changed = []
    for name, rule in rules.items():
        former, mark = known.get(name, (None, now))
        if former == rule and name not in anew:
            watermarks[name] = mark
            continue
        watermarks[name] = max(now, mark)
        changed.append({"name": name, "rule": rule, "watermark": watermarks[name]})
    _upsert_schedules(connection, changed)
    gone = [{"gone": name} for name, (former, _) in known.items() if name not in rules and former is not None]
    if gone:
        connection.execute(update(schedules).where(schedules.c.name == bindparam("gone")).values(rule=None), gone)
    return watermarks


def watermarks(connection: Connection) -> dict[str, datetime]:
    """The watermarks of all schedules that there ever were."""
    return {row.name: row.watermark for row in connection.execute(select(schedules.c.name, schedules.c.watermark))}


def _upsert_schedules(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        statement = sqlite.insert(schedules)
        changes = {"rule": statement.excluded.rule, "watermark": statement.excluded.watermark}
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes), rows)


def claim(connection: Connection, planned: Sequence[Fire], watermarks: Mapping[str, datetime]) -> list[Fire]:
    """Insert planned fires and move the watermarks; return those that were not in the journal before."""
    taken = batch.insert_fires(connection, planned)
    batch.move_watermarks(connection, watermarks)
    return taken


def record(connection: Connection, closed: Sequence[Fire]) -> None:
    """Write how claimed fires ended. A row that is final already is left alone."""
    batch.close_fires(connection, closed)


_OF_STATUS = ("run_status", "message", "run_started_at", "run_ended_at", "retry_at", "followed")
_STATUS = (
    update(fires)
    .where(*(fires.c[name] == bindparam(f"key_{name}") for name in batch.KEY))
    .values({name: bindparam(name) for name in _OF_STATUS})
)


def _keyed(fire: Fire, *, followed: bool) -> dict[str, Any]:
    row = _row(fire, followed=followed)
    return row | {f"key_{name}": row.pop(name) for name in batch.KEY}


def record_status(connection: Connection, seen: Sequence[tuple[Fire, bool]]) -> None:
    """Write status and times of the runs of started fires, and whether each is to be followed further."""
    names = {*_OF_STATUS, *(f"key_{name}" for name in batch.KEY)}
    rows = [{k: v for k, v in _keyed(fire, followed=on).items() if k in names} for fire, on in seen]
    connection.execute(_STATUS, rows)


def claim_again(connection: Connection, fire: Fire) -> bool:
    """Claim the next run of a fire, in the place of the one that failed; whether it was there to be claimed.

    It goes by the run that failed, so that what a disk took and reported as failed is not done once more.
    """
    failed = fires.c.run_id == fire.earlier_runs[-1].run_id
    row = _row(fire)
    key = [fires.c[name] == row.pop(name) for name in batch.KEY]
    claimed = update(fires).where(*key, failed, fires.c.state == FireState.STARTED.value).values(row)
    return connection.execute(claimed).rowcount == 1


def drop_retry(connection: Connection, fire: Fire) -> None:
    """No run follows the one that failed."""
    row = _row(fire)
    key = [fires.c[name] == row[name] for name in batch.KEY]
    failed = fires.c.run_id == row["run_id"]
    connection.execute(update(fires).where(*key, failed).values(retry_at=None, message=row["message"]))


def retried(connection: Connection) -> list[Fire]:
    """The fires whose run failed and that another one is to follow."""
    return [as_fire(row) for row in connection.execute(select(*COLUMNS).where(text(RETRIED)))]


def outcomes(connection: Connection, name: str, count: int) -> list[Fire]:
    """The latest `count` fires whose runs succeeded or failed for good, the latest first; none by hand."""
    ended = fires.c.run_status.in_([*SUCCEEDED, *FAILED])
    wanted = (fires.c.schedule == name, fires.c.state == FireState.STARTED.value, ended, fires.c.retry_at.is_(None))
    return _latest(connection, count, *wanted, ~fires.c.manual, ~fires.c.followed)


def last_decided(connection: Connection, name: str) -> Fire | None:
    """The latest fire of a schedule that was to be started, whatever came of it; none whose run is under way."""
    states = [FireState.STARTED.value, FireState.FAILED.value, FireState.MISSED.value]
    over = ~fires.c.followed, fires.c.retry_at.is_(None)
    found = _latest(connection, 1, fires.c.schedule == name, fires.c.state.in_(states), *over)
    return found[0] if found else None


def _latest(connection: Connection, count: int, *wanted: ColumnElement[bool]) -> list[Fire]:
    query = select(*COLUMNS).where(*wanted).order_by(text(f"{LATEST} DESC"), fires.c.id.desc()).limit(count)
    return [as_fire(row) for row in connection.execute(query)]


def claims(connection: Connection) -> list[Fire]:
    """The claims that are open, the oldest first."""
    query = select(*COLUMNS).where(fires.c.state == FireState.CLAIMED.value).order_by(fires.c.fire_time)
    return [as_fire(row) for row in connection.execute(query)]


def followed(connection: Connection) -> list[Fire]:
    """The started fires whose runs are still to be followed."""
    return [as_fire(row) for row in connection.execute(select(*COLUMNS).where(text(FOLLOWED)))]


def run_counts(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """How many runs each schedule has had, for `max_runs`: those in the journal and those pruned from it.

    Open claims are not among them, and manual fires do not count. Schedules without any may be absent.
    """
    wanted = list(names)
    counts: Counter[str] = Counter()
    for first in range(0, len(wanted), _BATCH):  # a statement takes so many names, and no hundred thousand
        some = wanted[first : first + _BATCH]
        kept = select(fires.c.schedule, func.count()).where(text(RUN), fires.c.schedule.in_(some))
        pruned = select(schedules.c.name, schedules.c.pruned_runs).where(schedules.c.name.in_(some))
        for query in (kept.group_by(fires.c.schedule), pruned):
            for name, count in connection.execute(query):
                counts[name] += count
    return dict(counts)


_OF_SCHEDULE = select(*COLUMNS).where(fires.c.schedule == bindparam("name")).limit(1)
_LAST_SUCCESS = _OF_SCHEDULE.where(text(SUCCESS)).order_by(text(f"{BEGAN} desc"), fires.c.id.desc())
_FIRST = _OF_SCHEDULE.order_by(text(LATEST), fires.c.id)


def last_successes(connection: Connection, names: Iterable[str]) -> dict[str, Fire]:
    """The fire of each schedule whose run began last of those that succeeded; none for those without any."""
    return _ones(connection, _LAST_SUCCESS, names)


def first_fires(connection: Connection, names: Iterable[str]) -> dict[str, Fire]:
    """The oldest row of each schedule that has any."""
    return _ones(connection, _FIRST, names)


def _ones(connection: Connection, query: Select[Any], names: Iterable[str]) -> dict[str, Fire]:
    found = {name: connection.execute(query, {"name": name}).first() for name in names}
    return {name: as_fire(row) for name, row in found.items() if row is not None}


def save_resolved(connection: Connection, entries: Sequence[tuple[str, str, datetime]]) -> None:
    """Target, value and instant each; of entries for one target the last counts."""
    latest = {target: {"target": target, "value": value, "resolved_at": now} for target, value, now in entries}
    statement = sqlite.insert(resolved)
    changes = {"value": statement.excluded.value, "resolved_at": statement.excluded.resolved_at}
    connection.execute(statement.on_conflict_do_update(index_elements=["target"], set_=changes), list(latest.values()))


def load_resolved(connection: Connection) -> dict[str, str]:
    return {row.target: row.value for row in connection.execute(select(resolved))}


def forget_resolved(connection: Connection, targets: Iterable[str]) -> None:
    wanted = list(targets)
    if wanted:
        connection.execute(delete(resolved).where(resolved.c.target.in_(wanted)))


def save_pause(connection: Connection, pause: Pause) -> None:
    """The latest pause of a schedule takes the place of the one before."""
    values = asdict(pause)
    statement = sqlite.insert(pauses).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=["schedule"], set_=values))


def drop_pause(connection: Connection, name: str) -> None:
    connection.execute(delete(pauses).where(pauses.c.schedule == name))


def load_pauses(connection: Connection) -> list[Pause]:
    return [Pause(**row._mapping) for row in connection.execute(select(pauses))]  # noqa: SLF001 - its public name


def touch(connection: Connection) -> None:
    """Write a number that nothing reads. The same one again would not be written by SQLite."""
    number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {(number + 1) % 1000}")
