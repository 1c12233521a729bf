"""Nothing due: CPU, wake-ups and memory with 1,000 schedules; what `version` takes, and `run` until it is ready.

make bench BENCH=idle [SECONDS=60]
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from bench import zen
from bench.machine import run
from bench.report import Quantity, Table, megabytes

COUNT = 1000


def main() -> list[Table]:
    home = Path(tempfile.mkdtemp(prefix="zb-"))
    try:
        return [idle(home, float(os.environ.get("SECONDS", "60"))), short()]
    finally:
        shutil.rmtree(home)


def idle(home: Path, seconds: float) -> Table:
    table = Table(f"idle with {COUNT:,} schedules", ("CPU", "wake-ups a second", "memory"))
    zen.write_schedules(home / "schedules", COUNT, lambda n: f'cron: "{n % 60} 2 1 1 *"', files=10)
    with zen.Server(home) as server:
        with zen.daemon(home, server) as program:  # makes the journal
            program.wait_for("daemon.ready", 60)
        with zen.daemon(home, server) as program:
            program.wait_for("daemon.ready", 60)
            time.sleep(20)
            before = program.cost()
            time.sleep(seconds)
            cost = program.cost() - before
    table.add(
        "zendaemon",
        {
            "CPU": Quantity(cost.cpu / seconds * 100, "% of a core"),
            "wake-ups a second": Quantity(cost.wakes / seconds, ""),
            "memory": megabytes(cost.now),
        },
    )
    return table


def short() -> Table:
    table = Table("a short command", ("CPU", "time"))
    costs = [run([zen.ZENDAEMON, "version"]) for _ in range(5)]
    best = min(cost.cpu for cost, _, _ in costs)
    table.add("zendaemon version", {"CPU": Quantity(best, "s"), "time": Quantity(min(c[1] for c in costs), "s")})
    return table
