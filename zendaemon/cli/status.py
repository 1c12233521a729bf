"""`zendaemon status`: is the daemon well, and what is next?"""

from __future__ import annotations

import sys
from typing import Any

import typer

from zendaemon.cli.output import JsonOption, StateOption, print_json, print_table
from zendaemon.control import NotRunning, ask
from zendaemon.core.errors import ZendaemonError
from zendaemon.settings import load_settings


def command(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the running daemon: its server, the last reload, its schedules. Exit status 1 when it is not well."""
    folder = load_settings(state=state).state
    try:
        answer = ask(folder, "status")
    except NotRunning as error:
        if as_json:
            print_json({"state": "not running", "error": str(error)})
        else:
            sys.stdout.write(f"{error}\nzendaemon history reads the journal without it\n")
        raise typer.Exit(1) from None
    if not answer.pop("ok"):
        raise ZendaemonError(answer["error"])
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    if answer["state"] != "running":
        raise typer.Exit(1)


def _show(answer: dict[str, Any]) -> None:
    server, reload, attempts = answer["server"], answer["reload"], answer["attempts"]
    away = "" if server["available"] else f", unavailable since {server['unavailable_since']}"
    lines = [
        f"{answer['state']}: zendaemon {answer['version']}, PID {answer['pid']}, since {answer['started_at']}",
        f"server: {server['url']}{away}",
        f"fires: {attempts['in_flight']} in flight, {attempts['waiting']} waiting",
    ]
    if reload is not None:
        lines.append(f"last reload: {reload['at']} {'applied' if reload['applied'] else 'REFUSED'}")
        lines.extend(f"  {p['file']}:{p['line']}:{p['column']}: {p['message']}" for p in reload["problems"])
    lines.extend(f"unresolved: {name}: {why}" for name, why in answer["unresolved"].items())
    sys.stdout.write("\n".join(lines) + "\n\n")
    print_table(
        ("schedule", "next fire time", "target", "file"),
        (
            (s["schedule"], s["next_fire_time"] if s["enabled"] else "disabled", s["target"], s["file"])
            for s in answer["schedules"]
        ),
    )
