"""`zendaemon pause`: start nothing of a schedule for a while."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Annotated

import typer

from zendaemon import clock
from zendaemon.cli.completion import NameArgument
from zendaemon.cli.output import JsonOption, StateOption, as_instant, as_span, pause_text, print_json
from zendaemon.control import ask
from zendaemon.core.errors import ZendaemonError
from zendaemon.core.fire import instant_text
from zendaemon.settings import load_settings


def command(
    name: NameArgument,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why; shown wherever the pause is.")] = "",
    until: Annotated[
        datetime | None,
        typer.Option(
            "--until", metavar="INSTANT", parser=as_instant, help="Ends by itself then; else when it is resumed."
        ),
    ] = None,
    span: Annotated[
        timedelta | None,
        typer.Option("--for", metavar="DURATION", parser=as_span, help="Ends by itself after so long."),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause a schedule: what would start is journaled as skipped; runs go on, and fires by hand start.

    A pause survives restarts and reloads. Of a schedule that is paused already, note and end are replaced.
    """
    if until is not None and span is not None:
        raise typer.BadParameter("give --until or --for", param_hint="--for")
    if span is not None:
        until = clock.now() + span
    end = instant_text(until) if until is not None else None
    answer = ask(load_settings(state=state).state, "pause", name=name, note=note, until=end)
    if not answer["ok"]:
        raise ZendaemonError(answer["error"])
    paused = {"schedule": name, **answer["paused"]}
    if as_json:
        print_json(paused)
    else:
        sys.stdout.write(f"paused: {pause_text(paused)}\n")
