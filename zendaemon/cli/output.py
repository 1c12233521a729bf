"""What commands share: the common options, instants, tables for people and JSON lines for programs."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zendaemon import clock
from zendaemon.core.duration import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from zendaemon.core.errors import ZendaemonError

SchedulesOption = Annotated[
    Path | None, typer.Option("--schedules", help="Folder of schedule files [ZENDAEMON_SCHEDULES; ./schedules].")
]
StateOption = Annotated[
    Path | None, typer.Option("--state", help="Folder of the journal and the socket [ZENDAEMON_STATE; ./.zendaemon].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines with stable keys.")]


def complain(error: ZendaemonError) -> None:
    """An error and its remedy, on stderr."""
    sys.stderr.write(f"zendaemon: {error}\n")


def as_instant(text: str) -> datetime:
    """An instant as an option gives it; UTC where it names no zone."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant; write 2026-11-23T02:00:00Z") from None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)


def as_span(text: str) -> timedelta:
    """A duration as an option gives it, more than nothing."""
    try:
        span = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not span:
        raise typer.BadParameter("give a duration that is more than nothing")
    return span


def as_past(text: str) -> datetime:
    """An instant, or a duration ago."""
    try:
        return as_instant(text)
    except typer.BadParameter:
        pass
    try:
        return clock.now() - parse_duration(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither an instant nor a duration; write 2026-11-23T02:00:00Z, or 2h for two hours ago"
        ) from None


def pause_text(pause: Mapping[str, Any]) -> str:
    """A pause and its schedule, in a line."""
    end = f"until {pause['until']}" if pause["until"] else "until it is resumed"
    note = f": {pause['note']}" if pause["note"] else ""
    return f"{pause['schedule']} since {pause['since']} {end}{note}"


def print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; plain where that is no terminal."""
    console().print(table(columns, rows))


def console() -> Console:
    """Stdout; as wide as may be where it is no terminal."""
    from rich.console import Console  # noqa: PLC0415 - rich costs a tenth of a second that `--json` need not pay

    made = Console(highlight=False, markup=False)
    if not made.is_terminal:
        made.width = 10_000
    return made


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of rich."""
    from rich.table import Table  # noqa: PLC0415 - as above

    made = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made
