"""What the control socket serves: operations, JSON in and JSON out."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from zendaemon.core.errors import Invalid, ZendaemonError
from zendaemon.core.fire import FireState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from zendaemon.operations import Operations

Request = dict[str, Any]


def handlers(operations: Operations) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Request]]]:
    """The commands by name. Each takes the arguments of a request and returns what is sent back."""
    commands = _Commands(operations)
    return {
        "status": commands.status,
        "names": commands.names,
        "reload": commands.reload,
        "fire": commands.fire,
        "pause": commands.pause,
        "resume": commands.resume,
        "resolve": commands.resolve,
    }


class _Commands:
    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._reloads: set[asyncio.Task[None]] = set()

    async def status(self, _: Mapping[str, Any]) -> Request:
        schedules = [schedule.model_dump(mode="json") for schedule in self._operations.schedules(outcomes=1)]
        return self._operations.status().model_dump(mode="json") | {"schedules": schedules}

    async def names(self, _: Mapping[str, Any]) -> Request:
        return {"names": self._operations.names()}

    async def reload(self, request: Mapping[str, Any]) -> Request:
        if not request.get("wait", True):
            task = asyncio.create_task(self._reload_quietly())
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)
            return {"changes": None}
        try:
            return {"changes": await self._operations.reload()}
        except Invalid as error:
            problems = self._operations.reloads()[0].problems
            return {"ok": False, "error": str(error), "problems": [p.model_dump(mode="json") for p in problems]}

    async def _reload_quietly(self) -> None:
        with suppress(ZendaemonError):  # the log and `status` tell of it
            await self._operations.reload()

    async def fire(self, request: Mapping[str, Any]) -> Request:
        shown = await self._operations.fire(str(request["name"]), wait=bool(request.get("wait")))
        return {"fire": shown.model_dump(mode="json"), "started": shown.state is FireState.STARTED}

    async def pause(self, request: Mapping[str, Any]) -> Request:
        until, note = _instant(request.get("until")), str(request.get("note") or "")
        shown = await self._operations.pause(str(request["name"]), note=note, until=until)
        return {"paused": shown.model_dump(mode="json")}

    async def resume(self, request: Mapping[str, Any]) -> Request:
        return {"paused": (await self._operations.resume(str(request["name"]))).model_dump(mode="json")}

    async def resolve(self, request: Mapping[str, Any]) -> Request:
        targets = await self._operations.resolve(request.get("names") or ())
        return {"targets": [target.model_dump(mode="json") for target in targets]}


def _instant(text: object) -> datetime | None:
    try:
        instant = datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        raise ZendaemonError(f"{text!r} is no instant", hint="write it as 2026-11-23T02:00:00Z") from None
    if instant is not None and instant.tzinfo is None:
        raise ZendaemonError(f"{text!r} has no time zone", hint="write it as 2026-11-23T02:00:00Z")
    return instant
