"""N schedules due in one minute at a real ZenML server, which does 10 to 30 starts a second and has two slots for them.

    BENCH=real [N=100] [VERSION=0.98.0] make bench

What counts is that every fire gets its run, in order (`priority`, then by name), with few requests that the server
refuses for want of a slot. `out of place` is how far from its place in that order any run was created, at most; with
four starts in flight, and those that are refused queueing again, a few places are no disorder.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from bench import zen
from bench.burst import next_minute
from bench.contenders import Task, cronstable
from bench.machine import CACHE
from bench.report import Quantity, Table, milliseconds
from zendaemon.demo.pool import ServerPool

if TYPE_CHECKING:
    from bench.machine import Program

PATIENCE = 180.0
PRIORITIES = (90, 50, 10)
PORT = 18_787


def main() -> list[Table]:
    count, version = int(os.environ.get("N", "100")), os.environ.get("VERSION", "0.98.0")
    columns = ("runs", "refused", "starts a second", "first", "last", "out of place", "CPU a fire")
    table = Table(f"burst of {count:,} at ZenML {version}", columns)
    for name in ("zendaemon", "cronstable + curl"):
        home = Path(tempfile.mkdtemp(prefix="zb-"))
        cache = Path(os.environ.get("ZENDAEMON_DEMO_CACHE") or CACHE.parent)
        try:
            with ServerPool(home, cache, print) as pool:
                server = pool.get(version)
                target = pool.seeder(server).runnable("training").target
                with (zendaemon if name == "zendaemon" else peer)(home, server.url, count, target) as program:
                    found = watch(program, pool, server, count)
                    if name == "zendaemon":
                        found["refused"] = refused()
        finally:
            shutil.rmtree(home, ignore_errors=True)
        table.add(name, found)
        print(table.rows[-1].line(table), flush=True)
    return [table]


def zendaemon(home: Path, url: str, count: int, target: object) -> Program:
    at = next_minute(8)
    keys = "\n".join(f"    {key}: {value}" for key, value in dict(target).items())  # type: ignore[call-overload]
    lines = ["schedules:"]
    for number in range(count):
        lines += [f"  s{number:06}:", f'    cron: "{at.minute} {at.hour} * * *"', keys]
        lines += [f"    priority: {PRIORITIES[number % len(PRIORITIES)]}"]
    (home / "schedules").mkdir()
    (home / "schedules" / "all.yaml").write_text("\n".join(lines) + "\n")
    environment = {"ZENDAEMON_SERVER_URL": url, "ZENDAEMON_HTTP": f"127.0.0.1:{PORT}"}
    program = zen.daemon(home, None, environment)
    program.wait_for("daemon.ready", 60)
    return program


def peer(home: Path, url: str, count: int, _: object) -> Program:
    return cronstable(Task(home, url, next_minute(8 + count / 100), count))


def watch(program: Program, pool: ServerPool, server: object, count: int) -> dict[str, object]:
    """The runs that the server made until all were there, or none came for ten seconds."""
    due = next_minute(0).timestamp()
    time.sleep(max(0.0, due - 1 - time.time()))
    before = program.cost()
    runs: list[dict[str, object]] = []
    latest, end = due + 10, due + PATIENCE
    while time.time() < min(end, latest) and len(runs) < count:
        time.sleep(1)
        found = pool.seeder(server).runs()  # type: ignore[arg-type]
        if len(found) > len(runs):
            runs, latest = found, time.time() + 10
    cost = program.cost() - before
    created = [instant(run) - due for run in runs]
    took = max(created, default=0.0)
    cells: dict[str, object] = {
        "runs": f"{len(runs)} of {count}",
        "starts a second": Quantity(len(runs) / took if took else 0.0, ""),
        "first": milliseconds(min(created, default=0.0)),
        "last": milliseconds(took),
        "CPU a fire": milliseconds(cost.cpu / count),
    }
    names = [str(run["name"]).partition("-2")[0] for run in runs]
    if names and names[0].startswith("s0"):
        wanted = sorted(names, key=lambda name: (-PRIORITIES[int(name[1:]) % len(PRIORITIES)], name))
        places = {name: place for place, name in enumerate(wanted)}
        cells["out of place"] = str(max(abs(places[name] - place) for place, name in enumerate(names)))
    return cells


def instant(run: dict[str, object]) -> float:
    """When a run was created, as seconds since 1970."""
    body = run["body"]
    text = str(body["created"]).partition("+")[0]  # type: ignore[index]
    whole, _, fraction = text.partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(f"0.{fraction or 0}")


def refused() -> str:
    """How many starts the server refused for want of a slot, by zendaemon's own count."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics") as answer:
        text = answer.read().decode()
    found = re.search(r'zendaemon_attempts_total\{outcome="busy"\} (\S+)', text)
    return f"{float(found[1]):.0f}" if found else "-"
