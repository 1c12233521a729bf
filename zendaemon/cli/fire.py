"""`zendaemon fire`: a run now, by hand."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zendaemon.cli.completion import NameArgument
from zendaemon.cli.output import JsonOption, StateOption, print_json
from zendaemon.control import ask
from zendaemon.core.errors import ZendaemonError
from zendaemon.settings import load_settings


def command(
    name: NameArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run is created, or is known not to be.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fire a schedule now; journaled as a manual fire, by the running daemon."""
    answer = ask(load_settings(state=state).state, "fire", timeout=None if wait else 60, name=name, wait=wait)
    if not answer["ok"]:
        raise ZendaemonError(answer["error"])
    fire = answer["fire"]
    if as_json:
        print_json(fire)
    else:
        more = [f"run {fire['run_id']}" if fire["run_id"] else "", fire["reason"] or "", fire["message"] or ""]
        sys.stdout.write(
            f"{fire['run_name']}: {fire['state']} {' '.join(part for part in more if part)}".rstrip() + "\n"
        )
    if wait and not answer["started"]:
        raise typer.Exit(1)
