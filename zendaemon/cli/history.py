"""`zendaemon history`: what became of every fire."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from zendaemon.cli.output import JsonOption, StateOption, print_json, print_table
from zendaemon.core.fire import FireState
from zendaemon.core.shown import ShownFire
from zendaemon.journal import Reader, Wanted
from zendaemon.settings import load_settings

_COLUMNS = (
    "schedule",
    "fire_time",
    "state",
    "reason",
    "run_id",
    "run_status",
    "attempts",
    "lateness_seconds",
    "message",
)


def command(
    name: Annotated[str | None, typer.Argument(help="Only this schedule's fires.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many fires.")] = 50,
    only: Annotated[FireState | None, typer.Option("--state-is", help="Only fires in this state.")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show fires, the latest first; reads the journal, with or without a daemon."""
    reader = Reader(load_settings(state=state).journal_url())
    found = islice(reader.fires(Wanted(schedule=name, state=only)), limit)
    fires = (ShownFire.of(fire).model_dump(mode="json") for fire in found)
    if as_json:
        for fire in fires:
            print_json(fire)
    else:
        print_table([c.replace("_", " ") for c in _COLUMNS], ([fire[column] for column in _COLUMNS] for fire in fires))
