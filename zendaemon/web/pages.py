"""The status page: what operations know, rendered on the server.

Every page is complete in itself and answers with an ETag; the script of the page asks for it again every few seconds
and takes over what changed.
"""

from __future__ import annotations

import heapq
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from zendaemon import __version__, clock
from zendaemon.core.errors import JournalError
from zendaemon.core.fire import FireState
from zendaemon.core.shown import ScheduleState
from zendaemon.journal import Wanted
from zendaemon.operations import NoSuchSchedule
from zendaemon.web import charts, listing, picture, table, words
from zendaemon.web.concerns import concerns
from zendaemon.web.refusals import Refused
from zendaemon.web.trouble import grouped
from zendaemon.web.wire import MAX_SEARCH, LastFire, instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from zendaemon.core.shown import ShownFire
    from zendaemon.operations import Brief, Operations

AT_ONCE = 1
"""Pages that are made at a time: they share the interpreter with the engine, whose fires are not to wait."""
PATIENCE = 10.0
_TROUBLE_AGE = timedelta(days=7)
_TROUBLE_ROWS = 200
_SHOWN = 8
_LISTED = 12
_HISTORY = 50
_CHARTED = 100
_CROWDED = 10

Context = dict[str, Any]


def pages(operations: Operations, serving: Callable[[Request], None], *, can_act: bool) -> APIRouter:
    """All pages. What they read is read in the thread pool.

    `serving` raises Refused while there is nothing to show; `can_act` tells whether a token is configured.
    """
    router = APIRouter(default_response_class=HTMLResponse)
    renderer = _Renderer(operations, serving, environment(can_act=can_act))
    for path, page in (
        ("/", overview),
        ("/schedules/{name}", schedule),
        ("/timeline", timeline),
        ("/reloads", reloads),
    ):
        router.add_api_route(path, renderer.endpoint(page), methods=["GET", "HEAD"], name=page.__name__)
    return router


@dataclass(frozen=True, slots=True)
class Page:
    """A template, and what it shows."""

    template: str
    context: Context
    status: int = 200


