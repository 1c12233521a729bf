"""`python -m bench [NAME ...]`: runs benchmarks, prints their tables, and keeps the figures."""

from __future__ import annotations

import sys
from importlib import import_module

from bench.report import CHARTS, chart, remember

NAMES = ("burst", "sustained", "load", "idle", "growth")
CHARTED = {"burst": "last", "load": "a schedule", "idle": "CPU"}


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        tables = import_module(f"bench.{name}").main()
        for table in tables:
            print(f"\n{table.text()}", flush=True)
        remember(name, tables)
        if name in CHARTED:
            for table in tables:
                slug = table.title.replace(",", "").replace(" ", "-")
                chart(table, CHARTED[name], CHARTS / f"{slug}.svg")


if __name__ == "__main__":
    main()
