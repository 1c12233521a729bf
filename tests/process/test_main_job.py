"""The main job: schedule files in, real runs on real ZenML servers of each generation out, on time."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from signal import SIGHUP
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from process.daemon import (
    Daemon,
    Deed,
    Line,
    in_seconds,
    instant,
    model,
    passing,
    questions,
    run_name,
    same_runs,
    until,
)

from zendaemon.demo.server import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Runnable, Seeder
    from zendaemon.demo.server import ZenMLServer

VERSIONS = ["0.62.0", "0.75.0", "0.98.0"]
RF = {"model_trainer": {"model_type": "rf"}}
ONCE = {"every": "1s", "max_runs": 1}
"""Due soon, and one run, whatever the machine's speed."""


@dataclass(frozen=True, slots=True)
class Minute:
    """`<name>-cron` and `<name>-every` on each generation."""

    name: str
    daemons: dict[str, Daemon]


def origin(run: dict[str, Any], kind: str) -> str:
    """The id of the build, template or snapshot that a run was started from."""
    if kind == "build":
        return str(run["body"]["build"]["id"])
    if kind == "template":
        return str(run["metadata"]["template_id"])
    return str(run["resources"]["source_snapshot"]["id"])


def remake(seeder: Seeder, runnable: Runnable) -> str:
    """Delete what is run and make it anew under the same name; its new id."""
    thing = {"build": "pipeline_builds", "template": "run_templates", "snapshot": "pipeline_snapshots"}[runnable.kind]
    seeder.call("DELETE", f"{thing}/{runnable.id}")
    return seeder.runnable(runnable.pipeline).id


@pytest.fixture(scope="module")
def minute(servers: ServerPool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minute]:
    """Daemons on all generations at once, at work while the tests between the first and the last one here run."""
    name = f"minute-{uuid4().hex[:8]}"
    with ExitStack() as open_now:
        daemons: dict[str, Daemon] = {}
        for version in VERSIONS:
            server = servers.get(version)
            open_now.enter_context(server.behaving(Workload(run_seconds=1)))
            seeder = servers.seeder(server)
            target = seeder.runnable(name, version="45").target
            daemon = Daemon(tmp_path_factory.mktemp(name), server.url, username=None, api_key=seeder.service_account())
            daemon.write(
                {
                    f"{name}-cron": {**target, "cron": "* * * * *", "config": model("rf")},
                    f"{name}-every": {**target, "every": "5s", "config": model("rf")},
                }
            )
            daemons[version] = open_now.enter_context(daemon)
        yield Minute(name, daemons)


def test_every_five_seconds(minute: Minute) -> None:
    for daemon in minute.daemons.values():
        until(lambda daemon=daemon: len(daemon.started(f"{minute.name}-every")) >= 2)


def test_two_start_slots_and_ten_at_once(servers: ServerPool, tmp_path: Path, unique_name: str) -> None:
    server = servers.get("0.98.0", start_slots=2, workload=Workload(hold_seconds=1.5))
    seeder = servers.seeder(server)
    target = seeder.runnable(unique_name).target
    with Line(server.port) as line, Daemon(tmp_path, line.url) as daemon:
        fire_time = in_seconds(5)
        priorities = [20, 90, 50, 50, 90, 20, 70, 50, 50, 0]
        names = {f"{unique_name}-{index}": priority for index, priority in enumerate(priorities)}
        daemon.write(
            {name: {**target, "at": fire_time, "priority": p, "config": model("rf")} for name, p in names.items()}
        )
        assert daemon.reload().returncode == 0
        until(lambda: len(daemon.history()) == 10 and not daemon.open_claims(), 90)

        assert {row["state"] for row in daemon.history()} == {"started"}
        same_runs(daemon.history(), seeder.runs(unique_name))
        wanted = [run_name(name, fire_time) for name in sorted(names, key=lambda name: (-names[name], name))]
        order = [run["name"] for run in seeder.runs(unique_name)]
        refused = [call for call in line.starts if call.status == 429]
        last = max(row["lateness_seconds"] for row in daemon.history())
        taken = instant(daemon.events("fire.started")[-1]["timestamp"]) - instant(fire_time)
        print(f"{len(refused)} refusals; all started after {taken.total_seconds()} s, tried first within {last} s")
        # Four are in flight at first and race for the two slots; from then on, one after the other.
        assert set(order[:2]) <= set(wanted[:4])
        assert order[2:] == [name for name in wanted if name not in order[:2]]
        assert len(refused) < 40
        assert {call.status for call in line.starts} == {200, 429}


