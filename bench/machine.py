"""What processes cost, from /proc: seconds of a core, bytes of memory, wake-ups; and the programs that are measured."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "bench"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a core; voluntary switches, which are wake-ups; bytes now, and at most since the start."""

    cpu: float
    wakes: int
    now: int
    peak: int

    def __sub__(self, before: Cost) -> Cost:
        return Cost(self.cpu - before.cpu, self.wakes - before.wakes, self.now, self.peak)


def family(pid: int) -> list[int]:
    """A process with all that it started and that live still."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cost(pid: int) -> Cost:
    """Of a process and its children, those that ended and were waited for among them (but not their memory)."""
    cpu, wakes, now, peak = 0.0, 0, 0, 0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{one}/status").read_text()
            tasks = [task.read_text() for task in Path(f"/proc/{one}/task").glob("*/status")]
        except OSError:
            continue
        cpu += sum(map(int, fields[11:15])) / _TICKS
        wakes += sum(_value(task, "voluntary_ctxt_switches") for task in tasks)
        now += _value(status, "VmRSS") * 1024
        peak += _value(status, "VmHWM") * 1024
    return Cost(cpu, wakes, now, peak)


def _value(status: str, name: str) -> int:
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:")), 0)


class Program:
    """A program under measurement, with its output in a file; ended with all its children on leaving."""

    def __init__(self, arguments: Sequence[object], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdout=file,
                stderr=file,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def cost(self) -> Cost:
        return cost(self.pid)

    def wait_for(self, text: str, seconds: float) -> str:
        """The output once `text` is in it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            output = self.log.read_text(errors="replace")
            if text in output:
                return output
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"no {text!r} within {seconds} s:\n{self.log.read_text(errors='replace')[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
                self.process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def run(arguments: Sequence[object], env: Mapping[str, str] | None = None) -> tuple[Cost, float, str]:
    """Runs a program to its end: its cost, its seconds by the clock, its output."""
    begun = time.perf_counter()
    before = os.times()
    with subprocess.Popen(
        [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        text=True,
    ) as process:
        output, _ = process.communicate()
        code = process.returncode
    taken, after = time.perf_counter() - begun, os.times()
    if code:
        raise RuntimeError(f"{arguments[0]} ended with {code}:\n{output[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(cpu, 0, 0, 0), taken, output
