"""Schedules of `every: 1s`: how late their starts arrive, for one alone, and how many are held.

make bench BENCH=sustained [SECONDS=60] [N=1,100,200]

Without N: one alone, and then a search for how many are held: every start arrives, 99 of 100 within 100 ms of its
second. The last row is that number again, for SECONDS (300 for what is claimed of it).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from bench import zen
from bench.report import Table, milliseconds

LATE = 0.1
TRIAL = 15.0
"""Seconds that a number is tried for while the largest is searched."""


def main() -> list[Table]:
    seconds = float(os.environ.get("SECONDS", "60"))
    table = Table(f"every second, for {seconds:.0f} s", ("p50", "p99", "worst", "starts", "CPU a fire"))
    if given := os.environ.get("N"):
        for count in map(int, given.split(",")):
            measure(table, count, seconds)
        return [table]
    measure(table, 1, seconds)
    trials = Table(f"every second, tried for {TRIAL:.0f} s", table.columns)
    low = high = 100
    while measure(trials, high, TRIAL):
        low, high = high, high * 2
    while high - low > low / 10:
        middle = (low + high) // 2
        low, high = (middle, high) if measure(trials, middle, TRIAL) else (low, middle)
    while not measure(table, low, seconds) and low > 1:
        low = low * 9 // 10
    return [table, trials]


def measure(table: Table, count: int, seconds: float) -> bool:
    """Adds a row; whether so many are held."""
    home = Path(tempfile.mkdtemp(prefix="zb-"))
    try:
        late, cpu = lateness(home, count, seconds)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    p99, wanted = late[int(len(late) * 0.99)], int(seconds) * count
    table.add(
        f"{count:,} schedules",
        {
            "p50": milliseconds(late[len(late) // 2]),
            "p99": milliseconds(p99),
            "worst": milliseconds(late[-1]),
            "starts": f"{len(late):,} of {wanted:,}",
            "CPU a fire": milliseconds(cpu / len(late)),
        },
    )
    print(table.rows[-1].line(table), flush=True)
    return p99 < LATE and len(late) > wanted * (1 - 2 / seconds)


def lateness(home: Path, count: int, seconds: float) -> tuple[list[float], float]:
    """How late each start arrived, sorted, and the seconds of a core that all of it took."""
    zen.write_schedules(home / "schedules", count, lambda _: "every: 1s")
    with zen.Server(home) as server, zen.daemon(home, server) as program:
        program.wait_for("daemon.ready", 60)
        time.sleep(10)
        server.arrivals()
        before = program.cost()
        time.sleep(seconds)
        late = sorted(at - fire_time(name) for at, name in server.arrivals())
        cost = program.cost() - before
    return late or [seconds], cost.cpu


def fire_time(run_name: str) -> float:
    """`s000001-20261123T020000Z` as seconds since 1970."""
    stamp = run_name.rpartition("-")[2]
    return time.mktime(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) - time.timezone
