"""The promise, on simulated clocks, networks, disks and servers; `make simulate SEEDS=10000` is the long form."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FAILED = [int(line.split()[0]) for line in (HERE / "failed_seeds.txt").read_text().splitlines() if line[0] != "#"]
FRESH = 200


def live(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "simulation", "--jobs", "1", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(2))
def test_fresh_seeds(part: int) -> None:
    """The seeds are new in every run, and printed: a failure names the command that replays it."""
    del part
    done = live("--seeds", str(FRESH // 2))
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{FRESH // 2} seeds, 0 failed" in done.stdout


@pytest.mark.parametrize("seed", FAILED)
def test_seeds_that_once_failed(seed: int) -> None:
    done = live("--seeds", "1", "--first", str(seed))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_is_the_same_history_to_the_step() -> None:
    told = [live("--seed", "7").stdout for _ in range(2)]
    assert told[0] == told[1]
    assert re.search(r"seed 7: \d{4,} steps, fingerprint [0-9a-f]{8}", told[0])
