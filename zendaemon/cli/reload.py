"""`zendaemon reload`: put changed files in force, and tell."""

from __future__ import annotations

import sys

import typer

from zendaemon.cli.output import JsonOption, StateOption, print_json
from zendaemon.control import ask
from zendaemon.settings import load_settings


def command(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Have the running daemon load its files anew; waits, and prints what changed or every problem."""
    answer = ask(load_settings(state=state).state, "reload", timeout=600)
    if as_json:
        print_json(
            {
                "applied": answer["ok"],
                "changes": answer.get("changes"),
                "problems": answer.get("problems", []),
                "error": answer.get("error"),
            }
        )
    elif answer["ok"]:
        sys.stdout.write(", ".join(f"{count} {what}" for what, count in answer["changes"].items()) + "\n")
    else:
        for problem in answer.get("problems", []):
            sys.stdout.write(f"{problem}\n")
        sys.stderr.write(f"refused: {answer['error']}; the schedules in force stay as they were\n")
    if not answer["ok"]:
        raise typer.Exit(1)
