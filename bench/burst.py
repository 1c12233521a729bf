"""N schedules due in one minute: when each start arrives, what it costs, and who else does it.

    BENCH=burst [N=1000] [ONLY=zendaemon,...] [LATENCY=0.05] make bench

Without LATENCY, N=1,000 is also done at a server that takes 50 ms for each answer.

zendaemon's claims and records are on disk; `recorded` is when the last of them was. The limit keeps nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import zen
from bench.contenders import CONTENDERS, LIMIT, Contender, Task
from bench.report import Table, megabytes, milliseconds

PATIENCE = 120.0
AFAR, MIDDLING = 0.05, 1000


def main() -> list[Table]:
    counts = [int(text) for text in os.environ.get("N", "1,200,1000,10000").split(",")]
    only = [name for name in os.environ.get("ONLY", "").split(",") if name]
    given = os.environ.get("LATENCY")
    rounds = [(count, float(given or 0)) for count in counts]
    rounds += [(count, AFAR) for count in counts if count == MIDDLING and given is None]
    tables = []
    for count, latency in rounds:
        title = f"burst of {count:,}" + (f", a server of {latency * 1000:.0f} ms" if latency else "")
        table = Table(title, ("first", "p50", "p99", "last", "recorded", "CPU a fire", "peak memory"))
        for contender in CONTENDERS:
            if count <= contender.most and (not only or any(contender.name.startswith(name) for name in only)):
                table.add(contender.name, measure(contender, count, latency), limit=contender.name == LIMIT)
                print(table.rows[-1].line(table), flush=True)
        tables.append(table)
    return tables


def next_minute(seconds: float) -> datetime:
    """The first whole minute that is at least so far away."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)


def measure(contender: Contender, count: int, latency: float) -> dict[str, str | float]:
    home = Path(tempfile.mkdtemp(prefix="zb-"))
    try:
        with zen.Server(home, latency) as server:
            task = Task(home, server.url, next_minute(contender.setup(count)), count)
            return measured(contender, task, server)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def measured(contender: Contender, task: Task, server: zen.Server) -> dict[str, str | float]:
    due = task.at.timestamp()
    with contender.begin(task) as program:
        server.arrivals()
        time.sleep(max(0.0, due - 1 - time.time()))
        before = program.cost()
        arrivals: list[float] = []
        while len(arrivals) < task.count and time.time() < due + PATIENCE:
            time.sleep(max(0.1, due + 0.5 - time.time()))
            arrivals += [at - due for at, _ in server.arrivals()]
        recorded = zen.wait_recorded(task.home, task.count, 60) - due if contender.name == "zendaemon" else None
        time.sleep(0.5)
        cost = program.cost() - before
    arrivals.sort()
    if len(arrivals) < task.count:
        return {"last": f"only {len(arrivals)} in {PATIENCE:.0f} s"}
    middle, late = arrivals[len(arrivals) // 2], arrivals[int(len(arrivals) * 0.99)]
    found: dict[str, str | float] = {
        "first": milliseconds(arrivals[0]),
        "p50": milliseconds(middle),
        "p99": milliseconds(late),
        "last": milliseconds(arrivals[-1]),
        "CPU a fire": milliseconds(cost.cpu / task.count),
        "peak memory": megabytes(cost.peak),
    }
    return found if recorded is None else {**found, "recorded": milliseconds(recorded)}
