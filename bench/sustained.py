"""Schedules of `every: 1s`: how late their starts arrive, for one alone and for more and more.

make bench BENCH=sustained [SECONDS=60] [N=1,100,200]
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from bench import zen
from bench.report import Table, milliseconds


def main() -> list[Table]:
    seconds = float(os.environ.get("SECONDS", "60"))
    table = Table(f"every second, for {seconds:.0f} s", ("p50", "p99", "worst", "starts", "CPU a fire"))
    for count in [int(text) for text in os.environ.get("N", "1,100,200").split(",")]:
        home = Path(tempfile.mkdtemp(prefix="zb-"))
        try:
            table.add(f"{count:,} schedules", measure(home, count, seconds))
        finally:
            shutil.rmtree(home, ignore_errors=True)
    return [table]


def measure(home: Path, count: int, seconds: float) -> dict[str, object]:
    zen.write_schedules(home / "schedules", count, lambda _: "every: 1s")
    with zen.Server(home) as server, zen.daemon(home, server) as program:
        program.wait_for("daemon.ready", 60)
        time.sleep(10)
        server.arrivals()
        before = program.cost()
        time.sleep(seconds)
        late = sorted(at - fire_time(name) for at, name in server.arrivals())
        cost = program.cost() - before
    return {
        "p50": milliseconds(late[len(late) // 2]),
        "p99": milliseconds(late[int(len(late) * 0.99)]),
        "worst": milliseconds(late[-1]),
        "starts": f"{len(late):,} of {int(seconds) * count:,}",
        "CPU a fire": milliseconds(cost.cpu / len(late)),
    }


def fire_time(run_name: str) -> float:
    """`s000001-20261123T020000Z` as seconds since 1970."""
    stamp = run_name.rpartition("-")[2]
    return time.mktime(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) - time.timezone
