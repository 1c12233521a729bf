"""What a shell offers at the Tab key, beside commands and options: names of schedules, states and reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zendaemon import clock
from zendaemon.core.errors import ZendaemonError
from zendaemon.core.fire import FireState
from zendaemon.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE = 2.0
"""Seconds that a daemon may take to answer somebody who waits at a prompt."""


def schedule_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names that begin so: those of the daemon, else those of the files and the journal. None where all fails."""
    given = context.params
    try:
        settings = load_settings(schedules=given.get("schedules"), state=folder_in(given.get("state")))
    except ZendaemonError:
        return []
    return sorted(name for name in _names(settings) if name.startswith(incomplete))


def fire_states(incomplete: str) -> list[str]:
    return [state.value for state in FireState if state.value.startswith(incomplete)]


def folder_in(given: Path | str | list[str] | None) -> Path | str | None:
    """The state folder among what `--state` was given, which may be states of fires too."""
    if not isinstance(given, list):
        return given
    folders = [value for value in given if value not in set(FireState)]
    if len(folders) > 1:
        raise typer.BadParameter(
            f"{folders[1]!r} is no state of a fire ({', '.join(FireState)}), and a folder was given already",
            param_hint="--state",
        )
    return folders[0] if folders else None


def _names(settings: Settings) -> set[str]:
    from zendaemon.control import ask  # noqa: PLC0415 - every command imports this module, few are asked for names
    from zendaemon.journal import Reader  # noqa: PLC0415
    from zendaemon.loader import load  # noqa: PLC0415

    try:
        answer = ask(settings.state, "names", timeout=_PATIENCE)
        return set(answer["names"])
    except (ZendaemonError, KeyError):
        pass
    found: set[str] = set()
    for names in (
        lambda: load(settings.schedules, now=clock.now()).set.schedules,
        lambda: Reader(settings.journal_url()).last(),
    ):
        try:
            found.update(names())
        except ZendaemonError:
            continue
    return found


NameArgument = Annotated[str, typer.Argument(help="The schedule.", autocompletion=schedule_names)]
NamesArgument = Annotated[
    list[str] | None, typer.Argument(help="Schedules; all by default.", autocompletion=schedule_names)
]
