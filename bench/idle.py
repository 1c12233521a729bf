"""Nothing due: CPU, wake-ups and memory with 1,000 schedules; what `version` takes, and `run` until it is ready.

make bench BENCH=idle [SECONDS=60]
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench import zen
from bench.machine import Program, run
from bench.report import Quantity, Table, megabytes

COUNT = 1000
MODULES = ("zendaemon.cli.run", "zendaemon.cli.version", "zendaemon.cli.check", "zendaemon.cli.next_")
SETTLED = 45
"""Seconds until a daemon rests: the first pruning comes 30 s after it is ready."""
BARE = """
import asyncio
async def main():
    while True:
        await asyncio.sleep(1)
asyncio.run(main())
"""
"""What a wake costs on this machine, at the same time: that differs by the minute on shared ones."""
BUDGET = 0.5
"""Seconds of a core that the imports of a command may take, on a machine that does ours in 0.35."""


def main() -> list[Table]:
    home = Path(tempfile.mkdtemp(prefix="zb-"))
    try:
        return [*idle(home, float(os.environ.get("SECONDS", "60"))), short(), imports()]
    finally:
        shutil.rmtree(home)


def idle(home: Path, seconds: float) -> list[Table]:
    table = Table(f"idle with {COUNT:,} schedules", ("CPU", "wake-ups a second", "memory"))
    zen.write_schedules(home / "schedules", COUNT, lambda n: f'cron: "{n % 60} 2 1 1 *"', files=10)
    with zen.Server(home) as server:
        first, again = ready(home, server), ready(home, server)
        with zen.daemon(home, server) as program, Program([sys.executable, "-c", BARE], home / "bare.log") as bare:
            program.wait_for("daemon.ready", 60)
            time.sleep(SETTLED)
            programs = {"zendaemon": program, "a bare asyncio loop that wakes once a second": bare}
            before = {name: each.cost() for name, each in programs.items()}
            time.sleep(seconds)
            costs = {name: each.cost() - before[name] for name, each in programs.items()}
    for name, cost in costs.items():
        cells = {
            "CPU": Quantity(cost.cpu / seconds * 100, "% of a core"),
            "wake-ups a second": Quantity(cost.wakes / seconds, ""),
            "memory": megabytes(cost.now),
        }
        table.add(name, cells)
    starts = Table(f"`run` to READY with {COUNT:,} schedules", ("CPU", "time"))
    starts.add("with a journal", again)
    starts.add("for the first time", first)
    return [table, starts]


def ready(home: Path, server: zen.Server) -> dict[str, Quantity]:
    """What a start takes until the daemon is ready."""
    begun = time.perf_counter()
    with zen.daemon(home, server) as program:
        program.wait_for("daemon.ready", 60)
        return {"CPU": Quantity(program.cost().cpu, "s"), "time": Quantity(time.perf_counter() - begun, "s")}


def imports() -> Table:
    """What commands import, each in a process of its own, without Python itself."""
    table = Table("imports", ("CPU", "modules", "of the budget"))
    bare = min(run([sys.executable, "-c", "pass"])[0].cpu for _ in range(5))
    for module in MODULES:
        code = f"import sys, {module}; print(len(sys.modules))"
        results = [run([sys.executable, "-c", code]) for _ in range(5)]
        cpu = min(cost.cpu for cost, _, _ in results) - bare
        cells = {"CPU": Quantity(cpu, "s"), "modules": results[0][2].strip(), "of the budget": f"{cpu / BUDGET:.0%}"}
        table.add(module, cells)
    return table


def short() -> Table:
    table = Table("a short command", ("CPU", "time"))
    costs = [run([zen.ZENDAEMON, "version"]) for _ in range(5)]
    best = min(cost.cpu for cost, _, _ in costs)
    table.add("zendaemon version", {"CPU": Quantity(best, "s"), "time": Quantity(min(c[1] for c in costs), "s")})
    return table
