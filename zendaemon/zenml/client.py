"""A ZenML server: asked and told over its REST API."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast
from urllib.parse import quote

from pydantic_core import from_json

from zendaemon.core.errors import Rejected, Stale, Unavailable
from zendaemon.zenml import runs
from zendaemon.zenml.auth import Auth, Secret
from zendaemon.zenml.errors import Purpose, from_answer, read_failure, unreadable
from zendaemon.zenml.info import ServerInfo, parse_info
from zendaemon.zenml.rows import Row, run_of
from zendaemon.zenml.starting import start_body, start_path
from zendaemon.zenml.wire import API, Limits, Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    import httpx
    from pydantic import JsonValue

    from zendaemon.core.errors import ServerError
    from zendaemon.core.run import Resolved, Run
    from zendaemon.zenml.auth import Access, Credentials
    from zendaemon.zenml.errors import Answer
    from zendaemon.zenml.wire import Request

PAGE_SIZE = 500
_NO_ZENML = "use the ZenML server's own URL (on ZenML Pro that of the workspace)"


class Start(NamedTuple):
    """A start that is ready to be sent."""

    request: Request
    run_name: str
    key: UUID


class ZenML:
    """The client of one server; an async context manager. Safe for any number of concurrent callers.

    Every failure is raised as one of `zendaemon.core.errors`; nothing is logged or tried again here, but for one repeat
    after a 401 and one of a question on a connection that had died.
    """

    def __init__(  # noqa: PLR0913 - what a server is reached by
        self,
        url: str,
        credentials: Credentials,
        *,
        now: Callable[[], datetime],
        elapsed: Callable[[], float],
        limits: Limits = Limits(),  # noqa: B008 - frozen
        ca_file: Path | None = None,
        trust_env: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._now = now
        self._wire = Wire(
            url, now=now, elapsed=elapsed, limits=limits, ca_file=ca_file, trust_env=trust_env, transport=transport
        )
        self._auth = Auth(credentials, self._login, elapsed)
        self._info: ServerInfo | None = None
        self._looking = asyncio.Lock()
        self.start_headers: Callable[[UUID], Mapping[str, str]] = lambda _: {}
        """More headers for the start of a fire, by its key."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._auth.close()
        await self._wire.close()

    @property
    def url(self) -> str:
        """The server's URL, without trailing slash and `/api/v1`."""
        return self._wire.url

    @property
    def skew(self) -> timedelta:
        """The server's clock minus ours, as its answers tell; zero until the first."""
        return self._wire.skew

    @property
    def skew_within(self) -> timedelta:
        """How much `skew` may be out."""
        return self._wire.skew_within

    @property
    def known(self) -> ServerInfo | None:
        """What the server was when it was last asked."""
        return self._info

    @property
    def token_valid_until(self) -> datetime | None:
        """When the token in use ends; it is renewed before. None when there is none, or it does not tell."""
        left = self._auth.left
        return None if left is None else self._now() + timedelta(seconds=left)

    async def info(self) -> ServerInfo:
        """What the server is. `/info` is asked each time, the long list of its routes once per version."""
        async with self._looking:
            info = await self._public(f"{API}/info")
            if info is None or (parsed := parse_info(info, None)) is None:
                raise self._no_zenml("it gives no version of ZenML")
            if self._info is None or (self._info.id, self._info.version) != (parsed.id, parsed.version):
                self._info = parse_info(info, await self._public("/openapi.json"))
            elif self._info.active != parsed.active:
                self._info = None
                return parsed
            return self._info or parsed

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:  # noqa: ANN401 - JSON
        """The JSON at a path below `/api/v1`."""
        answer = await self._answer(self._wire.request("GET", f"{API}/{path}", Purpose.READ, params=params))
        return self._json(answer, Purpose.READ)

    async def pages(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        size: int = PAGE_SIZE,
        most: int | None = None,
    ) -> list[Row]:
        """All rows of a list, or no more pages once there are `most`; each once, in the server's order."""
        rows: dict[str, Row] = {}
        number = last = 1
        while number <= last and (most is None or len(rows) < most):
            try:
                page = await self.get(path, {**(params or {}), "page": number, "size": size})
            except Rejected as error:
                if number > 1 and "Invalid page" in error.message:  # rows have vanished meanwhile
                    break
                raise
            items, last = _page(page)
            rows.update((row["id"], row) for row in items)
            number += 1
        return list(rows.values())

    async def current_user(self) -> Row:
        """Who we are to the server: the cheapest check of the credentials."""
        return cast("Row", await self.get("current-user"))

    async def warm(self, count: int, seconds: float) -> None:
        """Have what `count` requests at once will need in so many seconds: a token, and connections.

        Raises what the login fails with.
        """
        await self._auth.access()
        await self._wire.warm(count, seconds)

    def ready(self, resolved: Resolved, config: Mapping[str, JsonValue], tags: Sequence[str], key: UUID) -> Start:
        """A start that is ready to be sent. `config` must have its `run_name`."""
        body = start_body(resolved, config, tags)
        path, headers = f"{API}/{start_path(resolved)}", {"Idempotency-Key": str(key)}
        request = self._wire.request("POST", path, Purpose.START, json=body, headers=headers)
        return Start(request, str(config["run_name"]), key)

    async def start(self, start: Start) -> Run:
        """Start a run: one POST, and what it was answered."""
        return self.started(start, await self.send(start))

    async def send(self, start: Start) -> Answer:
        """One POST. Raises Uncertain when a run may have been created."""
        more = self.start_headers(start.key)
        return await self._answer(start.request.with_headers(more) if more else start.request)

    def started(self, start: Start, answer: Answer) -> Run:
        """The run that a start was answered with.

        Raises Uncertain when a run may have been created, Rejected when one was that is not what was asked for.
        """
        run = run_of(self._json(answer, Purpose.START))
        if run is None:
            raise self._clean(unreadable(answer, Purpose.START))
        if run.name != start.run_name:
            raise Rejected(
                f"the server dropped the configuration: it started run {run.id} with the name {run.name!r}",
                hint="look at that run; zendaemon must be brought up to date with this version of the server",
                status=200,
            )
        return run

    async def find_run(self, name: str, project: str | None) -> Run | None:
        """The run of exactly this name; the oldest, should an old server have made several."""
        params = {"name": f"equals:{name}"} | ({"project": project} if project else {})
        rows = await self.pages("runs", params)
        named = [run for run in map(run_of, rows) if run is not None and run.name == name]
        return min(named, key=lambda run: (run.created is None, run.created, run.id), default=None)

    async def get_run(self, run_id: str) -> Run | None:
        """A run by its id, with its times; None when the server has it no more."""
        try:
            row = await self.get(f"runs/{quote(run_id, safe='')}", {"hydrate": "true"})
        except Stale:
            return None
        if (run := run_of(row)) is None:
            raise Unavailable(f"run {run_id} is not what a run looks like")
        return run

    async def get_runs(
        self,
        ids: Sequence[str],
        project: str | None = None,
        *,
        times: bool = False,
        turn: Callable[[int], Awaitable[None]] = runs.no_wait,
    ) -> dict[str, Run | None]:
        """Runs by their ids: in one list for each 100 of them where the server can, else one after the other.

        None stands for a run that the server has no more, by an answer for it alone. A run that the server cannot tell
        of is left out; when there is no other, its failure is raised. `project` is where most of them are. Lists have
        the runs' `times` when they are asked for, which costs the server a third more. `turn` is awaited before each
        request, with the number of runs that it is about.
        """
        return await runs.get_runs(self, ids, project, turn, times=times)

    async def active_runs(self, pipeline_id: str, project: str | None, pipeline: str | None = None) -> list[Run]:
        """The newest 100 runs of a pipeline that have not ended, whoever started them, the newest first.

        `pipeline` is its name: on servers up to 0.62, where each version has an id of its own, all versions count.
        """
        return await runs.active_runs(self, pipeline_id, project, pipeline)

    async def stop_run(self, run_id: str) -> None:
        """Have the server stop a run, which takes its time; one that has ended, or is gone, needs no stopping.

        Raises Rejected when the server cannot or may not, Unavailable when it is to be asked again, such as for a run
        that its orchestrator has not taken yet.
        """

        async def post(path: str, params: Mapping[str, str]) -> None:
            await self._answer(self._wire.request("POST", f"{API}/{path}", Purpose.STOP, params=params))

        await runs.stop_run(post, run_id)

    async def _answer(self, request: Request) -> Answer:
        """The 200 to a request, which is repeated once with a new token after a 401."""
        access: Access | None = None
        for _ in range(2):
            access = await self._auth.access(access)
            answer = await self._wire.send(request, access.token)
            if answer.status_code != 401:
                break
        if answer.status_code != 200:
            raise self._clean(from_answer(answer, request.purpose, self._now()))
        return answer

    async def _login(self, form: Callable[[], dict[str, str]]) -> tuple[Secret, float | None]:
        """Exchange credentials for a token and the seconds that it lives."""
        request = self._wire.request("POST", f"{API}/login", Purpose.LOGIN, form=form())
        answer = await self._wire.send(request)
        if answer.status_code != 200:
            raise self._clean(from_answer(answer, Purpose.LOGIN, self._now()))
        if (found := _token(answer)) is None:
            raise self._no_zenml("its login gives no token")
        return found

    async def _public(self, path: str) -> Any:  # noqa: ANN401
        """The JSON at a path that needs no token, None where there is none that we understand."""
        answer = await self._wire.send(self._wire.request("GET", path, Purpose.READ))
        if answer.status_code == 200 or (path == "/openapi.json" and answer.status_code < 500):
            try:
                return _parsed(answer.content) if answer.status_code == 200 else None
            except (ValueError, RecursionError):
                pass
            if path == "/openapi.json":
                return None
            raise self._no_zenml(read_failure(answer)[1])
        failure = self._clean(from_answer(answer, Purpose.READ, self._now()))
        if isinstance(failure, Unavailable) or answer.is_redirect:
            raise failure
        if answer.status_code in (401, 403):
            raise Unavailable(failure.message, hint="something in front of the server wants a login of its own")
        raise self._no_zenml(failure.message)

    def _no_zenml(self, why: str) -> ServerError:
        """Something else answers, perhaps for a while: nothing was created, and patience has its own bound."""
        message = f"{self.url} does not answer as a ZenML server does: {self._auth.hide(why)}"
        return Unavailable(message, hint=_NO_ZENML)

    def _json(self, answer: Answer, purpose: Purpose) -> Any:  # noqa: ANN401
        try:
            return _parsed(answer.content)
        except (ValueError, RecursionError):
            failure = self._clean(unreadable(answer, purpose))
        raise failure

    def _clean(self, failure: ServerError) -> ServerError:
        """The failure without any secret that the server may have repeated."""
        failure.message = self._auth.hide(failure.message)
        failure.args = (failure.message,)
        return failure


def _parsed(content: bytes) -> Any:  # noqa: ANN401
    """JSON, by the quicker parser of the two; Python's own takes more, such as halves of characters.

    Raises ValueError or RecursionError.
    """
    try:
        return from_json(content)
    except ValueError:
        return json.loads(content)


def _page(page: object) -> tuple[list[Row], int]:
    """The rows of a page and the number of pages."""
    items = page.get("items") if isinstance(page, dict) else None
    if not isinstance(page, dict) or not isinstance(items, list):
        raise Unavailable("a list of the server is not what a list looks like")
    rows: list[Row] = [row for row in items if isinstance(row, dict) and isinstance(row.get("id"), str)]
    total = page.get("total_pages")
    return rows, total if isinstance(total, int) and items else 0


def _token(answer: Answer) -> tuple[Secret, float | None] | None:
    try:
        body = _parsed(answer.content)
        token, life = body["access_token"], body.get("expires_in")
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
            return None
        return Secret(token), None if life is None else float(life)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