def test_every_kind_of_credentials(servers: ServerPool, tmp_path: Path, unique_name: str) -> None:
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    target = seeder.runnable(unique_name).target
    key, token = seeder.service_account(), seeder._http.headers["Authorization"].removeprefix("Bearer ")
    key_file, token_file = tmp_path / "key.txt", tmp_path / "token.txt"
    key_file.write_text(f"{key}\n")
    token_file.write_text(f"{token}\n")
    given: dict[str, dict[str, object]] = {
        "key": {"api_key": key},
        "key-file": {"api_key_file": key_file},
        "token": {"token": token},
        "token-file": {"token_file": token_file},
        "password": {"username": "default"},
    }
    with ExitStack() as open_now:
        daemons = {}
        for name, settings in given.items():
            daemon = Daemon(tmp_path / name, server.url, **{"username": None, **settings})
            daemon.write({f"{unique_name}-{name}": {**target, **ONCE, "config": model("rf")}})
            daemons[name] = open_now.enter_context(daemon.start(ready=False))
        for name, daemon in daemons.items():
            until(daemon.started)
            assert len(daemon.started()) == 1
            same_runs(daemon.started(), seeder.runs(f"{unique_name}-{name}-2"))
            assert key not in daemon.log()
            assert token not in daemon.log()


def test_a_warm_cache_needs_no_question(server: ZenMLServer, seeder: Seeder, tmp_path: Path, unique_name: str) -> None:
    """Restarted while every GET fails, the daemon fires with the ids of its journal."""
    runnable = seeder.runnable(unique_name)
    with Line(server.port) as line, Daemon(tmp_path, line.url) as daemon:
        daemon.write({f"{unique_name}-later": {**runnable.target, "at": "2999-01-01T00:00:00Z"}})
        daemon.send(SIGHUP)
        daemon.wait_for("schedule.resolved")
        assert daemon.stop() == 0

        line.rule = questions(Deed.REFUSE)
        line.calls.clear()
        daemon.write({unique_name: {**runnable.target, **ONCE, "config": model("rf")}})
        daemon.start()
        until(daemon.started)
        assert any(call.deed is Deed.REFUSE for call in line.calls), "nobody asked, so nothing was shown"
        line.rule = passing
    [row] = daemon.started()
    [run] = seeder.runs(unique_name)
    assert (row["run_id"], row["attempts"]) == (run["id"], 1)
    assert seeder.run_parameters(run) == RF


def test_a_stale_id_is_resolved_anew(server: ZenMLServer, seeder: Seeder, tmp_path: Path, unique_name: str) -> None:
    runnable = seeder.runnable(unique_name)
    with Daemon(tmp_path, server.url) as daemon:
        daemon.write({f"{unique_name}-later": {**runnable.target, "at": "2999-01-01T00:00:00Z"}})
        daemon.send(SIGHUP)
        assert daemon.wait_for("schedule.resolved")["id"] == runnable.id

        new = remake(seeder, runnable)
        assert new != runnable.id
        daemon.write({unique_name: {**runnable.target, **ONCE, "config": model("rf")}})
        # The daemon still has the old id: it is told of the new schedule, and its target is known.
        with_old = daemon.command("fire", f"{unique_name}-later", "--wait", "--json")
        assert with_old.returncode == 0, with_old.stderr
        daemon.send(SIGHUP)
        until(lambda: daemon.started(unique_name))
        assert daemon.wait_for("schedule.resolved", count=2)["id"] == new
    assert {origin(seeder.run(run["id"]), runnable.kind) for run in seeder.runs(unique_name)} == {new}
    assert len(seeder.runs(unique_name)) == 2


def test_a_snapshot_name_that_moves(servers: ServerPool, tmp_path: Path, unique_name: str) -> None:
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    runnable = seeder.runnable(unique_name)
    schedule = {**runnable.target, "every": "1s", "config": model("rf")}
    daemon = Daemon(tmp_path, server.url, resolve_interval="2s")
    daemon.write({unique_name: schedule})
    with daemon:
        until(daemon.started)
        seeder.call("PUT", f"pipeline_snapshots/{runnable.id}", {"name": f"{unique_name}-old"})
        new = seeder.snapshot(f"{unique_name}-prod", runnable.pipeline_id)
        daemon.wait_for("schedule.resolved", id=new)
        count = len(daemon.started())
        until(lambda: len(daemon.history()) >= count + 4)
        daemon.finish()
    origins = [origin(seeder.run(row["run_id"]), "snapshot") for row in daemon.started()]
    assert origins[0] == runnable.id
    assert origins[-1] == new
    assert set(origins) == {runnable.id, new}
    same_runs(daemon.started(), seeder.runs(unique_name))


