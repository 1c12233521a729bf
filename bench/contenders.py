"""Who starts the runs: zendaemon, what people would use instead, and the limit.

Each is given N schedules due at the same minute, a server, and a folder of its own; it says when it is ready. Peers
have virtual environments of their own below .cache/bench, made by the first run that needs them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import zen
from bench.machine import CACHE, ROOT, Program

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

PEERS = ROOT / "bench" / "peers"
PACKAGES = {
    "apscheduler": ("apscheduler==3.11.3", "httpx==0.28.1"),
    "aiohttp": ("aiohttp==3.14.5",),
    "cronstable": ("cronstable==1.2.72",),
    "celery": ("celery==5.7.0", "httpx==0.28.1"),
}


@dataclass(frozen=True, slots=True)
class Task:
    """What a contender has to do: start `count` runs at `at` (UTC, a whole minute)."""

    home: Path
    url: str
    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Contender:
    """`begin` starts it; `setup` is how many seconds it needs until it is ready, for a number of schedules."""

    name: str
    begin: Callable[[Task], Program]
    setup: Callable[[int], float]
    most: int = 10_000


def python(name: str) -> Path:
    """The interpreter of a peer's own environment."""
    folder = CACHE / name
    found = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES[name]]
        subprocess.run(install, check=True)
        (folder / "ready").touch()
    return found


def zendaemon(task: Task) -> Program:
    line = f'cron: "{task.at.minute} {task.at.hour} * * *"'
    zen.write_schedules(task.home / "schedules", task.count, lambda _: line, files=max(1, task.count // 100))
    program = zen.daemon(task.home, None, {"ZENDAEMON_SERVER_URL": task.url})
    program.wait_for("daemon.ready", 120)
    return program


def apscheduler(task: Task) -> Program:
    script = PEERS / "apscheduler_httpx.py"
    arguments = [python("apscheduler"), script, task.url, task.at.minute, task.at.hour, task.count]
    return _ready(Program(arguments, task.home / "apscheduler.log"))


def aiohttp_loop(task: Task) -> Program:
    arguments = [python("aiohttp"), PEERS / "aiohttp_loop.py", task.url, task.at.timestamp(), task.count]
    return _ready(Program(arguments, task.home / "aiohttp.log"))


def celery(task: Task) -> Program:
    """Beat and a worker of two processes in one program."""
    values = {"URL": task.url, "HOME": task.home, "HOUR": task.at.hour, "MINUTE": task.at.minute}
    env = {f"BENCH_{name}": str(value) for name, value in {**values, "COUNT": task.count}.items()}
    arguments = [python("celery").with_name("celery"), "-A", "celery_app", "--workdir", PEERS, "worker", "--beat"]
    arguments += ["--concurrency", 2, "--loglevel", "info", "--schedule", task.home / "beat"]
    program = Program(arguments, task.home / "celery.log", {**env, "C_FORCE_ROOT": "1"})
    program.wait_for("beat: Starting", 120)
    return program


def curl(task: Task) -> Callable[[int], str]:
    """The command line for the start of one run."""
    login = urllib.request.Request(f"{task.url}/api/v1/login", b"username=default&password=")
    with urllib.request.urlopen(login) as answer:
        token = json.load(answer)["access_token"]
    page = urllib.request.Request(f"{task.url}/api/v1/pipeline_snapshots", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(page) as answer:
        target = json.load(answer)["items"][0]["id"]
    headers = f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json'"
    route = f"{task.url}/api/v1/pipeline_snapshots/{target}/runs"

    def command(number: int) -> str:
        body = f'{{"run_configuration": {{"run_name": "run-{number}"}}}}'
        return f"curl -s -o /dev/null {headers} -d '{body}' {route}"

    return command


def cronstable(task: Task) -> Program:
    command = curl(task)
    lines = ["jobs:"]
    for number in range(task.count):
        lines += [f"  - name: run-{number}", "    command: |", f"      {command(number)}"]
        lines += [f'    schedule: "{task.at.minute} {task.at.hour} * * *"', "    utc: true"]
    config = task.home / "cronstable.yaml"
    config.write_text("\n".join(lines) + "\n")
    program = Program(
        [python("cronstable").with_name("cronstable"), "-c", config, "-l", "WARNING"], task.home / "cronstable.log"
    )
    time.sleep(3)
    return program


def debian_cron(task: Task) -> Program:
    """Debian's own binary, unpacked and not installed, with a crontab in a mount namespace of its own."""
    command = curl(task)
    lines = [f"{task.at.minute} {task.at.hour} * * * root {command(n)}".replace("%", r"\%") for n in range(task.count)]
    crontab = task.home / "bench-cron"
    crontab.write_text("\n".join(lines) + "\n")
    program = Program(["unshare", "-m", "sh", PEERS / "debian_cron.sh", cron_folder(), crontab], task.home / "cron.log")
    time.sleep(2)
    return program


def cron_folder() -> Path:
    folder = CACHE / "cron"
    if not (folder / "usr").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", "cron"], cwd=folder, check=True)
        subprocess.run(["dpkg", "-x", *folder.glob("cron_*.deb"), folder], check=True)
    return folder


def _ready(program: Program) -> Program:
    program.wait_for("ready", 120)
    return program


CONTENDERS = (
    Contender("zendaemon", zendaemon, lambda count: 6 + count / 1500),
    Contender("APScheduler + httpx", apscheduler, lambda count: 5 + count / 1000, most=1000),
    Contender("cronstable + curl", cronstable, lambda count: 8 + count / 100, most=1000),
    Contender("Debian cron + curl", debian_cron, lambda _: 5, most=1000),
    Contender("Celery beat + worker", celery, lambda count: 8 + count / 200, most=1000),
    Contender("a bare aiohttp loop", aiohttp_loop, lambda _: 5),
)
LIMIT = CONTENDERS[-1].name
