"""`zendaemon history`: what became of every fire."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from zendaemon.cli.completion import fire_states, folder_in, schedule_names
from zendaemon.cli.output import JsonOption, as_past, print_json, print_table
from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.core.planning import unfolded
from zendaemon.core.shown import ShownFire
from zendaemon.journal import Reader, Wanted
from zendaemon.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

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


def command(  # noqa: PLR0913, PLR0917 - as many as there are options
    name: Annotated[
        str | None, typer.Argument(help="Only this schedule's fires.", autocompletion=schedule_names)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many fires.")] = 50,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="STATE|FOLDER",
            autocompletion=fire_states,
            help="Only fires in this state, may be repeated; else the folder of the journal, as everywhere.",
        ),
    ] = None,
    only: Annotated[
        list[FireState] | None, typer.Option("--state-is", help="Only fires in this state; may be repeated.")
    ] = None,
    reason: Annotated[
        list[Reason] | None, typer.Option("--reason", help="Only fires with this reason; may be repeated.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", metavar="WHEN", parser=as_past, help="From this instant, or duration ago, on."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--until", metavar="WHEN", parser=as_past, help="Before this instant, or duration ago."),
    ] = None,
    manual: Annotated[
        bool | None, typer.Option("--manual/--scheduled", help="Only fires by hand, or none of them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show fires, the latest first; reads the journal, with or without a daemon."""
    states = {*(only or ()), *(FireState(value) for value in state or () if value in set(FireState))}
    reader = Reader(load_settings(state=folder_in(state)).journal_url())
    wanted = Wanted(schedule=name, since=since, until=until)
    found = islice(_fires(reader, wanted, states, set(reason or ()), manual=manual), limit)
    fires = (ShownFire.of(fire).model_dump(mode="json") for fire in found)
    if as_json:
        for fire in fires:
            print_json(fire)
    else:
        print_table([c.replace("_", " ") for c in _COLUMNS], ([fire[column] for column in _COLUMNS] for fire in fires))


def _fires(
    reader: Reader, wanted: Wanted, states: Collection[FireState], reasons: Collection[Reason], *, manual: bool | None
) -> Iterator[Fire]:
    """Rows are sorted out before a range among them is unfolded into its fires."""
    rows = (
        row
        for row in reader.rows(wanted)
        if (not states or row.state in states)
        and (not reasons or row.reason in reasons)
        and (manual is None or row.manual is manual)
    )
    return (fire for fire in unfolded(rows) if wanted.has(fire))
