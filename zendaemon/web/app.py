"""What is served over HTTP, put together: pages, API, metrics and health."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

from fastapi import Depends, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from zendaemon import __version__
from zendaemon.web.api import PREFIX, api, describe
from zendaemon.web.guard import Guard
from zendaemon.web.pages import pages
from zendaemon.web.refusals import Refused, handle_all
from zendaemon.web.security import READS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from zendaemon.core.shown import Health
    from zendaemon.operations import Operations
    from zendaemon.web.security import Access


class Metrics(Protocol):
    """What is served at /metrics. Called from any thread."""

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The body and its content type, in the format that an Accept header asks for."""


def create_app(operations: Operations, access: Access, metrics: Metrics | None = None) -> FastAPI:
    """The application, guarded by `access`. Nothing of it is asked of the network or read from a CDN."""
    app = FastAPI(
        title="zendaemon",
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(Guard, access=access)
    handle_all(app, operations)
    _add_health(app, operations)
    if metrics is not None:
        _add_metrics(app, metrics)
    check = serving(operations)

    async def in_service(request: Request) -> None:
        check(request)

    app.include_router(api(operations), dependencies=[Depends(in_service)])
    app.include_router(pages(operations, check, can_act=access.token is not None), include_in_schema=False)
    _add_files(app)
    describe(app, access)
    return app


def serving(operations: Operations) -> Callable[[Request], None]:
    """Raises Refused for requests while there is no schedule set, and for posts from the drain on."""

    def check(request: Request) -> None:
        readiness = operations.ready()
        if readiness.ok or (operations.phase == "stopping" and request.method in READS):
            return
        raise Refused(503, readiness.reason or "not ready", "try again in a moment", {"Retry-After": "2"})

    return check


def _add_files(app: FastAPI) -> None:
    app.mount("/static", _Files(directory=str(files("zendaemon.web") / "static")), name="static")


class _Files(StaticFiles):
    """Asked for anew each time, which costs a 304; so an upgrade never meets old styles."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", include_in_schema=False)
    def render(request: Request) -> Response:
        body, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})


def _add_health(app: FastAPI, operations: Operations) -> None:
    """For probes: no token, any Host, and no word about what is scheduled."""

    def answer(health: Health) -> Response:
        return Response(health.model_dump_json(), 200 if health.ok else 503, media_type="application/json")

    looking: list[asyncio.Task[Health]] = []

    @app.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz() -> Response:
        """One look at a time, for all who ask meanwhile: anybody may ask, as often as they like."""
        if not looking or looking[0].done():
            looking[:] = [asyncio.create_task(operations.health())]
        return answer(await asyncio.shield(looking[0]))

    @app.api_route("/readyz", methods=["GET", "HEAD"], include_in_schema=False)
    async def readyz() -> Response:
        return answer(operations.ready())
