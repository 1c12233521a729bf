"""`python -m bench [NAME ...]`: runs benchmarks, prints their tables, and keeps the figures.

Those in SCRIPTS print for themselves and keep nothing; SECONDS in the environment is how long they take.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from bench.report import CHARTS, chart, remember

NAMES = ("burst", "real", "sustained", "load", "idle", "growth", "tracking")
SCRIPTS: dict[str, tuple[str, ...]] = {"cron": (), "pages": ("--seconds",)}
"""What each is given before its seconds."""
CHARTED = {"burst": "last", "load": "a schedule", "idle": "CPU"}


def main() -> int:
    """The exit status: that of the last script that failed."""
    status = 0
    for name in sys.argv[1:] or (*NAMES, *SCRIPTS):
        if name in SCRIPTS:
            status = ran(name) or status
            continue
        tables = import_module(f"bench.{name}").main()
        for table in tables:
            print(f"\n{table.text()}", flush=True)
        remember(name, tables)
        if name in CHARTED:
            for table in tables:
                slug = table.title.replace(",", "").replace(" ", "-")
                chart(table, CHARTED[name], CHARTS / f"{slug}.svg")


def ran(script: str) -> int:
    seconds = os.environ.get("SECONDS")
    given = (*SCRIPTS[script], seconds) if seconds else ()
    print(f"\n{script}", flush=True)
    return subprocess.run([sys.executable, Path(__file__).with_name(f"{script}.py"), *given], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
