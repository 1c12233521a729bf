"""`zendaemon demo`: the daemon at work on a real ZenML server of its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from zendaemon.core.duration import parse_duration
from zendaemon.core.errors import ZendaemonError


def _version(text: str) -> str:
    from zendaemon.demo.venv import release  # noqa: PLC0415 - only the demo needs the demo

    try:
        release(text)
    except ZendaemonError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def _span(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def command(
    version: Annotated[
        str,
        typer.Option(
            "--zenml",
            metavar="VERSION",
            parser=_version,
            help="0.98.0 starts snapshots, 0.75.0 and 0.85.0 run templates, 0.62.0 builds.",
        ),
    ] = "0.98.0",
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Keep everything here and use it again [a temporary one, removed at the end]."),
    ] = None,
    span: Annotated[
        timedelta | None,
        typer.Option(
            "--for", metavar="DURATION", parser=_span, help="End so long after the daemon is ready [at Ctrl-C]."
        ),
    ] = None,
) -> None:
    """Show it all at work: a real ZenML server, example schedules, the real daemon. Ctrl-C leaves no process behind.

    The first time, zenml[server] is installed into a virtual environment in the user's cache folder. Exit status 0 when
    the server knows the run of every started fire.
    """
    from zendaemon.demo.play import play  # noqa: PLC0415 - the demo and rich cost time that other commands need not pay

    if (signal_number := play(version, folder, span)) is not None:
        raise typer.Exit(128 + signal_number)
