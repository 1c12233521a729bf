"""What grows with the journal and with the schedules: claim, record and history; and a wake of 100 schedules.

make bench BENCH=growth [ROWS=0,100000,1000000]    (10,000,000 rows take some 3 GB and ten minutes)
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

from bench.report import Quantity, Table
from zendaemon.core.fire import Fire, FireState
from zendaemon.core.planning import Standing, plan
from zendaemon.core.schedule import Schedule
from zendaemon.journal import store
from zendaemon.journal.database import connect, make_new, migrate
from zendaemon.journal.reading import Reader, Wanted

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
NAMES = 1000
FIRES = 200


def main() -> list[Table]:
    journal = Table("rows in the journal", ("claim", "record", "history of all", "history of one"))
    home = Path(tempfile.mkdtemp(prefix="zb-"))
    try:
        for rows in [int(text) for text in os.environ.get("ROWS", "0,100000,1000000").split(",")]:
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
    claims = [
        Fire(schedule=f"s{n % NAMES}", fire_time=NOW + timedelta(seconds=rows + n), run_name=f"r{n}", claimed_at=NOW)
        for n in range(FIRES)
    ]
    ends = [replace(fire, state=FireState.STARTED, run_id="x" * 36, attempts=1, decided_at=NOW) for fire in claims]
    marks = {fire.schedule: fire.fire_time for fire in claims}

    def claim() -> None:
        with engine.begin() as connection:
            store.claim(connection, claims, marks)

    def record() -> None:
        with engine.begin() as connection:
            store.record(connection, ends)

    claimed, recorded = timed(claim), timed(record)
    engine.dispose()
    reader = Reader(url)
    of_all = timed(lambda: list(islice(reader.rows(), 100)))
    of_one = timed(lambda: list(islice(reader.rows(Wanted(schedule="s7")), 100)))
    reader.close()
    return {
        "claim": Quantity(claimed / FIRES * 1e6, "us"),
        "record": Quantity(recorded / FIRES * 1e6, "us"),
        "history of all": Quantity(of_all * 1000, "ms"),
        "history of one": Quantity(of_one * 1000, "ms"),
    }


def fill(engine: object, rows: int) -> None:
    """Rows as a year of fires leaves them, made by the database itself."""
    with engine.begin() as connection:  # type: ignore[attr-defined]
        have = connection.exec_driver_sql("SELECT count(*) FROM fires").scalar()
        connection.exec_driver_sql(
            f"""
            WITH RECURSIVE n(i) AS (SELECT {have} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {rows})
            INSERT INTO fires (schedule, fire_time, manual, state, run_id, run_name, run_status, attempts,
                               lateness_seconds, claimed_at, decided_at, followed)
            SELECT 's' || (i % {NAMES}),
                   strftime('%Y-%m-%d %H:%M:%S.000000', '2026-11-23 02:00:00', '-' || (i / {NAMES} + 1) || ' minutes'),
                   0, 'started', printf('%036d', i), 'run-' || i, 'completed', 1, 0.01,
                   '2026-11-23 02:00:00.000000', '2026-11-23 02:00:00.000000', 0
            FROM n WHERE i < {rows}
            """
        )


def timed(work: object) -> float:
    """The seconds of one turn."""
    begun = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - begun


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
