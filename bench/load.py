"""Loading: `check`, start to ready, a reload with one file changed, and memory, for schedules in up to 1,000 files.

    make bench BENCH=load [N=100,10000,100000]

The peer is `cronstable --validate-config` of 3,000 jobs; what counts is the time a schedule.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from bench import zen
from bench.contenders import python
from bench.machine import Cost, run
from bench.report import Quantity, Table, megabytes

JOBS = 3000


def main() -> list[Table]:
    checks = Table("check", ("schedules", "CPU", "a schedule"))
    starts = Table("start and reload", ("CPU to ready", "ready", "CPU of a reload", "reload", "memory"))
    for count in [int(text) for text in os.environ.get("N", "10000,100,100000").split(",")]:
        home = Path(tempfile.mkdtemp(prefix="zb-"))
        try:
            measure(home, count, checks, starts)
        finally:
            shutil.rmtree(home)
    home = Path(tempfile.mkdtemp(prefix="zb-"))
    checks.add(f"cronstable, {JOBS:,}", cells(JOBS, cronstable(home)))
    shutil.rmtree(home)
    return [checks, starts]


def cells(count: int, cost: Cost) -> dict[str, Quantity]:
    return {
        "schedules": Quantity(count, ""),
        "CPU": Quantity(cost.cpu, "s"),
        "a schedule": Quantity(cost.cpu / count * 1000, "ms"),
    }


def measure(home: Path, count: int, checks: Table, starts: Table) -> None:
    folder = home / "schedules"
    files = min(1000, count // 10)
    zen.write_schedules(folder, count, lambda n: f'cron: "{n % 60} {n % 24} * * {n % 7}"', files=files)
    cost, _, _ = run([zen.ZENDAEMON, "check", folder])
    checks.add(f"zendaemon, {count:,}", cells(count, cost))
    with zen.Server(home) as server:
        begun = time.perf_counter()
        with zen.daemon(home, server) as program:
            program.wait_for("daemon.ready", 600)
            ready, before = time.perf_counter() - begun, program.cost()
            time.sleep(5 + count / 4000)  # the findings, and the targets, are looked at in the background
            memory, middle = program.cost().peak, program.cost()
            changed = folder / "schedules-0000.yaml"
            changed.write_text(changed.read_text().replace(" 0 * * 0", " 1 * * 0", 1))
            again = time.perf_counter()
            run([zen.ZENDAEMON, "reload"], zen.environment(home, server))
            took, cost = time.perf_counter() - again, program.cost() - middle
    starts.add(
        f"zendaemon, {count:,}",
        {
            "CPU to ready": Quantity(before.cpu, "s"),
            "ready": Quantity(ready, "s"),
            "CPU of a reload": Quantity(cost.cpu, "s"),
            "reload": Quantity(took, "s"),
            "memory": megabytes(memory),
        },
    )


def cronstable(home: Path) -> Cost:
    lines = ["jobs:"]
    for number in range(JOBS):
        lines += [f"  - name: run-{number}", "    command: curl -s http://127.0.0.1/"]
        lines += [f'    schedule: "{number % 60} {number % 24} * * {number % 7}"', "    utc: true"]
    config = home / "cronstable.yaml"
    config.write_text("\n".join(lines) + "\n")
    cost, _, _ = run([python("cronstable").with_name("cronstable"), "-v", "-c", config])
    return cost
