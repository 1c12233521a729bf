"""What the daemon asks of a server after a start, put plainly to real servers of each generation.

Runs by their ids, the active runs of a pipeline, stops, and how new something is.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from zendaemon.core.errors import Rejected, Unavailable, ZendaemonError
from zendaemon.core.run import ACTIVE
from zendaemon.demo.server import Workload
from zendaemon.zenml import Secret, UserPassword, ZenML

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Runnable, Seeder
    from zendaemon.demo.server import ZenMLServer

ALL = ["0.62.0", "0.75.0", "0.85.0", "0.98.0"]
STOPPING = ["0.85.0", "0.98.0"]  # versions that can stop runs
RF: dict[str, Any] = {"steps": {"model_trainer": {"parameters": {"model_type": "rf"}}}}


@pytest.fixture(params=ALL)
def server(request: pytest.FixtureRequest, servers: ServerPool) -> ZenMLServer:
    return servers.get(request.param)


@pytest.fixture
def seeder(servers: ServerPool, server: ZenMLServer) -> Seeder:
    return servers.seeder(server)


def fire(seeder: Seeder, runnable: Runnable, name: str) -> str:
    """The id of a new run; waits for a start slot."""
    deadline = time.monotonic() + 30
    while True:
        try:
            run_id: str = seeder.fire(runnable, {"run_name": name, **RF})["id"]
        except ZendaemonError as error:
            if "429" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return run_id


def one_of(values: list[str]) -> str:
    return f"oneof:{json.dumps(values)}"


def rows(seeder: Seeder, path: str, **query: str | int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = seeder.call("GET", f"{path}?{httpx.QueryParams(query)}")["items"]
    return found


def names(seeder: Seeder, path: str, **query: str | int) -> list[str]:
    return [row["name"] for row in rows(seeder, path, **query)]


def status(seeder: Seeder, run_id: str) -> str:
    found: str = seeder.run(run_id)["body"]["status"]
    return found


@contextmanager
def refused(text: str) -> Iterator[None]:
    """The server's answer is an error with this status and text."""
    with pytest.raises(ZendaemonError, match=text):
        yield


