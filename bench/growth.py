"""What grows with the journal and with the schedules: claim, record and history; and a wake of 100 schedules.

make bench BENCH=growth [ROWS=0,100000,1000000,10000000]    (10,000,000 rows take some 4 GB and a few minutes)
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.report import Quantity, Table, megabytes
from zendaemon.core.fire import Fire, FireState
from zendaemon.core.planning import Standing, plan
from zendaemon.core.schedule import Schedule
from zendaemon.journal import store
from zendaemon.journal.database import connect, make_new, migrate
from zendaemon.journal.reading import Reader, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
NAMES = 1000
FIRES = 200
TURNS = 5


def main() -> list[Table]:
    journal = Table(
        "rows in the journal", ("claim", "record", "a wake of one", "history of all", "history of one", "file")
    )
    home = Path(tempfile.mkdtemp(prefix="zb-"))
    try:
        for rows in [int(text) for text in os.environ.get("ROWS", "0,100000,1000000,10000000").split(",")]:
            journal.add(f"{rows:,}", measure(home / "journal.db", rows))
    finally:
        shutil.rmtree(home)
    wakes = Table("schedules that a wake plans", ("a schedule",))
    for count in (100, 1000, 10_000, 100_000):
        wakes.add(f"{count:,}", {"a schedule": planned(count)})
    return [journal, wakes]


def measure(file: Path, rows: int) -> dict[str, Quantity]:
    """Fills the journal up to so many rows, and does what a daemon does with FIRES fires."""
    url = f"sqlite:///{file}"
    make_new(file)
    engine = connect(url)
    migrate(engine)
    fill(engine, rows)
    claimed, recorded, woken = [], [], []
    for turn in range(TURNS):
        at = NOW + timedelta(seconds=rows + turn)
        claims = [
            Fire(schedule=f"s{n % NAMES}", fire_time=at, run_name=f"r{n}", claimed_at=NOW) for n in range(FIRES + 1)
        ]
        alone = claims.pop()
        ends = [replace(fire, state=FireState.STARTED, run_id="x" * 36, attempts=1, decided_at=NOW) for fire in claims]
        claimed.append(timed(lambda: committed(engine, store.claim, claims, {fire.schedule: at for fire in claims})))  # noqa: B023 - called at once
        recorded.append(timed(lambda: committed(engine, store.record, ends)))  # noqa: B023
        woken.append(timed(lambda: committed(engine, store.claim, [alone], {alone.schedule: at})))  # noqa: B023
    engine.dispose()
    reader = Reader(url)
    of_all = timed(lambda: list(islice(reader.rows(), 100)))
    of_one = timed(lambda: list(islice(reader.rows(Wanted(schedule="s7")), 100)))
    reader.close()
    return {
        "claim": Quantity(median(claimed) / FIRES * 1e6, "us"),
        "record": Quantity(median(recorded) / FIRES * 1e6, "us"),
        "a wake of one": Quantity(median(woken) * 1000, "ms"),
        "history of all": Quantity(of_all * 1000, "ms"),
        "history of one": Quantity(of_one * 1000, "ms"),
        "file": megabytes(file.stat().st_size),
    }


def committed(engine: Engine, write: Callable[..., object], *given: object) -> None:
    with engine.begin() as connection:
        write(connection, *given)


def fill(engine: Engine, rows: int) -> None:
    """Rows as years of fires leave them, made by the database itself; its indexes are made anew after it.

    One schedule after the other, so that the only index that must stay is written in its order.
    """
    with engine.begin() as connection:
        have = connection.exec_driver_sql("SELECT count(*) FROM fires WHERE run_name LIKE 'run-%'").scalar() or 0
        indexes = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'fires' AND sql IS NOT NULL"
        ).all()
        for name, _ in indexes:
            connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql(
            f"""
            WITH RECURSIVE names(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM names WHERE i + 1 < {NAMES}),
                           times(k) AS (SELECT {have // NAMES} UNION ALL
                                        SELECT k + 1 FROM times WHERE k < {rows // NAMES})
            INSERT INTO fires (schedule, fire_time, manual, state, run_id, run_name, run_status, attempts,
                               lateness_seconds, claimed_at, decided_at, followed)
            SELECT 's' || i,
                   strftime('%Y-%m-%d %H:%M:%S.000000', '2026-11-23 02:00:00', '-' || (k + 1) || ' minutes'),
                   0, 'started', printf('%036d', k * {NAMES} + i), 'run-' || k, 'completed', 1, 0.01,
                   '2026-11-23 02:00:00.000000', '2026-11-23 02:00:00.000000', 0
            FROM names CROSS JOIN times WHERE k < {rows // NAMES}
            """
        )
        for _, sql in indexes:
            connection.exec_driver_sql(sql)


def timed(work: Callable[[], object]) -> float:
    """The seconds of a core that one turn takes: the machine may have other work."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def planned(count: int) -> Quantity:
    schedules = [
        Schedule(name=f"s{n}", cron=f"{n % 60} {n % 24} * * *", template="t", config={"enable_cache": False})
        for n in range(count)
    ]
    standing = Standing(watermark=NOW - timedelta(days=1), awake_since=NOW - timedelta(days=2))
    begun = time.process_time()
    for schedule in schedules:
        assert plan(schedule, standing, NOW).fires
    return Quantity((time.process_time() - begun) / count * 1e6, "us")
