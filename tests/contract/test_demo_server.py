"""The demo on real servers of each generation: what is seeded can be fired, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zendaemon.core.errors import ZendaemonError
from zendaemon.demo.server import Workload, ZenMLServer
from zendaemon.demo.venv import ensure_venv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Runnable, Seeder

VERSIONS = ["0.62.0", "0.75.0", "0.85.0", "0.98.0"]
KINDS = {"0.62.0": "build", "0.75.0": "template", "0.85.0": "template", "0.98.0": "snapshot"}
RF = {"steps": {"model_trainer": {"parameters": {"model_type": "rf"}}}}


def config(name: str) -> dict[str, object]:
    return {"run_name": name, **RF}


def post(server: ZenMLServer, key: str, runnable: Runnable, body: Mapping[str, object]) -> httpx.Response:
    """Fire in the way of the documentation, by service account."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        login = client.post("/api/v1/login", data={"password": key})
        token = login.raise_for_status().json()["access_token"]
        content = {"run_configuration": body} if runnable.kind == "snapshot" else body
        return client.post(runnable.fire_path, json=content, headers={"Authorization": f"Bearer {token}"})


def wait_for(what: Callable[[], Any], expected: object, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while (seen := what()) != expected:
        assert time.monotonic() < deadline, f"{seen!r} after {seconds} s, not {expected!r}"
        time.sleep(0.05)


def status(seeder: Seeder, run: Mapping[str, Any]) -> str:
    found: str = seeder.run(run["id"])["body"]["status"]
    return found


def group_is_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_seeded_can_be_fired(servers: ServerPool, version: str, unique_name: str) -> None:
    server = servers.get(version)
    seeder = servers.seeder(server)
    runnable = seeder.runnable(unique_name, version="45")
    assert runnable.kind == KINDS[version]

    answer = post(server, seeder.service_account(), runnable, config(f"{unique_name}-1"))

    assert answer.status_code == 200
    assert answer.json()["name"] == f"{unique_name}-1"
    [run] = seeder.runs(unique_name)
    assert seeder.run_parameters(run) == {"model_trainer": {"model_type": "rf"}}
    assert seeder.run_parameters(answer.json()) == {"model_trainer": {"model_type": "rf"}}
    assert status(seeder, run) == "initializing"


@pytest.mark.parametrize("version", VERSIONS)
def test_more_steps_and_parameters(servers: ServerPool, version: str, unique_name: str) -> None:
    seeder = servers.seeder(servers.get(version))
    steps = {"data_loader": {"day": "2026-11-22", "rows": 100}, "model_trainer": {"model_type": "svc", "depth": 3}}
    runnable = seeder.runnable(unique_name, steps=steps)
    changed = {"data_loader": {"day": "2026-11-23", "rows": 7}, "model_trainer": {"model_type": "rf", "depth": 3}}
    body = {"run_name": unique_name, "steps": {name: {"parameters": values} for name, values in changed.items()}}

    run = seeder.fire(runnable, body)

    assert seeder.run_parameters(run) == changed


@pytest.mark.parametrize("version", VERSIONS)
def test_seeding_twice_does_no_harm(servers: ServerPool, version: str, unique_name: str) -> None:
    seeder = servers.seeder(servers.get(version))
    first, second = seeder.runnable(unique_name), seeder.runnable(unique_name)
    assert first.pipeline_id == second.pipeline_id
    assert first.target == second.target
    assert (first.id == second.id) == (first.kind != "build")


def test_a_plain_build_cannot_be_fired(servers: ServerPool, unique_name: str) -> None:
    seeder = servers.seeder(servers.get("0.62.0"))
    build = seeder.build(seeder.pipeline(unique_name), runnable=False)
    with pytest.raises(ZendaemonError, match="Build does not have template deployment"):
        seeder.call("POST", f"pipeline_builds/{build}/runs", RF)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("end", ["completed", "failed"])
def test_the_status_of_a_run_can_be_set(servers: ServerPool, version: str, end: str, unique_name: str) -> None:
    seeder = servers.seeder(servers.get(version))
    run = seeder.fire(seeder.runnable(unique_name), config(unique_name))
    wait_for(lambda: status(seeder, run), "initializing")

    seeder.set_status(run["id"], "running")
    assert status(seeder, run) == "running"
    seeder.set_status(run["id"], end)
    assert status(seeder, run) == end


@pytest.mark.parametrize("version", VERSIONS)
def test_runs_move_onward_when_asked(servers: ServerPool, version: str, unique_name: str) -> None:
    server = servers.get(version)
    seeder = servers.seeder(server)
    with server.behaving(Workload(run_seconds=1)):
        run = seeder.fire(seeder.runnable(unique_name), config(unique_name))
        wait_for(lambda: status(seeder, run), "running")
        wait_for(lambda: status(seeder, run), "completed")
    assert seeder.run(run["id"])["metadata"]["end_time"]


@pytest.mark.parametrize("version", VERSIONS)
def test_starts_fail_when_asked(servers: ServerPool, version: str, unique_name: str) -> None:
    server = servers.get(version)
    seeder = servers.seeder(server)
    with server.behaving(Workload(fail_starts=True)):
        run = seeder.fire(seeder.runnable(unique_name), config(unique_name))
        wait_for(lambda: status(seeder, run), "failed")


@pytest.mark.parametrize("version", ["0.85.0", "0.98.0"])
def test_a_held_slot_refuses_the_next_start(servers: ServerPool, version: str, unique_name: str) -> None:
    server = servers.get(version, start_slots=1, workload=Workload(hold_seconds=10))
    seeder = servers.seeder(server)
    key = seeder.service_account()
    runnable = seeder.runnable(unique_name)

    assert post(server, key, runnable, config(f"{unique_name}-1")).status_code == 200
    refused = post(server, key, runnable, config(f"{unique_name}-2"))
    assert refused.status_code == 429
    assert refused.json()["detail"][0] == "MaxConcurrentTasksError"
    wait_for(lambda: post(server, key, runnable, config(f"{unique_name}-2")).status_code, 200)
    assert [run["name"] for run in seeder.runs(unique_name)] == [f"{unique_name}-1", f"{unique_name}-2"]


@pytest.mark.parametrize("version", ["0.85.0", "0.98.0"])
def test_projects_are_apart(servers: ServerPool, version: str, unique_name: str) -> None:
    with servers.own(version, workload=Workload(run_seconds=0)) as server:
        seeder = servers.seeder(server)
        runnable = seeder.runnable(unique_name, project="research")
        assert runnable.target["project"] == "research"
        run = seeder.fire(runnable, config(unique_name))
        assert seeder.run_parameters(run) == {"model_trainer": {"model_type": "rf"}}
        assert [found["id"] for found in seeder.runs(unique_name, project="research")] == [run["id"]]
        assert seeder.runs(unique_name) == []
        wait_for(lambda: status(seeder, run), "completed")


@pytest.mark.parametrize("version", ["0.62.0", "0.98.0"])
def test_without_workload_manager_the_routes_are_missing(servers: ServerPool, version: str, unique_name: str) -> None:
    with servers.own(version, runnable=False) as server:
        runnable = servers.seeder(server).runnable(unique_name)
        assert post(server, servers.seeder(server).service_account(), runnable, RF).status_code == 405


@pytest.mark.parametrize("version", VERSIONS)
def test_restart_keeps_everything_and_stop_leaves_no_process(
    servers: ServerPool, version: str, unique_name: str
) -> None:
    with servers.own(version) as server:
        seeder, port, first = servers.seeder(server), server.port, server.pid
        runnable = seeder.runnable(unique_name)

        server.kill()
        assert not group_is_alive(first)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")

        server.restart()
        assert server.port == port
        assert seeder.fire(runnable, config(unique_name))["name"] == unique_name

        second = server.pid
        server.stop()
        assert not group_is_alive(second)
        assert not server.running


def test_a_server_ends_with_its_parent(servers: ServerPool, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    python = servers.get("0.98.0").python
    script = (
        "import sys, pathlib, time, threading\n"
        "from zendaemon.demo.server import ZenMLServer\n"
        f"server = ZenMLServer('0.98.0', pathlib.Path({str(python)!r}), pathlib.Path({str(tmp_path)!r}))\n"
        "thread = threading.Thread(target=server.start)\n"
        "thread.start(); thread.join()\n"  # a server must outlive the thread that started it
        "time.sleep(1)\n"
        "print(server.pid, server.running, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=pytestconfig.rootpath, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid, running = parent.stdout.readline().split()
        assert running == "True"
        assert group_is_alive(int(pid))
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: group_is_alive(int(pid)), expected=False)


def test_a_server_that_cannot_start_says_why(servers: ServerPool) -> None:
    with (
        pytest.raises(ZendaemonError, match=r"ended at once[\s\S]*nonsense[\s\S]*server\.log"),
        servers.own("0.98.0", environment={"ZENML_STORE_URL": "nonsense"}),
    ):
        pass


def test_a_port_in_use_is_named(servers: ServerPool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ZendaemonError, match=f"port {port} on 127.0.0.1 cannot be used"),
            servers.own("0.98.0", port=port),
        ):
            pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index with a tiny `zenml` 9.9.9 in it, so that the real pip is quick and needs no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "zenml-9.9.9-py3-none-any.whl", "w") as wheel:
        about = "zenml-9.9.9.dist-info"
        wheel.writestr("zenml/__init__.py", "")
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: zenml\nVersion: 9.9.9\nProvides-Extra: server\n"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.usefixtures("index")
def test_an_environment_is_made_once_and_by_one(tmp_path: Path) -> None:
    cache, lines = tmp_path / "cache", list[str]()
    with ThreadPoolExecutor() as pool:
        pythons = {*pool.map(lambda _: ensure_venv("9.9.9", cache, lines.append), range(3))}
    assert pythons == {cache / "zenml-9.9.9" / "bin" / "python"}
    assert sum(line.startswith("installing") for line in lines) == 1
    assert any("Successfully installed zenml-9.9.9" in line for line in lines)

    lines.clear()
    ensure_venv("9.9.9", cache, lines.append)
    assert lines == []


@pytest.mark.usefixtures("index")
def test_a_half_made_environment_is_made_anew(tmp_path: Path) -> None:
    home = tmp_path / "zenml-9.9.9"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").write_text("not a Python")
    python = ensure_venv("9.9.9", tmp_path, print)
    subprocess.run([python, "-c", "import zenml"], check=True)


@pytest.mark.usefixtures("index")
def test_a_failed_installation_shows_the_last_lines_of_pip(tmp_path: Path) -> None:
    with pytest.raises(ZendaemonError, match=r"No matching distribution found for zenml\[server\]==9.9.8") as caught:
        ensure_venv("9.9.8", tmp_path, print)
    assert "package index" in caught.value.hint


def test_a_version_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ZendaemonError, match="is no version of ZenML"):
        ensure_venv("latest", tmp_path, print)
