"""`zendaemon demo` as a user runs it: real runs on a real server, and nothing left behind however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pytest

from zendaemon.demo.venv import ensure_venv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(os.environ.get("ZENDAEMON_DEMO_CACHE") or REPOSITORY / ".cache")
T = TypeVar("T")
RUN = re.compile(r"^\S+Z  (\S+)  ([0-9a-f-]{36})  (\w+)$", re.MULTILINE)


def wait_for(what: Callable[[], T], seconds: float = 60) -> T:
    deadline = time.monotonic() + seconds
    while not (seen := what()):
        assert time.monotonic() < deadline, f"{seen!r} after {seconds} s"
        time.sleep(0.1)
    return seen


class Demo:
    """A running demo with a folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._output = folder.with_name(f"{folder.name}.out")
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "zendaemon", "demo", "--folder", str(folder), *options],
                cwd=REPOSITORY,
                env={**os.environ, "ZENDAEMON_DEMO_CACHE": str(CACHE)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def runs(self) -> dict[str, str]:
        """The runs that were told, names by id."""
        return {run_id: name for name, run_id, _ in RUN.findall(self.output)}

    def first_runs(self) -> dict[str, str]:
        def look() -> dict[str, str]:
            assert self.process.poll() is None, self.output
            return self.runs()

        return wait_for(look, 90)

    def history(self) -> dict[str, str]:
        """The started fires of `zendaemon history`, run names by run id."""
        command = [sys.executable, "-m", "zendaemon", "history", "--json", "--state", str(self.folder / "state")]
        answer = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
        rows = [json.loads(line) for line in answer.stdout.splitlines()]
        return {row["run_id"]: row["run_name"] for row in rows if row["state"] == "started"}

    def server_run(self, run_id: str) -> dict[str, Any]:
        """A run as the server has it, read with the login that the output tells."""
        [url] = re.findall(r"^server: +(http://\S+) ", self.output, re.MULTILINE)
        with httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client:
            login = client.post("/login", data={"username": "default", "password": ""}).raise_for_status()
            bearer = {"Authorization": f"Bearer {login.json()['access_token']}"}
            run: dict[str, Any] = client.get(f"/runs/{run_id}", headers=bearer).raise_for_status().json()
        return run

    def processes(self) -> list[str]:
        """The command lines of the demo itself and of all that has its folder in the environment."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if str(self.folder).encode() in (process / "environ").read_bytes() + command:
                    found.append(command.replace(b"\0", b" ").decode())
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """`demo(version, *options)` starts one."""
    demos: list[Demo] = []

    def start(version: str, *options: str) -> Demo:
        ensure_venv(version, CACHE, print)  # its time is not ours
        demos.append(Demo(tmp_path / version, "--zenml", version, *options))
        return demos[-1]

    yield start
    for one in demos:
        one.process.kill()
        one.process.wait()


def assert_runs_are_real(one: Demo) -> None:
    """What is told is in the journal and on the server, with the same id, and the daemon is a process of its own."""
    for run_id, name in one.first_runs().items():
        assert one.history()[run_id] == name
        run = one.server_run(run_id)
        assert run["name"] == name
        assert run["body"]["status"] in {"initializing", "running", "completed"}
    assert len(one.processes()) >= 3, "demo, server and daemon"
    [page] = re.findall(r"^page: +(http://\S+) ", one.output, re.MULTILINE)
    with httpx.Client(base_url=page, timeout=30, trust_env=False) as client:
        assert client.get("/").status_code == 200
        assert client.get("/api/v1/schedules").json()["total"] == 3
        token = {"Authorization": f"Bearer {(one.folder / 'http-token').read_text().strip()}"}
        assert client.post("/api/v1/reload", headers=token).json()["applied"] is True


def assert_ends_well(one: Demo) -> None:
    """The summary holds, the journal has what was told, and nothing is left."""
    assert one.process.wait(60) == 0, one.output
    assert one.processes() == []
    history = one.history()
    assert any(name.startswith("train-") for name in history.values())
    assert history == one.runs()
    assert f"the ZenML server knows {len(history)} of {len(history)} run ids" in one.output


def assert_key_is_in_its_file_alone(one: Demo) -> None:
    for file in (one.folder / "api-key", one.folder / "http-token"):
        assert file.stat().st_mode & 0o777 == 0o600
        key = file.read_text().strip()
        assert key not in one.output + (one.folder / "daemon.log").read_text()
        assert not any(key in command for command in one.processes())


def test_real_runs_and_nothing_left_behind(demo: Callable[..., Demo]) -> None:
    """Side by side, to save time: one ends by itself, one by Ctrl-C, and one by kill -9."""
    timed, interrupted, killed = demo("0.98.0", "--for", "25s"), demo("0.62.0"), demo("0.75.0")
    assert_runs_are_real(timed)
    assert_runs_are_real(interrupted)
    assert_runs_are_real(killed)
    assert_key_is_in_its_file_alone(killed)

    killed.process.kill()
    wait_for(lambda: not killed.processes(), 5)
    run_id = next(iter(interrupted.runs()))
    wait_for(lambda: interrupted.server_run(run_id)["body"]["status"] == "completed")
    interrupted.process.send_signal(signal.SIGINT)
    assert_ends_well(interrupted)
    assert_ends_well(timed)

    again = Demo(timed.folder, "--zenml", "0.62.0")
    assert again.process.wait(30) == 2
    assert "belongs to a demo with zenml-0.98.0" in again.output


@pytest.mark.parametrize("options", [["--zenml", "latest"], ["--for", "soon"]])
def test_wrong_usage(tmp_path: Path, options: list[str]) -> None:
    one = Demo(tmp_path / "demo", *options)
    assert one.process.wait(30) == 2
    assert "Invalid value" in one.output