class _Renderer:
    def __init__(self, operations: Operations, serving: Callable[[Request], None], templates: Environment) -> None:
        self._operations = operations
        self._serving = serving
        self._templates = templates
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def endpoint(self, page: Callable[[Operations, Request], Page]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            try:
                self._serving(request)
                return self._answer(page, request)
            except Refused as refused:
                if "text/html" not in request.headers.get("accept", ""):
                    raise  # the page's own script, or a program
                return self._wait(refused)

        return answer

    def _wait(self, refused: Refused) -> Response:
        """A page that a browser asks for again by itself, by its Refresh header."""
        seconds = refused.headers["Retry-After"]
        text = self._templates.get_template("wait.html").render(refused=refused, seconds=seconds)
        headers = {"Retry-After": seconds, "Refresh": seconds, "Cache-Control": "no-store"}
        return HTMLResponse(text, refused.status, headers)

    def _answer(self, page: Callable[[Operations, Request], Page], request: Request) -> Response:
        with self._turn() as mine:
            if not mine:
                raise Refused(503, "too many pages are asked for at once", "wait a moment", {"Retry-After": "5"})
            text, status = self._render(page, request)
        etag = f'"{sha256(text).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if status == 200 and request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, status, headers)

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        mine = self._turns.acquire(timeout=PATIENCE)
        try:
            yield mine
        finally:
            if mine:
                self._turns.release()

    def _render(self, page: Callable[[Operations, Request], Page], request: Request) -> tuple[bytes, int]:
        error = None
        try:
            made = page(self._operations, request)
        except JournalError as unreadable:  # the head of the page still tells how the daemon is
            error = unreadable.message
            made = Page("unreadable.html", {"error": unreadable}, 503)
        status = self._operations.status()
        found = concerns(status, error, self._operations.phase)
        common = {"status": status, "concerns": found, "path": request.url.path}
        text = self._templates.get_template(made.template).render(common | made.context)
        return text.encode(errors="replace"), made.status


def environment(*, can_act: bool) -> Environment:
    """The templates, with the words that they use. Everything is escaped but what charts make."""
    made = Environment(
        loader=PackageLoader("zendaemon.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        auto_reload=False,
    )
    made.filters |= {
        "when": words.when,
        "plain": words.plain,
        "seconds": words.seconds,
        "run_seconds": words.run_seconds,
        "pretty": words.pretty,
        "compact": words.compact,
    }
    made.globals |= {
        "version": __version__,
        "can_act": can_act,
        "marks": words.MARKS,
        "reasons": words.REASONS,
        "mark": words.mark,
        "because": words.because,
        "run_link": words.run_link,
        "strip": charts.strip,
        "states": list(ScheduleState),
        "fire_states": list(FireState),
    }
    return made


def overview(operations: Operations, request: Request) -> Page:
    query = table.Query.of(request.query_params)
    briefs = operations.briefs()
    last = operations.last() if query.wanted.needs_last else {}
    found = table.Page.of(listing.select(briefs, query.wanted, last), query.page)
    trouble = grouped(operations.trouble(clock.now() - _TROUBLE_AGE, _TROUBLE_ROWS))
    context = {
        "query": query,
        "wanted": query.wanted,
        "max_search": MAX_SEARCH,
        "found": found,
        "total": len(briefs),
        "rows": operations.schedules(found.names),
        "latest": operations.latest(found.names),
        "tags": listing.tags(briefs),
        "lasts": list(LastFire),
        "trouble": trouble[:_SHOWN],
        "more_trouble": len(trouble) - _SHOWN,
        "recent": operations.recent(_LISTED),
        "upcoming": _upcoming(briefs, _LISTED),
    }
    return Page("overview.html", context)


def _upcoming(briefs: list[Brief], count: int) -> list[Brief]:
    """What fires next; paused schedules are among the others in the table, since they start nothing."""
    firing = (brief for brief in briefs if brief.next_fire_time and brief.state is not ScheduleState.PAUSED)
    return heapq.nsmallest(count, firing, key=lambda brief: (brief.next_fire_time, brief.schedule.name))


def schedule(operations: Operations, request: Request) -> Page:
    name = request.path_params["name"]
    state = request.query_params.get("state", "")
    wanted = FireState(state) if state in tuple(FireState) else None
    before = _instant(request.query_params.get("before", ""))
    try:
        shown = operations.schedule(name)
    except NoSuchSchedule as missing:
        history, older = _history(operations, Wanted(schedule=name, until=before))
        context = {"name": name, "error": missing, "history": history, "older": older, "before": before}
        return Page("missing.html", context, 404)
    history, older = _history(operations, Wanted(schedule=name, state=wanted, until=before))
    fires = operations.latest([name], _CHARTED).get(name, [])
    late, took = charts.lateness(fires), charts.run_durations(fires)
    context = {
        "schedule": shown,
        "fires": fires,
        "late": late,
        "took": took,
        "lateness": charts.durations(late, "lateness"),
        "durations": charts.durations(took, "run durations"),
        "history": history,
        "older": older,
        "before": before,
        "wanted": wanted,
    }
    return Page("schedule.html", context)


def _history(operations: Operations, wanted: Wanted) -> tuple[list[ShownFire], str | None]:
    """Some fires, the latest first, and the fire time before which there are more of them.

    Fires of one instant, a manual one and another, are never on two pages.
    """
    fires = operations.fires(wanted)
    shown = list(islice(fires, _HISTORY))
    for fire in fires:
        if fire.fire_time != shown[-1].fire_time:
            return shown, shown[-1].fire_time.isoformat().replace("+00:00", "Z")
        shown.append(fire)
    return shown, None


def _instant(text: str) -> datetime | None:
    try:
        return instant(text)
    except ValueError:
        return None


def timeline(operations: Operations, request: Request) -> Page:
    del request
    shown = operations.timeline()
    context = {
        "timeline": shown,
        "picture": picture.picture(shown),
        "hours": picture.hours(shown),
        "crowded": picture.crowded(shown, _CROWDED),
        "crowds": picture.CROWDS,
    }
    return Page("timeline.html", context)


def reloads(operations: Operations, request: Request) -> Page:
    del request
    return Page("reloads.html", {"reloads": operations.reloads()})
