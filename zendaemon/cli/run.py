"""`zendaemon run`: the daemon."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from zendaemon import __version__, log
from zendaemon.cli import wiring
from zendaemon.cli.output import SchedulesOption, StateOption
from zendaemon.cli.people import check_secrets
from zendaemon.commands import handlers
from zendaemon.control import Control
from zendaemon.core.errors import Invalid, SettingsError
from zendaemon.daemon import say_problems
from zendaemon.journal import Journal
from zendaemon.settings import Settings, load_settings, unknown_variables
from zendaemon.turns import GlancingSelector

if TYPE_CHECKING:
    from pathlib import Path


def command(
    schedules: SchedulesOption = None,
    state: StateOption = None,
    server_url: Annotated[
        str | None, typer.Option("--server-url", help="The ZenML server [ZENDAEMON_SERVER_URL].")
    ] = None,
    log_format: Annotated[str | None, typer.Option("--log-format", help="json or console [by the terminal].")] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")] = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reloads the schedule files."""
    settings = load_settings(
        schedules=schedules, state=state, server_url=server_url, log_format=log_format, log_level=log_level
    )
    log.configure(settings.log_format, settings.log_level)
    settings.http_secret()
    check_secrets(settings)
    say = structlog.get_logger()
    for variable in unknown_variables(os.environ):
        say.warning("settings.unknown", variable=variable)
    try:
        selector = GlancingSelector()
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            runner.run(_serve(settings, selector))
    except Invalid as error:
        say_problems(error)
        say.error("reload.refused", error=error.message, problems=len(error.problems))
        raise typer.Exit(1) from None


async def _serve(settings: Settings, selector: GlancingSelector) -> None:
    say = structlog.get_logger()
    say.info(
        "daemon.starting",
        version=__version__,
        pid=os.getpid(),
        schedules=str(settings.schedules),
        state=str(settings.state),
    )
    async with wiring.zenml(settings) as client:
        journal = Journal.open(settings.journal_url())
        try:
            _make(settings.state)
            metrics, tracing = wiring.metrics(settings), wiring.tracing(client, os.environ)
            daemon, operations = wiring.daemon(settings, client, journal, metrics, tracing, selector)
            control = Control(settings.state, handlers(operations))
            web = wiring.web(settings, operations, metrics)
            try:
                if web is not None:
                    web.start()
                await daemon.run(control.start)
            finally:
                await control.stop()
                if web is not None:
                    await web.stop()
                if tracing is not None:
                    await tracing.close()
        finally:
            await journal.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(
            f"the state folder {folder} cannot be made: {error.strerror}", hint="give another with --state"
        ) from None
