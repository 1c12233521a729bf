"""Following 1,000 active runs: the questions that it costs the server a minute, for young and for old runs.

    make bench BENCH=tracking [N=1000] [REAL=100]

The runs are in the journal, as if an earlier process had started them, and on a server that answers at once; so the
daemon asks as often as it wants to. What remains the same with a slower server is the bound, which is its own. With
REAL, so many new runs are followed on a real ZenML server for a minute as well, for what an answer costs it.
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
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bench import zen
from bench.machine import ROOT, cost
from bench.report import Quantity, Table
from zendaemon import clock
from zendaemon.core.fire import Fire, FireState
from zendaemon.demo.pool import ServerPool
from zendaemon.journal import Journal
from zendaemon.runs import Runs
from zendaemon.zenml import Secret, UserPassword, ZenML

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_MINUTE = 60.0


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
    Case("0.62.0", "old, 1 hour to a day", timedelta(hours=1), timedelta(days=1), 220, 300),
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
    return [table, *([asyncio.run(real(int(os.environ["REAL"])))] if os.environ.get("REAL") else [])]


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
            asked, took = server.asked(), program.cost() - before
    minutes = case.seconds / 60
    return {
        "lists a minute": Quantity(asked.get("lists", 0) / minutes, ""),
        "single a minute": Quantity(asked.get("single", 0) / minutes, ""),
        "rows a minute": Quantity(asked.get("rows", 0) / minutes, ""),
        "bytes a minute": Quantity(asked.get("bytes", 0) / minutes / 1e6, "MB"),
        "CPU": Quantity(took.cpu / case.seconds * 100, "% of a core"),
    }


class Counting(ZenML):
    """A client that counts its questions."""

    lists = single = 0

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:  # noqa: ANN401 - JSON
        self.lists += path == "runs"
        self.single += path.startswith("runs/")
        return await super().get(path, params)


async def real(count: int) -> Table:
    """New runs on a server of its own, which say that they are running; beside what the server costs when it idles."""
    table = Table(f"following {count} new runs on ZenML 0.98.0", ("lists", "single", "CPU of the server"))
    home = Path(tempfile.mkdtemp(prefix="zb-"))
    cache = Path(os.environ.get("ZENDAEMON_DEMO_CACHE") or ROOT / ".cache")
    with ServerPool(home, cache, print) as pool, pool.own("0.98.0", start_slots=8) as server:
        seeder = pool.seeder(server)
        runnable = seeder.runnable("tracking")
        ids = [seeder.fire(runnable, {"run_name": f"run-{number}"})["id"] for number in range(count)]
        for run_id in ids:
            seeder.set_status(run_id, "running")
        journal = Journal.open(f"sqlite:///{home / 'journal.db'}")
        user = UserPassword("default", Secret(""))
        async with Counting(server.url, user, now=clock.now, elapsed=clock.elapsed) as client:
            await client.info()
            await client.current_user()
            runs = Runs(client, journal, now=clock.now, stuck_after=timedelta(hours=1))
            before = cost(server.pid)
            await asyncio.sleep(_MINUTE)
            idle = cost(server.pid) - before
            for run_id in ids:
                runs.follow(active(run_id, run_id, clock.now()))
            task = asyncio.create_task(runs.run())
            before = cost(server.pid)
            await asyncio.sleep(_MINUTE)
            busy = cost(server.pid) - before
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await journal.close()
    shutil.rmtree(home)
    for name, asked, took in (("idle", (0, 0), idle), ("zendaemon", (client.lists, client.single), busy)):
        cells = {"lists": Quantity(asked[0], ""), "single": Quantity(asked[1], "")}
        table.add(name, cells | {"CPU of the server": Quantity(took.cpu, "s a minute")})
    return table


def active(schedule: str, run_id: str, at: datetime) -> Fire:
    return Fire(
        schedule=schedule,
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


async def started(home: Path, case: Case, count: int) -> None:
    """Put fires into the journal whose runs are active; their ages are spread evenly."""
    journal, now = Journal.open(f"sqlite:///{home / 'state' / 'journal.db'}"), clock.now()
    ages = (case.youngest + (case.oldest - case.youngest) * number / count for number in range(count))
    fires = [active(f"s{number:06}", str(uuid4()), now - age) for number, age in enumerate(ages)]
    await journal.claim([replace(fire, state=FireState.CLAIMED) for fire in fires], {})
    await asyncio.gather(*(journal.record(fire) for fire in fires))
    await journal.close()
