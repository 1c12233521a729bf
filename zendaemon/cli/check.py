"""`zendaemon check`: are the schedule files valid, and do they say what was meant?"""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zendaemon import clock
from zendaemon.cli.output import JsonOption, print_json
from zendaemon.core.errors import Invalid, SettingsError
from zendaemon.core.lint import lint
from zendaemon.loader import load
from zendaemon.loader.places import Places

if TYPE_CHECKING:
    from zendaemon.core.schedule import ScheduleSet
    from zendaemon.settings import Settings


def command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders [the schedules folder].")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for warnings too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check schedule files, without a server; every problem as file:line:column: message."""
    gc.disable()  # a short life: looking for garbage among all schedules again and again takes a fifth of it
    try:
        loaded = load(paths or [_settings().schedules], now=clock.now())
    except Invalid as error:
        _show_problems(error, as_json=as_json)
        raise typer.Exit(1) from None
    named = any(schedule.notify for schedule in loaded.set.schedules.values())
    warnings = _warnings(loaded.set, _channels() if named else None)
    count = len(loaded.set.schedules)
    if as_json:
        print_json({"valid": True, "schedules": count, "problems": [], "warnings": warnings})
    else:
        for warning in warnings:
            place = "{file}:{line}:{column}".format(**warning)
            sys.stderr.write(f"{place}: warning: {warning['schedule']}: {warning['message']} [{warning['code']}]\n")
        suspect = f", {_counted(len(warnings), 'warning')}" if warnings else ""
        sys.stdout.write(f"{_counted(count, 'schedule')}, no problems{suspect}\n")
    if strict and warnings:
        raise typer.Exit(1)


def _settings() -> Settings:
    from zendaemon.settings import load_settings  # noqa: PLC0415 - a tenth of a second, which most checks need not

    return load_settings()


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _show_problems(error: Invalid, *, as_json: bool) -> None:
    if as_json:
        problems = [
            {"file": p.file, "line": p.line, "column": p.column, "message": p.message, "remedy": p.remedy}
            for p in error.problems
        ]
        print_json({"valid": False, "schedules": None, "problems": problems, "warnings": []})
        return
    for problem in error.problems:
        sys.stdout.write(f"{problem}\n")
    sys.stderr.write(f"{error.message}\n")


def _channels() -> Collection[str] | None:
    """The channels of the settings, where they are at hand."""
    with suppress(SettingsError):
        return _settings().notify.keys() or None
    return None


def _warnings(schedules: ScheduleSet, channels: Collection[str] | None) -> list[dict[str, Any]]:
    """The findings of all schedules, sorted by place."""
    places = Places(schedules)
    now = clock.now()
    found: list[dict[str, Any]] = []
    for name, schedule in schedules.schedules.items():
        for finding in lint(schedule, now, channels):
            file, line, column = places.of(name, finding.key)
            place = {"file": file, "line": line, "column": column}
            found.append({**place, "schedule": name, "code": finding.code, "message": finding.message})
    return sorted(found, key=lambda warning: (warning["file"], warning["line"], warning["column"], warning["code"]))
