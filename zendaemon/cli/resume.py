"""`zendaemon resume`: end a pause."""

from __future__ import annotations

import sys

from zendaemon.cli.completion import NameArgument
from zendaemon.cli.output import JsonOption, StateOption, print_json
from zendaemon.control import ask
from zendaemon.core.errors import ZendaemonError
from zendaemon.settings import load_settings


def command(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """End the pause of a schedule; what it covered stays skipped. Exit status 1 when it is not paused."""
    answer = ask(load_settings(state=state).state, "resume", name=name)
    if not answer["ok"]:
        raise ZendaemonError(answer["error"])
    ended = {"schedule": name, **answer["paused"]}
    if as_json:
        print_json(ended)
    else:
        sys.stdout.write(f"resumed: {name}, which was paused from {ended['since']} to {ended['until']}\n")
