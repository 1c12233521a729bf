"""`zendaemon reload`: put changed files in force, and tell."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zendaemon.cli.output import JsonOption, StateOption, print_json
from zendaemon.control import ask
from zendaemon.settings import load_settings


def command(
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait and tell what came of it, or only ask for it.")
    ] = True,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the running daemon load its files anew; prints what changed, or every problem and exits with status 1."""
    answer = ask(load_settings(state=state).state, "reload", timeout=600, wait=wait)
    if as_json:
        print_json(
            {
                "applied": answer["ok"] if wait or not answer["ok"] else None,
                "changes": answer.get("changes"),
                "problems": answer.get("problems", []),
                "error": answer.get("error"),
            }
        )
    elif not answer["ok"]:
        for problem in answer.get("problems", []):
            remedy = f"; {problem['remedy']}" if problem["remedy"] else ""
            sys.stdout.write("{file}:{line}:{column}: {message}".format(**problem) + f"{remedy}\n")
        sys.stderr.write(f"refused: {answer['error']}; the schedules in force stay as they were\n")
    elif wait:
        sys.stdout.write(", ".join(f"{count} {what}" for what, count in answer["changes"].items()) + "\n")
    else:
        sys.stdout.write("asked for; `zendaemon status` tells what came of it\n")
    if not answer["ok"]:
        raise typer.Exit(1)
