"""`zendaemon notify`: the channels of alerts, and whether they work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import uuid4

import typer

from zendaemon import clock
from zendaemon.cli.output import JsonOption, print_json, print_table
from zendaemon.cli.people import senders
from zendaemon.core.alert import AlertKind
from zendaemon.core.errors import SettingsError, ZendaemonError
from zendaemon.core.message import Message
from zendaemon.core.near import did_you_mean
from zendaemon.notify.sending import Undelivered, Web
from zendaemon.references import secret_of
from zendaemon.settings import Settings, load_settings

_LISTED = ("channel", "kind", "default", "on", "error")
_TESTED = ("channel", "delivered", "error")


def command(
    channels: Annotated[list[str] | None, typer.Argument(metavar="[CHANNEL]...", help="Channels [all].")] = None,
    test: Annotated[bool, typer.Option("--test", help="Send a test message to each.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the channels of alerts, or send each a test message. Exit status 1 when one has no secret, or failed."""
    settings = load_settings()
    for name in channels or ():
        if name not in settings.notify:
            hint = did_you_mean(name, settings.notify) or "`zendaemon notify` lists them"
            raise ZendaemonError(f"there is no channel {name!r}", hint=hint)
    chosen = channels or list(settings.notify)
    if not chosen:
        raise ZendaemonError("the settings have no channels", hint="docs/notifications.md tells how to add one")
    rows = asyncio.run(_test(settings, chosen)) if test else [_listed(settings, name) for name in chosen]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        columns = _TESTED if test else _LISTED
        print_table(columns, ([_cell(row[column]) for column in columns] for row in rows))
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else value


def _listed(settings: Settings, name: str) -> dict[str, Any]:
    channel, error = settings.notify[name], None
    try:
        secret_of(name, channel)()
    except SettingsError as missing:
        error = str(missing)
    kinds = ["all"] if set(channel.on) == set(AlertKind) else [kind.value for kind in channel.on]
    kind = "apprise" if channel.webhook is None else "webhook"
    return {"channel": name, "kind": kind, "default": channel.default, "on": kinds, "error": error}


async def _test(settings: Settings, names: list[str]) -> list[dict[str, Any]]:
    web = Web()
    try:
        sends = senders(settings, web)
        return list(await asyncio.gather(*(_tested(name, sends[name]) for name in names)))
    finally:
        await web.close()


async def _tested(name: str, send: Callable[[Message], Awaitable[None]]) -> dict[str, Any]:
    message = Message(
        id=uuid4(),
        channel=name,
        kind=AlertKind.RECOVERED,
        at=clock.now(),
        title=f"a test of the channel {name}",
        text="Somebody ran `zendaemon notify --test`. Alerts of this daemon arrive here.",
        counts={},
    )
    try:
        await send(message)
    except (Undelivered, SettingsError, OSError) as error:
        return {"channel": name, "delivered": False, "error": str(error)}
    return {"channel": name, "delivered": True, "error": None}
