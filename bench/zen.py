"""zendaemon under measurement: its schedule files, its settings, and the server that it talks to."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.machine import ROOT, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ZENDAEMON = Path(sys.executable).with_name("zendaemon")


class Server:
    """The server that answers at once, or after `latency` seconds; its runs have the status `status`."""

    def __init__(self, home: Path, latency: float = 0.0, *, version: str = "0.98.0", status: str = "completed") -> None:
        arguments: list[object] = [sys.executable, ROOT / "bench" / "server.py", "--latency", latency]
        arguments += ["--version", version, "--status", status]
        self.program = Program(arguments, home / "server.log")
        self.url = f"http://127.0.0.1:{self.program.wait_for(chr(10), 20).strip()}"

    def arrivals(self) -> list[tuple[float, str]]:
        """Wall time and run name of the starts since this was last asked."""
        with urllib.request.urlopen(f"{self.url}/arrivals") as answer:
            return [(float(at), str(name)) for at, name in json.load(answer)]

    def asked(self) -> dict[str, int]:
        """What was asked of runs since this was last asked: `lists`, `single`, `rows` and `bytes`, where not zero."""
        with urllib.request.urlopen(f"{self.url}/asked") as answer:
            found: dict[str, int] = json.load(answer)
            return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.__exit__()


def write_schedules(folder: Path, count: int, trigger: Callable[[int], str], files: int = 1) -> None:
    """`count` schedules in `files` files; `trigger` is the line of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in range(files):
        lines = ["schedules:"]
        for number in range(file, count, files):
            lines += [
                f"  s{number:06}:",
                f"    {trigger(number)}",
                "    snapshot: training-prod",
                "    config:",
                "      enable_cache: false",
                "      steps:",
                "        model_trainer:",
                "          parameters:",
                "            model_type: rf",
            ]
        (folder / f"schedules-{file:04}.yaml").write_text("\n".join(lines) + "\n")


def environment(home: Path, server: Server | None) -> dict[str, str]:
    return {
        "ZENDAEMON_SCHEDULES": str(home / "schedules"),
        "ZENDAEMON_STATE": str(home / "state"),
        "ZENDAEMON_SERVER_URL": server.url if server else "http://127.0.0.1:1",
        "ZENDAEMON_USERNAME": "default",
        "ZENDAEMON_LOG_FORMAT": "json",
    }


def daemon(home: Path, server: Server | None, more: Mapping[str, str] | None = None) -> Program:
    env = {**environment(home, server), **(more or {})}
    return Program([ZENDAEMON, "run"], home / "zendaemon.log", env)


def recorded(home: Path, state: str = "started") -> int:
    """How many fires have this state in the journal."""
    with sqlite3.connect(f"file:{home / 'state' / 'journal.db'}?mode=ro", uri=True) as journal:
        return int(journal.execute("select count(*) from fires where state = ?", [state]).fetchone()[0])


def wait_recorded(home: Path, count: int, seconds: float) -> float:
    """The wall time at which so many fires were recorded as started: the journal was written to last then."""
    end = time.monotonic() + seconds
    while recorded(home) < count and time.monotonic() < end:
        time.sleep(0.05)
    return (home / "state" / "journal.db-wal").stat().st_mtime
