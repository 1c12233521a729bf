"""`zendaemon resolve`: do the targets lead to something that can be started?"""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from zendaemon import clock
from zendaemon.cli import wiring
from zendaemon.cli.completion import NamesArgument
from zendaemon.cli.output import JsonOption, SchedulesOption, StateOption, print_json, print_table
from zendaemon.control import NotRunning, ask
from zendaemon.core.errors import ServerError, Unresolved, ZendaemonError
from zendaemon.core.fire import instant_text
from zendaemon.core.near import did_you_mean
from zendaemon.core.schedule import Schedule
from zendaemon.loader import load
from zendaemon.settings import Settings, load_settings
from zendaemon.zenml import Resolver

_COLUMNS = ("schedule", "target", "kind", "id", "error")


def command(
    names: NamesArgument = None,
    schedules: SchedulesOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resolve targets anew, in the running daemon if there is one, and show their ids or what is wrong."""
    settings = load_settings(schedules=schedules, state=state)
    try:
        answer = ask(settings.state, "resolve", timeout=600, names=names or [])
    except NotRunning:
        rows = asyncio.run(_resolve(settings, names or []))
    else:
        if not answer["ok"]:
            raise ZendaemonError(answer["error"])
        rows = answer["targets"]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table(_COLUMNS, ([row[column] for column in _COLUMNS] for row in rows))
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


async def _resolve(settings: Settings, names: list[str]) -> list[dict[str, Any]]:
    known = load(settings.schedules, now=clock.now()).set.schedules
    for name in names:
        if name not in known:
            raise ZendaemonError(f"there is no schedule {name!r}", hint=did_you_mean(name, known))
    chosen = [known[name] for name in names] or [schedule for schedule in known.values() if schedule.enabled]
    async with wiring.zenml(settings) as client:
        resolver = Resolver(client, clock.now).round()
        return [await _row(schedule, resolver) for schedule in chosen]


async def _row(schedule: Schedule, resolver: Resolver) -> dict[str, Any]:
    row: dict[str, Any] = {"schedule": schedule.name, "target": str(schedule.target)}
    try:
        found = await resolver.resolve(schedule.target, schedule.config)
    except (Unresolved, ServerError) as error:
        return row | {"kind": None, "id": None, "resolved_at": None, "error": str(error)}
    return row | {"kind": found.kind, "id": found.id, "resolved_at": instant_text(found.resolved_at), "error": None}
