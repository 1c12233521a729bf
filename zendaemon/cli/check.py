"""`zendaemon check`: are the schedule files valid?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zendaemon import clock
from zendaemon.cli.output import JsonOption, print_json
from zendaemon.core.errors import Invalid
from zendaemon.loader import load
from zendaemon.settings import load_settings


def command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders [the schedules folder].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check schedule files, without a server; every problem as file:line:column: message."""
    try:
        loaded = load(paths or [load_settings().schedules], now=clock.now())
    except Invalid as error:
        if as_json:
            problems = [
                {"file": p.file, "line": p.line, "column": p.column, "message": p.message, "remedy": p.remedy}
                for p in error.problems
            ]
            print_json({"valid": False, "schedules": None, "problems": problems, "warnings": []})
        else:
            for problem in error.problems:
                sys.stdout.write(f"{problem}\n")
            sys.stderr.write(f"{error.message}\n")
        raise typer.Exit(1) from None
    schedules = loaded.set.schedules
    warnings = [f"{name}: {warning}" for name, schedule in schedules.items() for warning in schedule.warnings]
    if as_json:
        print_json({"valid": True, "schedules": len(schedules), "problems": [], "warnings": warnings})
    else:
        for warning in warnings:
            sys.stderr.write(f"warning: {warning}\n")
        sys.stdout.write(f"{len(schedules)} schedule{'s' if len(schedules) != 1 else ''}, no problems\n")
