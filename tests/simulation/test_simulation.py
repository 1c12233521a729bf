"""The promise, on simulated clocks, networks, disks and servers; `make simulate SEEDS=10000` is the long form."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from simulation.mutants import patched

HERE = Path(__file__).parent
FAILED = [int(line.split()[0]) for line in (HERE / "failed_seeds.txt").read_text().splitlines() if line[0] != "#"]
PATCHES = sorted((HERE / "mutants").glob("*.patch"))
FRESH = 200


def python(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)


def live(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python("simulation", "--jobs", "1", *arguments)


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


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_the_patch_of_each_mutant_applies(patch: Path, tmp_path: Path) -> None:
    """To the letter: a patch that has drifted might leave the guard where it is. `make mutants` lives through them."""
    files = re.findall(r"^--- a/(\S+)$", patch.read_text(), re.MULTILINE)
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text((HERE.parents[1] / file).read_text())
    assert files
    assert patched(tmp_path, patch) is None


@pytest.fixture(scope="module")
def set_pieces() -> Any:  # noqa: ANN401 - JSON
    done = python("simulation.set_pieces")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(900)
def test_a_server_that_is_away_for_a_day(set_pieces: Any) -> None:  # noqa: ANN401
    """What is due inside its window is started once, paced; what is not is missed, and says why."""
    told = set_pieces["outage"]
    assert told["violations"] == []
    assert told["rows"]["patient"] == {"started": 47}, "30 hours of patience, an hour's cadence, two days"
    for impatient in ("hasty", "quarterly"):
        assert set(told["rows"][impatient]) == {"started", "missed: catchup_window"}
    assert told["rows"]["hasty"]["missed: catchup_window"] == 24
    assert told["rows"]["quarterly"]["started"] >= 24 * 4 - 2, "the second day's, and those of two hours before the end"
    assert told["refused"] < 24 * 60 * 2, "probes, fewer than two a minute, with a hundred fires waiting"
    assert told["first_start_after"] < 130, "the longest pause between two probes here is two minutes"
    assert told["most_in_flight"] <= 4
    assert told["starts_in_the_first_second"] < told["starts_in_the_first_minute"] / 3, "a release, not a stampede"


@pytest.mark.timeout(900)
def test_a_daemon_that_was_down_for_a_day(set_pieces: Any) -> None:  # noqa: ANN401
    told = set_pieces["downtime"]
    assert told["violations"] == []
    rows = told["rows"]
    assert set(rows["minutely-all"]) == {"started"}
    assert rows["minutely-all"]["started"] > 31 * 60 - 10
    assert rows["minutely-latest"]["missed: catchup_latest"] == 1, "one row for all 1,439"
    assert rows["minutely-none"]["missed: catchup_none"] == 1
    assert told["most_in_flight"] <= 4
    assert told["latest_on_time"] < 30, "seconds; a catch-up of 1,440 fires takes minutes and holds up nobody else"
