"""Takes each guard of the promise away, and shows that the simulation notices: patches in `mutants/`, one a guard.

A mutant is shown when some seed breaks a promise without the guard and breaks none with it. All of it is lived through
in copies, so the tree may be edited meanwhile.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PARTS = ("zendaemon", "tests")
SEEDS = 1000
_FOUND = re.compile(r"seed (\d+) breaks a promise.*\n    (.*)")
_BROKEN = ("engine.error", "control.error", "the daemon died", "unhandled")
"""How a complaint begins that says nothing of a promise: the patch has only broken the code."""


def snapshot(folder: Path, source: Path = REPOSITORY) -> Path:
    """A copy of the daemon and its tests."""
    for part in PARTS:
        shutil.copytree(source / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def patched(folder: Path, patch: Path) -> str | None:
    """Takes a guard away in a copy; what `patch` says when that is not possible to the letter."""
    command = ["patch", "--strip=1", "--fuzz=0", "--force", f"--input={patch}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stdout + done.stderr


def live(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Seeds of the simulation in a copy, with the daemon that is there."""
    path = f"{folder}{os.pathsep}{folder / 'tests'}"
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "simulation", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def hunt(intact: Path, patch: Path, seeds: int, jobs: int) -> tuple[bool, str]:
    """Whether the guard is shown, and by what: the seed that breaks without it, on all cores, and is clean with it."""
    with TemporaryDirectory() as name:
        folder = snapshot(Path(name), intact)
        if refused := patched(folder, patch):
            return False, f"the patch does not apply: {' '.join(refused.split())}"
        done = live(folder, "--first", "1", "--seeds", str(seeds), "--jobs", str(jobs), "--until-failure")
    found = _FOUND.search(done.stdout)
    if found is None:
        why = (done.stdout + done.stderr).strip().splitlines()[-1:] if done.returncode else [f"within {seeds} seeds"]
        return False, f"NOT FOUND: {' '.join(why)}"
    seed, complaint = found.groups()
    if complaint.startswith(_BROKEN):
        return False, f"seed {seed} only breaks the code: {complaint}"
    if live(intact, "--first", seed, "--seeds", "1", "--jobs", "1").returncode != 0:
        return False, f"seed {seed} fails with the guard too: {complaint}"
    return True, f"seed {seed}: {complaint}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation.mutants", description=__doc__)
    parser.add_argument("mutants", nargs="*", help="the names of patches; all when none is given")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many are tried for each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    not_shown = []
    with TemporaryDirectory() as name:
        intact = snapshot(Path(name))
        patches = sorted((intact / HERE.relative_to(REPOSITORY) / "mutants").glob("*.patch"))
        if unknown := set(given.mutants) - {patch.stem for patch in patches}:
            parser.error(f"there is no mutant {', '.join(sorted(unknown))}")
        wanted = [patch for patch in patches if not given.mutants or patch.stem in given.mutants]
        for patch in wanted:
            shown, what = hunt(intact, patch, given.seeds, given.jobs)
            not_shown += [] if shown else [patch.stem]
            print(f"{patch.stem}: {'' if shown else 'not shown, '}{what}", flush=True)
    print(f"{len(wanted)} mutants, {len(not_shown)} not shown{': ' if not_shown else ''}{', '.join(not_shown)}")
    return 1 if not_shown else 0


if __name__ == "__main__":
    sys.exit(main())
