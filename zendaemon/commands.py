"""What the control socket serves: operations, JSON in and JSON out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from zendaemon.core.errors import ZendaemonError
from zendaemon.core.fire import FireState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from zendaemon.operations import Operations

Request = dict[str, Any]


def handlers(operations: Operations) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Request]]]:
    """The commands by name. Each takes the arguments of a request and returns what is sent back."""

    async def status(_: Mapping[str, Any]) -> Request:
        schedules = [schedule.model_dump(mode="json") for schedule in operations.schedules(outcomes=1)]
        return operations.status().model_dump(mode="json") | {"schedules": schedules}

    async def reload(_: Mapping[str, Any]) -> Request:
        return {"changes": await operations.reload()}

    async def fire(request: Mapping[str, Any]) -> Request:
        shown = await operations.fire(str(request["name"]), wait=bool(request.get("wait")))
        return {"fire": shown.model_dump(mode="json"), "started": shown.state is FireState.STARTED}

    async def pause(request: Mapping[str, Any]) -> Request:
        until = _instant(request.get("until"))
        shown = await operations.pause(str(request["name"]), note=str(request.get("note") or ""), until=until)
        return {"paused": shown.model_dump(mode="json")}

    async def resume(request: Mapping[str, Any]) -> Request:
        return {"paused": (await operations.resume(str(request["name"]))).model_dump(mode="json")}

    async def resolve(request: Mapping[str, Any]) -> Request:
        targets = await operations.resolve(request.get("names") or ())
        return {"targets": [target.model_dump(mode="json") for target in targets]}

    return {
        "status": status,
        "reload": reload,
        "fire": fire,
        "pause": pause,
        "resume": resume,
        "resolve": resolve,
    }


def _instant(text: object) -> datetime | None:
    try:
        instant = datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        raise ZendaemonError(f"{text!r} is no instant", hint="write it as 2026-11-23T02:00:00Z") from None
    if instant is not None and instant.tzinfo is None:
        raise ZendaemonError(f"{text!r} has no time zone", hint="write it as 2026-11-23T02:00:00Z")
    return instant
