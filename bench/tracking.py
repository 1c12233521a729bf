"""Following 1,000 active runs: the questions that it costs the server a minute, for young and for old runs.

    make bench BENCH=tracking [N=1000]

The runs are in the journal, as if an earlier process had started them, and on a server that answers at once; so the
daemon asks as often as it wants to. What remains the same with a slower server is the bound, which is its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from bench import zen
from bench.report import Quantity, Table
from zendaemon import clock
from zendaemon.core.fire import Fire, FireState
from zendaemon.journal import Journal


@dataclass(frozen=True, slots=True)
class Case:
    """Runs of these ages, measured for so many seconds, once all were looked at (`settling`)."""

    version: str
    name: str
    youngest: timedelta
    oldest: timedelta
    settling: float
    seconds: float


CASES = (
    Case("0.98.0", "young, 0 to 1 minute", timedelta(), timedelta(minutes=1), 0, 60),
    Case("0.98.0", "5 to 10 minutes", timedelta(minutes=5), timedelta(minutes=10), 15, 120),
    Case("0.98.0", "old, 1 hour to a day", timedelta(hours=1), timedelta(days=1), 15, 300),
    Case("0.62.0", "young, 0 to 1 minute", timedelta(), timedelta(minutes=1), 0, 60),
    Case("0.62.0", "old, 1 hour to a day", timedelta(hours=1), timedelta(days=1), 220, 120),
)


def main() -> list[Table]:
    count = int(os.environ.get("N", "1000"))
    table = Table(
        f"following {count:,} active runs",
        ("lists a minute", "single a minute", "rows a minute", "bytes a minute", "CPU"),
    )
    for case in CASES:
        home = Path(tempfile.mkdtemp(prefix="zb-"))
        try:
            table.add(f"{case.version}, {case.name}", measure(home, case, count))
        finally:
            shutil.rmtree(home)
    return [table]


def measure(home: Path, case: Case, count: int) -> dict[str, Quantity]:
    (home / "schedules").mkdir()
    (home / "state").mkdir(mode=0o700)
    with zen.Server(home, version=case.version, status="running") as server:
        asyncio.run(started(home, case, count))
        with zen.daemon(home, server) as program:
            program.wait_for("daemon.ready", 60)
            time.sleep(case.settling * count / 1000)
            before = program.cost()
            server.asked()
            time.sleep(case.seconds)
            asked, cost = server.asked(), program.cost() - before
    minutes = case.seconds / 60
    return {
        "lists a minute": Quantity(asked.get("lists", 0) / minutes, ""),
        "single a minute": Quantity(asked.get("single", 0) / minutes, ""),
        "rows a minute": Quantity(asked.get("rows", 0) / minutes, ""),
        "bytes a minute": Quantity(asked.get("bytes", 0) / minutes / 1e6, "MB"),
        "CPU": Quantity(cost.cpu / case.seconds * 100, "% of a core"),
    }


async def started(home: Path, case: Case, count: int) -> None:
    """Put fires into the journal whose runs are active; their ages are spread evenly."""
    journal, now = Journal.open(f"sqlite:///{home / 'state' / 'journal.db'}"), clock.now()
    fires = []
    for number in range(count):
        at = now - case.youngest - (case.oldest - case.youngest) * number / count
        name, run_id = f"s{number:06}", str(uuid4())
        fires.append(
            Fire(
                schedule=name,
                fire_time=at,
                state=FireState.STARTED,
                run_id=run_id,
                run_name=f"run-{run_id}",
                run_status="running",
                attempts=1,
                claimed_at=at,
                decided_at=at,
                run_started_at=at,
            )
        )
    await journal.claim([replace(fire, state=FireState.CLAIMED) for fire in fires], {})
    await asyncio.gather(*(journal.record(fire) for fire in fires))
    await journal.close()
