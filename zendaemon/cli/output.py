"""What commands share: the common options, tables for people and JSON lines for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


def print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; plain where that is no terminal."""
    from rich.console import Console  # noqa: PLC0415 - rich costs a tenth of a second that `--json` need not pay
    from rich.table import Table  # noqa: PLC0415

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
    console.print(table)
