"""Takes each guard of the promise away, and shows that the simulation notices: patches in `mutants/`, one a guard."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PATCHES = sorted((HERE / "mutants").glob("*.patch"))
SEEDS = 1000
_FOUND = re.compile(r"seed (\d+) breaks a promise.*\n    (.*)")


def hunt(patch: Path, seeds: int = SEEDS) -> str | None:
    """Lives through seeds without this guard until one breaks a promise; which one and how, None when none does."""
    with TemporaryDirectory() as folder:
        for part in ("zendaemon", "tests"):
            shutil.copytree(REPOSITORY / part, Path(folder, part), ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(["patch", "-s", "-p1", "-i", patch], cwd=folder, check=True)
        environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder}/tests", "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "simulation", "--first", "1", "--seeds", str(seeds), "--until-failure"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        found = _FOUND.search(done.stdout)
        if found is None and done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
        return None if found is None else f"seed {found[1]}: {found[2]}"


def main() -> int:
    missed = 0
    for patch in PATCHES:
        found = hunt(patch)
        missed += found is None
        print(f"{patch.stem}: {found or f'NOT FOUND within {SEEDS} seeds'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
