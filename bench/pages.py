"""The status page with 5,000 schedules and 200,000 fires: how soon it answers, and whether firing minds.

    .venv/bin/python bench/pages.py [--schedules 5000] [--rows 200000] [--seconds 60]

The real daemon, with a journal that is filled first, against a stand-in server. One of its schedules fires every
second; its lateness is taken beside no page, beside one that is looked at (a look every 3 s, as the page's script does
it) and beside four that ask without a pause, all in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from process.daemon import Daemon, instant
from standin.server import API_KEY, StandIn

from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.core.planning import rule_text
from zendaemon.core.schedule import Schedule
from zendaemon.journal import Journal

TARGET = {"snapshot": "training-prod"}
TICKER = "ticker"
PAGES = {
    "overview": "/",
    "overview, page 30": "/?page=30",
    "overview, searched": "/?search=scores",
    "overview, last fire in trouble": "/?last=trouble&sort=-last_fire_time",
    "a schedule": "/schedules/s00042",
    "timeline": "/timeline",
    "reloads": "/reloads",
}
TAGS = ("nightly", "scoring", "features", "reports", "ml")


def schedules(count: int) -> dict[str, dict[str, Any]]:
    """Daily ones at all minutes of the day, and the ticker."""
    made: dict[str, dict[str, Any]] = {
        f"s{number:05}": {
            **TARGET,
            "cron": f"{number % 60} {number // 60 % 24} * * *",
            "timezone": ("UTC", "Europe/Berlin", "America/New_York")[number % 3],
            "description": f"Scores of tenant {number}",
            "tags": [TAGS[number % len(TAGS)], f"team-{number % 12}"],
        }
        for number in range(count - 1)
    }
    return made | {TICKER: {**TARGET, "every": "1s"}}


async def fill(url: str, declared: dict[str, dict[str, Any]], rows: int) -> None:
    """As many rows as wanted, from the latest fire times backwards; two of a hundred are no run."""
    now = datetime.now(UTC).replace(microsecond=0)
    each = max(1, rows // (len(declared) - 1))
    journal = Journal.open(url)
    known = [Schedule.model_validate({"name": name, **keys}) for name, keys in declared.items()]
    await journal.sync({schedule.name: rule_text(schedule.trigger) for schedule in known}, [], now)
    batch: list[Fire] = []
    for index, schedule in enumerate(known):
        if schedule.name == TICKER:
            continue
        ago = timedelta(minutes=index % 1440, seconds=1)
        batch += [_fire(schedule, now - ago - timedelta(days=day), index + day) for day in range(each)]
        if len(batch) > 5000:
            await journal.claim(batch, {})
            batch = []
    await journal.claim(batch, {})
    await journal.close()


def _fire(schedule: Schedule, fire_time: datetime, number: int) -> Fire:
    if number % 50 == 0:
        reason, message = Reason.REJECTED, "400 ValueError: the step model_trainer has no parameter of that name"
        return Fire(schedule=schedule.name, fire_time=fire_time, state=FireState.FAILED, reason=reason, message=message)
    return Fire(
        schedule=schedule.name,
        fire_time=fire_time,
        state=FireState.STARTED,
        run_id="0f8fad5b-d9cb-469f-a165-70867728950e",
        run_name=f"{schedule.name}-{fire_time:%Y%m%dT%H%M%SZ}",
        run_status="completed",
        attempts=1,
        lateness_seconds=0.02 * (number % 7),
        claimed_at=fire_time,
        decided_at=fire_time,
    )


class Asker(threading.Thread):
    """Asks for pages one after the other; `took` has the seconds of each answer."""

    def __init__(self, port: int, paths: list[str], pause: float) -> None:
        super().__init__(daemon=True)
        self.took: list[float] = []
        self._port, self._paths, self._pause = port, paths, pause
        self._ended = threading.Event()

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._ended.is_set():
            for path in self._paths:
                self.took.append(ask(connection, path))
                if self._ended.wait(self._pause):
                    break

    def end(self) -> list[float]:
        self._ended.set()
        self.join()
        return self.took


def ask(connection: HTTPConnection, path: str) -> float:
    begun = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, (path, answer.status)
    return time.perf_counter() - begun


def p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


def line(name: str, values: list[float], more: str = "") -> None:
    middle, high, most = (value * 1000 for value in (statistics.median(values), p95(values), max(values)))
    print(f"{name:34} {len(values):6} {middle:9.1f} {high:9.1f} {most:9.1f}{more}", flush=True)


def measure(daemon: Daemon, port: int, seconds: float) -> None:
    print(f"\n{'answers':34} {'count':>6} {'median ms':>9} {'p95 ms':>9} {'most ms':>9}")
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for name, path in PAGES.items():
        ask(connection, path)
        line(name, [ask(connection, path) for _ in range(30)])
    phases = (
        ("no page", [], 0.0),
        ("a page that is looked at", ["/"], 3.0),
        ("four that ask without pause", ["/"] * 4, 0.0),
    )
    spans = []
    for name, paths, pause in phases:
        time.sleep(3)
        begun = datetime.now(UTC)
        askers = [Asker(port, [path], pause) for path in paths]
        for asker in askers:
            asker.start()
        time.sleep(seconds)
        took = [one for asker in askers for one in asker.end()]
        spans.append((name, begun, datetime.now(UTC), took))
    time.sleep(3)
    rows = [row for row in daemon.history(TICKER) if row["lateness_seconds"] is not None]
    print(f"\n{'lateness of `every: 1s`, beside':34} {'count':>6} {'median ms':>9} {'p95 ms':>9} {'most ms':>9}")
    for name, begun, end, took in spans:
        late = [row["lateness_seconds"] for row in rows if begun <= instant(row["fire_time"]) < end]
        answers = f"   {len(took)} answers, median {statistics.median(took) * 1000:.0f} ms" if took else ""
        line(name, late, answers)


async def serve(port: int) -> None:
    server = StandIn("0.98.0")
    server.port = port
    server.run_status = "completed"
    async with server:
        await asyncio.Event().wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--schedules", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    port, server_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(
            Path(folder), f"http://127.0.0.1:{server_port}", http=f"127.0.0.1:{port}", api_key=API_KEY, username=None
        )
        declared = schedules(given.schedules)
        daemon.write(declared)
        daemon.state.mkdir(mode=0o700)
        asyncio.run(fill(f"sqlite:///{daemon.state / 'journal.db'}", declared, given.rows))
        print(json.dumps({"schedules": len(declared), "rows": given.rows, "seconds": given.seconds}))
        server = subprocess.Popen([sys.executable, __file__, "--serve", str(server_port)])
        try:
            with daemon:
                time.sleep(5)
                measure(daemon, port, given.seconds)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
