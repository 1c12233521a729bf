"""The HTTP API under /api/v1: operations as JSON. What only looks runs in a thread, so that no fire waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Path, Query, Response

from zendaemon.core.shown import (
    FirePage,
    Refusal,
    Reloads,
    ScheduleDetail,
    SchedulePage,
    ShownFire,
    ShownPause,
    ShownReload,
    Status,
    Timeline,
)
from zendaemon.journal import Wanted
from zendaemon.operations import OUTCOMES
from zendaemon.web.cursors import Cursor, page
from zendaemon.web.listing import select
from zendaemon.web.refusals import MEDIA_TYPE
from zendaemon.web.wire import FiresWanted, Nothing, PauseWanted, SchedulesWanted

if TYPE_CHECKING:
    from pydantic import BaseModel

    from zendaemon.operations import Operations
    from zendaemon.web.security import Access

PREFIX = "/api/v1"
_ALWAYS = {
    400: "The request is malformed.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site's page, or nothing may be changed over HTTP.",
    421: "The Host is not one of this daemon's.",
    422: "A parameter is unknown or wrong.",
    429: "Too many wrong tokens came from this address.",
    500: "The daemon failed; its log tells more.",
    503: "The daemon is starting or stopping, or its journal cannot be used.",
}
_OF_POSTS = {
    408: "The body did not come in time.",
    409: "It cannot be done as things are; `detail` tells why.",
    413: "The body is too long.",
    415: "The body is no JSON by its Content-Type.",
}
_FIRST = {"name": "$response.body#/schedules/0/schedule"}
_EACH_SCHEDULE = {name: {"operationId": name, "parameters": _FIRST} for name in ("schedule", "fire", "pause", "resume")}
_NEXT_PAGE = {"next_page": {"operationId": "fires", "parameters": {"cursor": "$response.body#/next_cursor"}}}
_OF_A_NAME = {404: "There is no schedule of that name."}

Name = Annotated[str, Path(max_length=1000, description="The schedule.")]
No = Annotated[Nothing, Query()]


def api(operations: Operations) -> APIRouter:
    """All endpoints, the readable ones and those that change something."""
    router = APIRouter(prefix=PREFIX, generate_unique_id_function=lambda route: route.name)
    router.include_router(_reading(operations), responses=_refusals(_ALWAYS))
    router.include_router(_changing(operations), responses=_refusals(_ALWAYS | _OF_POSTS))
    return router


def _reading(operations: Operations) -> APIRouter:
    router = APIRouter()

    @router.get("/status", response_model=Status)
    def status(_: No) -> Response:
        """Whether the daemon is well, and how many schedules are in which state."""
        return _json(operations.status())

    @router.get("/schedules", response_model=SchedulePage, responses=_links(_EACH_SCHEDULE))
    def schedules(wanted: Annotated[SchedulesWanted, Query()]) -> Response:
        """Schedules, each with its latest 20 fires."""
        names = select(operations.briefs(), wanted, operations.last() if wanted.needs_last else {})
        shown = names[wanted.offset : wanted.offset + wanted.limit]
        found = tuple(operations.schedules(shown, outcomes=OUTCOMES))
        return _json(SchedulePage(total=len(names), offset=wanted.offset, schedules=found))

    @router.get("/schedules/{name}", response_model=ScheduleDetail, responses=_refusals(_OF_A_NAME))
    def schedule(name: Name, _: No) -> Response:
        """A schedule with what its next fire sends, its next fire times and its target's ids."""
        return _json(operations.schedule(name))

    @router.get("/fires", response_model=FirePage, responses=_links(_NEXT_PAGE))
    def fires(wanted: Annotated[FiresWanted, Query()]) -> Response:
        """Fires of the journal, the latest first. Pages stay as they are while new fires come."""
        after = Cursor.read(wanted.cursor) if wanted.cursor else None
        ends = (wanted.until, after.until if after else None)
        until = min((end for end in ends if end is not None), default=None)
        narrowed = Wanted(
            schedule=wanted.schedule, state=wanted.state, reason=wanted.reason, since=wanted.since, until=until
        )
        shown, cursor = page(operations.fires(narrowed), wanted.limit, after)
        return _json(FirePage(fires=tuple(shown), next_cursor=str(cursor) if cursor else None))

    @router.get("/timeline", response_model=Timeline)
    def timeline(_: No) -> Response:
        """How many fires each minute of the last and the next 24 hours has; a minute old at most."""
        return _json(operations.timeline())

    @router.get("/reloads", response_model=Reloads)
    def reloads(_: No) -> Response:
        """The latest attempts to load the files, with their problems."""
        return _json(Reloads(reloads=tuple(operations.reloads())))

    return router


def _changing(operations: Operations) -> APIRouter:
    router = APIRouter()
    named = _refusals(_OF_A_NAME)

    @router.post("/schedules/{name}/fire", response_model=ShownFire, status_code=202, responses=named)
    async def fire(name: Name, _: No) -> Response:
        """Start a run by hand. The answer is its claim; `fires` tells what became of it."""
        return _json(await operations.fire(name), 202)

    @router.post("/schedules/{name}/pause", response_model=ShownPause, responses=named)
    async def pause(name: Name, _: No, wanted: Annotated[PauseWanted | None, Body()] = None) -> Response:
        """Start nothing of a schedule any more; one that is paused gets this note and end."""
        wanted = wanted or PauseWanted()
        return _json(await operations.pause(name, note=wanted.note, until=wanted.until))

    @router.post("/schedules/{name}/resume", response_model=ShownPause, responses=named)
    async def resume(name: Name, _: No) -> Response:
        """End a schedule's pause."""
        return _json(await operations.resume(name))

    @router.post("/reload", response_model=ShownReload)
    async def reload(_: No) -> Response:
        """Load all files anew. When they are refused (409), `problems` has every one of them."""
        await operations.reload()
        return _json(operations.reloads()[0])

    return router


def _json(shown: BaseModel, status: int = 200) -> Response:
    """Serialized where it was made: in a thread, for what only looks."""
    return Response(shown.model_dump_json(), status, media_type="application/json")


def _refusals(statuses: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Refusal, "description": text} for status, text in statuses.items()}


def _links(links: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Where an answer leads, for programs that read OpenAPI."""
    return {200: {"links": links}}


def describe(app: FastAPI, access: Access) -> None:
    """Have OpenAPI tell what FastAPI does not know: who needs a token, and the media type of refusals."""
    schema = app.openapi()  # made now, and kept: at the first request it would take the loop's time
    schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path in schema["paths"].values():
        for method, operation in path.items():
            if method != "get" or not access.open:
                operation["security"] = [{"token": []}]
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}