def test_an_unresolved_schedule_is_loud_and_alone(servers: ServerPool, tmp_path: Path, unique_name: str) -> None:
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    target = seeder.runnable(unique_name).target
    good, bad = f"{unique_name}-good", f"{unique_name}-bad"
    daemon = Daemon(tmp_path, server.url)
    daemon.write(
        {
            bad: {"snapshot": f"{unique_name}-prd", "every": "1s"},
            good: {**target, "every": "1s", "config": model("rf")},
            f"{bad}-step": {**target, "at": "2999-01-01", "config": {"steps": {"model_trianer": {}}}},
        }
    )
    with daemon:
        said = daemon.wait_for("schedule.unresolved", schedule=bad)
        assert said["level"] == "error"
        assert f"did you mean {unique_name}-prod?" in said["error"]
        assert "did you mean model_trainer?" in daemon.wait_for("schedule.unresolved", schedule=f"{bad}-step")["error"]
        assert set(daemon.status()["unresolved"]) == {bad, f"{bad}-step"}
        until(lambda: len(daemon.history(good)) >= 3 and len(daemon.history(bad)) >= 3)
        assert len(daemon.events("schedule.unresolved", schedule=bad)) == 1, "loud once, not once a second"
        daemon.finish()
    assert {(row["state"], row["reason"]) for row in daemon.history(bad)} == {("failed", "unresolved")}
    assert {row["state"] for row in daemon.history(good)} == {"started"}
    same_runs(daemon.history(good), seeder.runs(good))
    assert seeder.runs(bad) == []


def test_a_server_that_is_down_at_the_start(servers: ServerPool, tmp_path: Path, unique_name: str) -> None:
    with servers.own("0.98.0", workload=Workload(run_seconds=0)) as server:
        seeder = servers.seeder(server)
        target = seeder.runnable(unique_name).target
        server.stop()
        daemon = Daemon(tmp_path, server.url)
        daemon.write({unique_name: {**target, "every": "2s", "config": model("rf")}})
        with daemon:
            said = daemon.wait_for("server.unavailable")
            assert daemon.status()["server"]["available"] is False
            time.sleep(2)
            server.start()
            daemon.wait_for("server.back")
            until(lambda: len(daemon.started()) >= 3)
            assert daemon.status()["server"]["available"] is True
            daemon.finish()
            rows = daemon.history()
            assert {row["state"] for row in rows} == {"started"}
            same_runs(rows, seeder.runs(unique_name))
            assert instant(rows[0]["fire_time"]) <= instant(said["timestamp"])


def test_every_minute_and_every_five_seconds(minute: Minute, servers: ServerPool) -> None:
    """The last test here, so that the minute has passed meanwhile."""
    slow, quick = f"{minute.name}-cron", f"{minute.name}-every"
    for version, daemon in minute.daemons.items():
        seeder = servers.seeder(servers.get(version))
        until(lambda daemon=daemon: daemon.started(slow), 100)
        until(lambda daemon=daemon: len(daemon.started(quick)) >= 4)
        until(lambda daemon=daemon: all(row["run_status"] == "completed" for row in daemon.started(quick)[:2]))
        daemon.finish()
        rows = daemon.history()
        print(version, len(rows), "fires, at most", max(row["lateness_seconds"] for row in rows), "s late")
        assert {row["state"] for row in rows} == {"started"}
        same_runs(daemon.started(), seeder.runs(minute.name))
        assert {instant(row["fire_time"]).second for row in daemon.history(slow)} == {0}
        times = [instant(row["fire_time"]).timestamp() for row in daemon.history(quick)]
        assert times == [times[0] + 5 * n for n in range(len(times))]
        assert times[0] % 5 == 0
        for run in seeder.runs(minute.name):
            assert seeder.run_parameters(run) == RF
        statuses = [line["status"] for line in daemon.events("run.status", run_id=daemon.started(quick)[0]["run_id"])]
        assert statuses[-1] == "completed", daemon.log()
        assert not daemon.stray
