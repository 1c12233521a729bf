"""`python -m simulation`: many seeds on all cores with a progress bar, or one seed told step by step.

Exit status 1 when a promise is broken; what is printed then has the command that replays it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from multiprocessing import Pool
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from simulation.run import Result, simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SHOWN = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, help="the first of them; random when not given")
    parser.add_argument("--seed", type=int, help="replay this one, and tell every step")
    parser.add_argument("--until-failure", action="store_true", help="end with the first broken promise")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.seed is not None:
        return _tell(simulate(given.seed, tell=print))
    first = random.SystemRandom().randrange(1 << 40) if given.first is None else given.first
    print(f"seeds {first} to {first + given.seeds - 1}", flush=True)
    results = _all(range(first, first + given.seeds), given.jobs)
    return _summary(results, given.seeds, until_failure=given.until_failure)


def _all(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(simulate, seeds)
        return
    with Pool(jobs) as pool:
        yield from pool.imap_unordered(simulate, seeds, chunksize=4)


def _summary(results: Iterable[Result], count: int, *, until_failure: bool) -> int:
    rows: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    failed = done = steps = 0
    days = 0.0
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("seeds", total=count, failed=0)
        for result in results:
            done += 1
            rows += result.rows
            faults += result.faults
            steps += result.steps
            days += result.days
            if result.violations:
                failed += 1
                _complain(result)
            progress.update(bar, advance=1, failed=failed)
            if not sys.stderr.isatty() and done % 500 == 0:
                print(f"{done} of {count} seeds, {failed} failed", flush=True)
            if failed and until_failure:
                break
    print(f"{done} seeds, {failed} failed; {days:.0f} simulated days, {steps} steps")
    print(f"{sum(rows.values())} rows: {', '.join(f'{state} {number}' for state, number in rows.most_common())}")
    print(f"{len(faults)} kinds of faults: {', '.join(f'{kind} {number}' for kind, number in faults.most_common())}")
    return 1 if failed else 0


def _complain(result: Result) -> None:
    print(f"seed {result.seed} breaks a promise, after {result.steps} steps (fingerprint {result.trace:08x}):")
    for violation in result.violations[:_SHOWN]:
        print(f"    {violation}")
    if len(result.violations) > _SHOWN:
        print(f"    and {len(result.violations) - _SHOWN} more")
    print(f"  replay it with: make simulate SEED={result.seed}", flush=True)


def _tell(result: Result) -> int:
    print(f"seed {result.seed}: {result.steps} steps, fingerprint {result.trace:08x}")
    for violation in result.violations:
        print(f"    {violation}")
    return 1 if result.violations else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a history
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]])  # noqa: S606 - ourselves
    sys.exit(main())