def test_runs_by_their_ids(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    runnable = seeder.runnable(unique_name)
    runs = [fire(seeder, runnable, f"{unique_name}-{number}") for number in range(3)]
    seeder.set_status(runs[0], "running")
    seeder.set_status(runs[1], "completed")
    seeder.call("DELETE", f"runs/{runs[2]}")
    with refused("404 .*KeyError.*Unable to get .*run with"):
        seeder.run(runs[2])
    if server.version == "0.62.0":  # has no such list, and ends the connection
        headers = {"Authorization": seeder._http.headers["Authorization"]}
        query = {"id": one_of(runs)}
        answer = httpx.get(f"{server.url}/api/v1/runs", params=query, headers=headers, trust_env=False)
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
        assert rows(seeder, "runs", name=one_of([f"{unique_name}-0"])) == []
        return
    many = [*runs, *(str(uuid4()) for _ in range(97))]
    plain = rows(seeder, "runs", id=one_of(many), size=100)
    full = rows(seeder, "runs", id=one_of(many), size=100, hydrate="true")
    assert [(row["id"], row["body"]["status"]) for row in plain] == [(runs[0], "running"), (runs[1], "completed")]
    assert [row["id"] for row in full] == runs[:2]
    assert all(row["metadata"] is None for row in plain)
    assert [row["metadata"]["end_time"] is None for row in full] == [True, False]
    assert all(row["metadata"]["start_time"] for row in full)


def test_an_empty_list_of_ids_is_no_filter(servers: ServerPool, unique_name: str) -> None:
    """The newer servers leave it out, and answer with every run."""
    for version in STOPPING:
        seeder = servers.seeder(servers.get(version))
        fire(seeder, seeder.runnable(unique_name), unique_name)
        assert rows(seeder, "runs", id="oneof:[]", size=1)


def test_runs_that_changed_since(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    """On every server, 0.62 too. The newest count a step that moves, the others only what moves the run."""
    runnable = seeder.runnable(unique_name, steps={"a": {}, "b": {}})
    first, second = (fire(seeder, runnable, f"{unique_name}-{number}") for number in range(2))
    seeder.set_status(first, "running")
    seeder.set_status(second, "running")
    time.sleep(1.1)  # the filter knows whole seconds
    seeder.set_status(second, "completed")
    ended = datetime.fromisoformat(seeder.run(second)["body"]["updated"])
    since = f"gte:{ended:%Y-%m-%d %H:%M:%S}"
    assert names(seeder, "runs", name=f"startswith:{unique_name}", updated=since) == [f"{unique_name}-1"]
    before = seeder.run(first)["body"]["updated"]
    [step, *_] = rows(seeder, "steps", pipeline_run_id=first)
    seeder.call("PUT", f"steps/{step['id']}", {"status": "completed", "end_time": "2026-01-01T00:00:00"})
    assert (seeder.run(first)["body"]["updated"] > before) == (server.version == "0.98.0")


def test_active_runs_of_a_pipeline(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    runnable = seeder.runnable(unique_name)
    other = seeder.runnable(f"{unique_name}-other")
    runs = [fire(seeder, runnable, f"{unique_name}-{number}") for number in range(4)]
    fire(seeder, other, f"{unique_name}-other")
    for run_id, moved in zip(runs[1:], ["running", "completed", "failed"], strict=True):
        seeder.set_status(run_id, moved)
    of_it = {"pipeline_name": f"equals:{unique_name}"}
    active = [f"{unique_name}-0", f"{unique_name}-1"]
    assert len(rows(seeder, "runs", **of_it)) == 4
    assert names(seeder, "runs", **of_it, status="running") == active[1:]
    assert names(seeder, "runs", **of_it, status="initializing") == active[:1]
    old = server.version == "0.62.0"  # takes `oneof:...` for a status; it has no other active ones
    assert names(seeder, "runs", **of_it, status=one_of(list(ACTIVE))) == ([] if old else active)
    page = seeder.call("GET", f"runs?{httpx.QueryParams({**of_it, 'status': 'running', 'size': 1})}")
    assert page["total"] == 1


def test_the_versions_of_a_pipeline_are_one_pipeline(servers: ServerPool, unique_name: str) -> None:
    """The builds era has a row for each version: the name tells them together."""
    seeder = servers.seeder(servers.get("0.62.0"))
    for version in ("1", "2"):
        fire(seeder, seeder.runnable(unique_name, version=version), f"{unique_name}-{version}")
    assert len(rows(seeder, "runs", pipeline_name=f"equals:{unique_name}")) == 2
    assert len(rows(seeder, "runs", pipeline_id=seeder.pipeline(unique_name, "2"))) == 1


def test_the_last_success_of_a_pipeline(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    runnable = seeder.runnable(unique_name)
    runs = [fire(seeder, runnable, f"{unique_name}-{number}") for number in range(3)]
    seeder.set_status(runs[1], "completed")
    time.sleep(1.1)  # ends are told in whole seconds
    seeder.set_status(runs[0], "completed")
    seeder.set_status(runs[2], "failed")
    good = "completed" if server.version == "0.62.0" else one_of(["completed", "cached"])
    asked = {"pipeline_name": f"equals:{unique_name}", "status": good, "size": 1, "hydrate": "true"}
    [last] = rows(seeder, "runs", **asked, sort_by="desc:end_time")
    assert (last["name"], last["body"]["status"]) == (f"{unique_name}-0", "completed")
    assert last["metadata"]["end_time"]
    assert rows(seeder, "runs", **asked, end_time="gte:2100-01-01 00:00:00") == []


def test_the_newest_version_of_an_artifact(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    """The older servers heed `name` and the newer `artifact`; each ignores the other's."""
    asked: dict[str, str | int] = {"sort_by": "desc:created", "size": 1}
    for name in (unique_name, f"{unique_name}-other"):
        seeder.artifact_version(name)
    newest = seeder.artifact_version(unique_name)
    seeder.artifact_version(f"{unique_name}-other")
    [row] = rows(seeder, "artifact_versions", name=unique_name, artifact=unique_name, **asked)
    assert (row["id"], row["body"]["version"], row["body"]["artifact"]["name"]) == (newest["id"], "2", unique_name)
    assert row["body"]["created"] == newest["body"]["created"]
    nothing = f"{unique_name}-none"
    assert rows(seeder, "artifact_versions", name=nothing, artifact=nothing) == []
    ignored = {"artifact": nothing} if server.version in ALL[:2] else {"name": nothing}
    assert rows(seeder, "artifact_versions", **ignored)


def test_the_newest_version_of_a_model(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    path, asked = f"models/{unique_name}/model_versions", {"sort_by": "desc:created", "size": 1}
    seeder.model_version(f"{unique_name}-other", stage="production")
    first = seeder.model_version(unique_name, stage="production")
    second = seeder.model_version(unique_name)
    [row] = rows(seeder, path, **asked)
    assert (row["id"], row["name"], row["body"]["number"], row["body"]["stage"]) == (second["id"], "2", 2, None)
    assert row["body"]["model"]["name"] == unique_name
    assert row["body"]["created"] == second["body"]["created"]
    [production] = rows(seeder, path, **asked, stage="production")
    assert production["id"] == first["id"]
    third = seeder.model_version(unique_name, stage="production")
    assert [row["id"] for row in rows(seeder, path, stage="production")] == [third["id"]]
    if server.version in ALL[:2]:
        with refused(f"404 .*Unable to get model with name or ID '{unique_name}-none'"):
            rows(seeder, f"models/{unique_name}-none/model_versions")
    else:
        assert rows(seeder, f"models/{unique_name}-none/model_versions") == []


def test_lists_are_of_one_project(servers: ServerPool, unique_name: str) -> None:
    """Without `project` of the one called default: a run that is not in a list may be in another project."""
    with servers.own("0.98.0") as server:
        seeder = servers.seeder(server)
        run = fire(seeder, seeder.runnable(unique_name, project="research"), unique_name)
        seeder.set_status(run, "running")
        artifact = seeder.artifact_version(unique_name, project="research")
        model = seeder.model_version(unique_name, project="research")
        research = seeder.project("research")
        for path, query, found in (
            ("runs", {"id": one_of([run])}, run),
            ("runs", {"pipeline_name": f"equals:{unique_name}", "status": "running"}, run),
            ("artifact_versions", {"artifact": unique_name}, artifact["id"]),
            (f"models/{unique_name}/model_versions", {}, model["id"]),
        ):
            assert rows(seeder, path, **query) == []
            for project in ("research", research):
                assert [row["id"] for row in rows(seeder, path, **query, project=project)] == [found]
        assert status(seeder, run) == "running"


def client(server: ZenMLServer) -> ZenML:
    user = UserPassword("default", Secret(""))
    return ZenML(server.url, user, now=lambda: datetime.now(UTC), elapsed=time.monotonic, trust_env=False)


def stop(seeder: Seeder, run_id: str) -> None:
    assert seeder.call("POST", f"runs/{run_id}/stop?graceful=false") is None


def wait_for(seeder: Seeder, run_id: str, wanted: str) -> None:
    deadline = time.monotonic() + 20
    while (seen := status(seeder, run_id)) != wanted:
        assert time.monotonic() < deadline, f"{seen} and not {wanted}"
        time.sleep(0.1)


@pytest.mark.parametrize("version", ALL)
def test_who_can_stop_a_run_says_so(servers: ServerPool, version: str) -> None:
    server = servers.get(version)
    paths = httpx.get(f"{server.url}/openapi.json", timeout=60, trust_env=False).json()["paths"]
    assert ("/api/v1/runs/{run_id}/stop" in paths) == (version in STOPPING)
    if version not in STOPPING:
        with refused("405 .*Method Not Allowed"):
            stop(servers.seeder(server), str(uuid4()))


@pytest.mark.parametrize("version", STOPPING)
def test_a_run_is_stopped(servers: ServerPool, version: str, unique_name: str) -> None:
    server = servers.get(version)
    seeder = servers.seeder(server)
    run = fire(seeder, seeder.runnable(unique_name), unique_name)
    with refused("403 .*IllegalOperationError.*has no orchestrator run id yet"):
        stop(seeder, run)
    seeder.set_status(run, "running")
    with server.behaving(Workload(stop_seconds=2)):
        stop(seeder, run)
        assert status(seeder, run) == "stopping"
        with refused("403 .*already being stopped"):
            stop(seeder, run)
    wait_for(seeder, run, "stopped")
    assert seeder.run(run)["metadata"]["end_time"]
    with refused("403 .*already stopped"):
        stop(seeder, run)


@pytest.mark.parametrize("version", STOPPING)
def test_a_run_that_has_ended_is_not_stopped(servers: ServerPool, version: str, unique_name: str) -> None:
    """But 0.85 takes a failed one for one that goes on."""
    seeder = servers.seeder(servers.get(version))
    runnable = seeder.runnable(unique_name)
    done, failed = (fire(seeder, runnable, f"{unique_name}-{number}") for number in range(2))
    seeder.set_status(done, "completed")
    seeder.set_status(failed, "failed")
    with refused("403 .*already completed"):
        stop(seeder, done)
    if version == "0.85.0":
        stop(seeder, failed)
        assert status(seeder, failed) == "stopped"
    else:
        with refused("403 .*status of a finished run"):
            stop(seeder, failed)
    with refused("404 .*KeyError"):
        stop(seeder, str(uuid4()))


@pytest.mark.parametrize("version", STOPPING)
def test_a_stop_that_fails_leaves_the_run_stopping(servers: ServerPool, version: str, unique_name: str) -> None:
    server = servers.get(version)
    seeder = servers.seeder(server)
    run = fire(seeder, seeder.runnable(unique_name), unique_name)
    seeder.set_status(run, "running")
    with server.behaving(Workload(stop_seconds=None)):
        with refused("500 .*RuntimeError.*told to fail"):
            stop(seeder, run)
        assert status(seeder, run) == "stopping"
        with refused("403 .*already being stopped"):
            stop(seeder, run)


@pytest.mark.parametrize("version", STOPPING)
def test_a_run_is_stopped_by_hand(servers: ServerPool, version: str, unique_name: str) -> None:
    seeder = servers.seeder(servers.get(version))
    runnable = seeder.runnable(unique_name)
    one, two = (fire(seeder, runnable, f"{unique_name}-{number}") for number in range(2))
    seeder.set_status(one, "stopped")
    seeder.set_status(two, "stopping")
    assert (status(seeder, one), status(seeder, two)) == ("stopped", "stopping")
    seeder.set_status(two, "stopped")
    assert status(seeder, two) == "stopped"


async def test_the_client_asks_for_many_runs(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    runnable = seeder.runnable(unique_name)
    going, done, gone = (fire(seeder, runnable, f"{unique_name}-{number}") for number in range(3))
    seeder.set_status(going, "running")
    seeder.set_status(done, "completed")
    seeder.call("DELETE", f"runs/{gone}")
    async with client(server) as zenml:
        found = await zenml.get_runs([going, done, gone], times=True)
        active = await zenml.active_runs(runnable.pipeline_id, None, unique_name)
    assert found[gone] is None
    assert {run.id: (run.status, run.ended_at is None) for run in found.values() if run is not None} == {
        going: ("running", True),
        done: ("completed", False),
    }
    assert [run.id for run in active] == [going]


@pytest.mark.parametrize("version", STOPPING)
async def test_the_client_stops_runs(servers: ServerPool, version: str, unique_name: str) -> None:
    """What need not be stopped is no failure, and a run without an orchestrator is to be asked for again."""
    server = servers.get(version)
    seeder = servers.seeder(server)
    runnable = seeder.runnable(unique_name)
    run, done, other = (fire(seeder, runnable, f"{unique_name}-{number}") for number in range(3))
    seeder.set_status(done, "completed")
    async with client(server) as zenml:
        assert (await zenml.info()).stops_runs
        with pytest.raises(Unavailable, match="no orchestrator run id yet"):
            await zenml.stop_run(run)
        for run_id in (run, other):
            seeder.set_status(run_id, "running")
        await zenml.stop_run(run)
        wait_for(seeder, run, "stopped")
        for run_id in (run, done, str(uuid4())):
            await zenml.stop_run(run_id)
        with server.behaving(Workload(stop_seconds=None)), pytest.raises(Rejected) as caught:
            await zenml.stop_run(other)
    assert caught.value.status == 500
    assert status(seeder, done) == "completed"


@pytest.mark.parametrize("version", ALL[:2])
async def test_the_client_cannot_stop_runs_of_old_servers(servers: ServerPool, version: str) -> None:
    async with client(servers.get(version)) as zenml:
        assert not (await zenml.info()).stops_runs
        with pytest.raises(Rejected, match="Method Not Allowed"):
            await zenml.stop_run(str(uuid4()))
