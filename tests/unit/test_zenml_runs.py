"""Many runs in one question, active ones, and stops: on servers that leave rows out, fail, or know less."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from standin.server import API_KEY

from zendaemon.core.errors import Rejected, ServerError, Unavailable
from zendaemon.core.run import ACTIVE
from zendaemon.zenml import ApiKey, Secret, ZenML
from zendaemon.zenml.runs import MOST_IDS

if TYPE_CHECKING:
    from collections.abc import Callable

GONE = {"detail": ["KeyError", "\"Unable to get pipeline run with ID 'x': No pipeline run with this ID found\""]}


class Server:
    """Runs in projects, as the real servers list them; `asked` has a path, or the ids and the project of a list.

    `hidden` runs are in no list. What `fail` returns is answered in the place of the server.
    """

    def __init__(self, version: str = "0.98.0") -> None:
        self.version = version
        self.rows: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()
        self.ignores_filters = False
        self.asked: list[tuple[str, str | None] | str] = []
        self.turns: list[int] = []
        self.fail: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    def make(self, count: int = 1, project: str = "default", status: str = "running", **body: object) -> list[str]:
        made = [str(uuid4()) for _ in range(count)]
        for run_id in made:
            row = {
                "status": status,
                "project_id": project,
                "pipeline_id": "p",
                "created": "2026-11-23T09:00:00",
                **body,
            }
            times = {"start_time": "2026-11-23T09:00:01", "end_time": None}
            self.rows[run_id] = {"id": run_id, "name": f"run-{run_id}", "body": row, "metadata": times}
        return made

    def __call__(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.removeprefix("/api/v1/").strip("/").split("/")
        match parts:
            case ["login"]:
                return httpx.Response(200, json={"access_token": "t"})
            case ["info"]:
                return httpx.Response(200, json={"id": "s", "version": self.version, "active": True})
            case ["openapi.json"]:
                return httpx.Response(404)
        query = dict(request.url.params)
        asked = query.get("id") or query.get("status")
        self.asked.append((asked, query.get("project")) if asked else "/".join(parts))
        if (failure := self.fail(request)) is not None:
            return failure
        if len(parts) == 1:
            return httpx.Response(200, json={"items": self.listed(query), "total_pages": 1})
        row = self.rows.get(parts[1])
        return httpx.Response(404, json=GONE) if row is None else httpx.Response(200, json=row)

    def listed(self, query: dict[str, str]) -> list[dict[str, Any]]:
        rows = [row for row in self.rows.values() if row["id"] not in self.hidden]
        if self.ignores_filters:
            return rows
        rows = [row for row in rows if row["body"]["project_id"] == query.get("project", "default")]
        if "id" in query:
            wanted = json.loads(query["id"].removeprefix("oneof:"))
            assert wanted, "of an empty list, servers make all runs there are"
            rows = [row for row in rows if row["id"] in wanted]
        return [row if query.get("hydrate") == "true" else row | {"metadata": None} for row in rows]

    def client(self) -> ZenML:
        key, transport = ApiKey(Secret(API_KEY)), httpx.MockTransport(self)
        clock = datetime(2026, 11, 23, 12, tzinfo=UTC)
        return ZenML("https://z", key, now=lambda: clock, elapsed=time.monotonic, transport=transport)

    async def get(self, ids: list[str], project: str | None = None, *, times: bool = False) -> dict[str, str | None]:
        """The statuses of what is found, None for what is gone."""

        async def turn(runs: int) -> None:
            self.turns.append(runs)

        async with self.client() as zenml:
            found = await zenml.get_runs(ids, project, times=times, turn=turn)
        assert all(run is None or (run.id == run_id and bool(run.started_at) >= times) for run_id, run in found.items())
        return {run_id: run and run.status for run_id, run in found.items()}

    @property
    def lists(self) -> list[tuple[str, str | None]]:
        return [asked for asked in self.asked if isinstance(asked, tuple)]


async def test_many_runs_are_asked_for_in_lists_of_a_hundred() -> None:
    server = Server()
    ids = server.make(2 * MOST_IDS + 50)
    server.make(10)
    assert await server.get([*ids, *ids[:5]]) == dict.fromkeys(ids, "running")
    assert [len(json.loads(asked.removeprefix("oneof:"))) for asked, _ in server.lists] == [MOST_IDS, MOST_IDS, 50]
    assert server.turns == [MOST_IDS, MOST_IDS, 50], "each request waits for its turn"
    assert all(len(asked) < 4096 for asked, _ in server.lists), "a line that every proxy takes"


async def test_no_ids_are_no_question() -> None:
    server = Server()
    server.make(3)
    assert await server.get([]) == {}
    assert server.asked == []


async def test_one_run_is_asked_for_alone() -> None:
    """That brings its times as well."""
    server = Server()
    [one] = server.make()
    assert await server.get([one]) == {one: "running"}
    assert server.asked == [f"runs/{one}"]


async def test_times_only_where_they_are_asked_for() -> None:
    server = Server()
    ids = server.make(2)
    async with server.client() as zenml:
        plain, told = await zenml.get_runs(ids), await zenml.get_runs(ids, times=True)
    assert {run and run.started_at for run in plain.values()} == {None}
    assert {run and run.started_at for run in told.values()} == {datetime(2026, 11, 23, 9, 0, 1, tzinfo=UTC)}


async def test_a_run_that_lists_leave_out_is_not_gone() -> None:
    server = Server()
    ids = server.make(3)
    server.hidden = {ids[1]}
    gone = str(uuid4())
    assert await server.get([*ids, gone]) == {**dict.fromkeys(ids, "running"), gone: None}
    assert [asked for asked in server.asked if isinstance(asked, str)] == [f"runs/{ids[1]}", f"runs/{gone}"]
    assert server.turns == [4, 1, 1]


async def test_runs_of_another_project_are_found_by_one_of_them() -> None:
    """Without `project`, servers list that of the name `default` alone."""
    server = Server()
    here, there, elsewhere = server.make(3), server.make(40, "two"), server.make(40, "three")
    expected = dict.fromkeys([*here, *there, *elsewhere], "running")
    assert await server.get(list(expected)) == expected
    assert [project for _, project in server.lists] == [None, "two", "three"]
    assert len(server.asked) == 5, "three lists, and one run of each of the two projects"
    server.asked.clear()
    assert await server.get(there, "two") == dict.fromkeys(there, "running")
    assert [project for _, project in server.lists] == ["two"]
    assert len(server.asked) == 1


async def test_rows_that_were_not_asked_for_are_not_looked_at() -> None:
    server = Server()
    ids = server.make(3)
    server.make(200)
    server.ignores_filters = True
    assert await server.get(ids) == dict.fromkeys(ids, "running")
    assert len(server.lists) == 1


async def test_on_a_server_without_such_lists_each_run_is_asked_for() -> None:
    server = Server("0.62.0")
    ids = server.make(3)
    assert await server.get([*ids, "gone"]) == {**dict.fromkeys(ids, "running"), "gone": None}
    assert server.asked == [f"runs/{run_id}" for run_id in [*ids, "gone"]]
    assert server.turns == [1, 1, 1, 1]


@pytest.mark.parametrize("status", [400, 414, 422, 500])
async def test_a_list_that_fails_is_no_reason_to_know_nothing(status: int) -> None:
    server = Server()
    ids = server.make(3)
    server.fail = lambda request: httpx.Response(status, json={}) if "id" in request.url.params else None
    assert await server.get(ids) == dict.fromkeys(ids, "running")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_server_that_is_away_is_not_asked_for_each_run(status: int) -> None:
    server = Server()
    ids = server.make(3)
    server.fail = lambda _: httpx.Response(status)
    with pytest.raises(Unavailable):
        await server.get(ids)
    assert len(server.asked) == 1


async def test_a_run_that_the_server_cannot_tell_of_does_not_hide_the_others() -> None:
    server = Server()
    ids = server.make(3)
    server.fail = lambda request: httpx.Response(422, json=["x", "y"]) if "bad" in request.url.path else None
    assert await server.get(["bad", *ids]) == dict.fromkeys(ids, "running")
    with pytest.raises(Rejected):
        await server.get(["bad"])


ROWS = [
    ({"status": "initializing", "created": "2026-11-23T08:00:00"}, True),
    ({"status": "running", "created": "2026-11-23T10:00:00"}, True),
    ({"status": "of a newer server"}, True),
    ({"status": "completed"}, False),
    ({"status": "running", "pipeline_id": "another"}, False),
]


@pytest.mark.parametrize("version", ["0.75.0", "0.98.0"])
async def test_the_active_runs_of_a_pipeline(version: str) -> None:
    server = Server(version)
    server.ignores_filters = True
    expected = [run_id for body, ours in ROWS for run_id in server.make(**body) if ours]  # type: ignore[arg-type]
    async with server.client() as zenml:
        found = await zenml.active_runs("p", "default")
    assert [run.id for run in found] == [expected[1], expected[2], expected[0]], "the newest first"
    [(asked, project)] = server.lists
    assert (json.loads(asked.removeprefix("oneof:")), project) == (list(ACTIVE), "default")


async def test_on_old_servers_all_versions_of_the_pipeline_count() -> None:
    server = Server("0.62.0")
    server.ignores_filters = True
    [one] = server.make(pipeline={"id": "p", "name": "training"}, pipeline_id=None)
    [other] = server.make(pipeline={"id": "p2", "name": "training"}, pipeline_id=None)
    server.make(pipeline={"id": "p3", "name": "other"}, pipeline_id=None)
    async with server.client() as zenml:
        assert {run.id for run in await zenml.active_runs("p", None, "training")} == {one, other}
        assert {run.id for run in await zenml.active_runs("p", None)} == {one}
    assert [asked for asked, _ in server.lists] == ["initializing", "running"] * 2


@pytest.mark.parametrize(
    ("status", "kind", "text", "failure", "says"),
    [
        pytest.param(200, None, None, None, "", id="it stops"),
        pytest.param(
            403, "IllegalOperationError", "Cannot stop a run that is already completed.", None, "", id="ended"
        ),
        pytest.param(403, "IllegalOperationError", "Run is already stopped.", None, "", id="stopped"),
        pytest.param(403, "IllegalOperationError", "Run is already being stopped.", None, "", id="stopping"),
        pytest.param(
            403, "IllegalOperationError", "Cannot update the status of a finished run.", None, "", id="failed"
        ),
        pytest.param(404, "KeyError", "No pipeline run with this ID found", None, "", id="gone"),
        pytest.param(
            403,
            "IllegalOperationError",
            "Cannot stop a pipeline run that has no orchestrator run id yet.",
            Unavailable,
            "no orchestrator run id yet",
            id="not taken yet: asked again",
        ),
        pytest.param(
            403,
            "IllegalOperationError",
            "Insufficient permissions to UPDATE resource 'pipeline_run'.",
            Rejected,
            "needs the right to update pipeline runs",
            id="no right to",
        ),
        pytest.param(405, None, "Method Not Allowed", Rejected, "this server cannot stop runs", id="an old server"),
        pytest.param(
            500,
            "RuntimeError",
            "No module named 'kubernetes'",
            Rejected,
            "kubernetes'; the ZenML server needs",
            id="500",
        ),
        pytest.param(501, "NotImplementedError", "not supported", Rejected, "orchestrator cannot stop runs", id="501"),
        pytest.param(503, None, "down", Unavailable, "503 down", id="away"),
        pytest.param(404, None, None, Unavailable, "between us and", id="a proxy that has lost the server"),
    ],
)
async def test_stops(
    status: int, kind: str | None, text: str | None, failure: type[ServerError] | None, says: str
) -> None:
    server = Server()
    body = {"detail": [kind, text] if kind else text} if text else None
    server.fail = lambda _: httpx.Response(status, json=body)
    async with server.client() as zenml:
        if failure is None:
            await zenml.stop_run("x/y")
        else:
            with pytest.raises(failure) as caught:
                await zenml.stop_run("x/y")
            assert says in str(caught.value)
