"""How a request is refused: one JSON shape for every reason (RFC 9457), with the remedy beside the message."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from zendaemon.core.errors import Invalid, JournalError, ZendaemonError
from zendaemon.core.near import did_you_mean
from zendaemon.core.shown import Refusal
from zendaemon.operations import NoSuchSchedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zendaemon.core.shown import ShownProblem
    from zendaemon.operations import Operations

MEDIA_TYPE = "application/problem+json"
_SHOWN = 5


class Refused(Exception):
    """A request that is not done, with the status to answer."""

    def __init__(self, status: int, message: str, remedy: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.remedy = remedy
        self.headers = dict(headers or {})

    def answer(self, problems: Sequence[ShownProblem] = ()) -> Response:
        shown = Refusal(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.message,
            remedy=self.remedy,
            problems=tuple(problems),
        )
        return Response(shown.model_dump_json(), self.status, self.headers, MEDIA_TYPE)


def handle_all(app: FastAPI, operations: Operations) -> None:
    """Have everything that endpoints raise answered in that shape."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return error.answer()

    @app.exception_handler(HTTPException)
    async def unrouted(_: Request, error: HTTPException) -> Response:
        remedy = "/api/v1/openapi.json lists what there is" if error.status_code in (404, 405) else ""
        return Refused(error.status_code, str(error.detail), remedy, error.headers).answer()

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        return _malformed(request, error).answer()

    @app.exception_handler(ZendaemonError)
    async def failed(_: Request, error: ZendaemonError) -> Response:
        problems: Sequence[ShownProblem] = ()
        if isinstance(error, Invalid) and (reloads := operations.reloads()):
            problems = reloads[0].problems
        return Refused(_status(error), error.message, error.hint).answer(problems)


def _status(error: ZendaemonError) -> int:
    match error:
        case NoSuchSchedule():
            return 404
        case JournalError():
            return 503
        case _:
            return 409


def _malformed(request: Request, error: RequestValidationError) -> Refused:
    """What is wrong with parameters or body; values are not repeated, since they may be anything."""
    told, remedies = [], []
    for found in error.errors()[:_SHOWN]:
        where, *path = (str(part) for part in found["loc"])
        name = ".".join(path)
        if found["type"] == "extra_forbidden" and where == "query":
            told.append(f"there is no query parameter {name[:60]!r}")
            near = did_you_mean(name[:60], _parameters(request))
            remedies.append(near or "/api/v1/openapi.json lists those that there are")
        elif found["type"] == "json_invalid":
            told.append("the body is no JSON")
        else:
            told.append(f"{where} {name[:60]}: {found['msg'].removeprefix('Value error, ')}".replace(" : ", ": "))
    return Refused(422, "; ".join(told), "; ".join(dict.fromkeys(remedies)))


def _parameters(request: Request) -> list[str]:
    """The query parameters that the endpoint knows."""
    operation = request.app.openapi()["paths"].get(request.url.path, {}).get(request.method.lower(), {})
    return [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
