"""Overlap, failed runs and dependencies on real servers; statuses are moved through the servers' own API."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from process.daemon import Daemon, instant, model, same_runs, until
from standin.receivers import Hook

from zendaemon.demo.server import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Seeder

SECONDLY = {"every": "1s", "config": model("rf")}


@dataclass
class On:
    """A daemon, and its pipeline on a server of one generation."""

    daemon: Daemon
    seeder: Seeder
    name: str
    target: dict[str, Any]

    def start(self, **keys: Any) -> None:  # noqa: ANN401 - as in a file
        self.daemon.write({self.name: {**SECONDLY, **self.target, **keys}})
        self.daemon.start()

    def runs(self) -> list[dict[str, Any]]:
        return self.seeder.runs(self.name)

    def move(self, run: dict[str, Any], status: str) -> None:
        self.seeder.set_status(run["id"], status)

    def rows(self, state: str, reason: str | None = None) -> list[dict[str, Any]]:
        return [row for row in self.daemon.history() if (row["state"], row["reason"]) == (state, reason)]


@pytest.fixture(params=["0.62.0", "0.98.0"])
def on(request: pytest.FixtureRequest, servers: ServerPool, unique_name: str, tmp_path: Path) -> Iterator[On]:
    server = servers.get(request.param)
    seeder = servers.seeder(server)
    target = seeder.runnable(unique_name, version="45").target
    daemon = Daemon(tmp_path, server.url)
    yield On(daemon, seeder, unique_name, target)
    daemon.kill()


only_new = pytest.mark.parametrize("on", ["0.98.0"], indirect=True)


def test_skip(on: On) -> None:
    on.start(overlap="skip")
    [first] = until(on.runs)
    text = f"run {first['name']} is active"
    until(lambda: [row["message"] for row in on.rows("skipped", "overlap")].count(text) >= 3)
    assert len(on.runs()) == 1
    on.move(first, "completed")
    moved = time.monotonic()
    until(lambda: len(on.runs()) == 2)
    print(f"{time.monotonic() - moved:.1f} s from the end to the next run")


def test_buffer_one_over_a_restart(on: On) -> None:
    on.start(overlap="buffer_one")
    [first] = until(on.runs)
    time.sleep(3)
    assert len(on.daemon.history()) == 1, "what waits is not decided"
    on.daemon.kill()
    on.move(first, "completed")
    on.daemon.start()
    until(lambda: len(on.runs()) == 2)
    second = on.runs()[1]
    until(lambda: len(on.daemon.started()) == 2 and not on.daemon.open_claims())
    on.move(second, "failed")
    until(lambda: len(on.daemon.started()) == 3)
    same_runs(on.daemon.started(), on.runs())


def test_allow(on: On) -> None:
    on.start(overlap="allow", max_runs=3)
    until(lambda: len(on.daemon.started()) == 3)
    assert {run["body"]["status"] for run in on.runs()} == {"initializing"}


def test_a_stuck_run_is_let_go_after_its_timeout(on: On) -> None:
    on.start(overlap="skip", overlap_timeout="4s", max_runs=2)
    until(lambda: len(on.daemon.started()) == 2)
    first, second = sorted(on.daemon.started(), key=lambda row: str(row["fire_time"]))
    assert 4 <= (instant(second["fire_time"]) - instant(first["fire_time"])).total_seconds() <= 15
    assert {run["body"]["status"] for run in on.runs()} == {"initializing"}


def test_runs_that_others_made_count_where_that_is_wanted(on: On) -> None:
    by_hand = on.daemon  # the same target, started beside the schedule
    by_hand.write({f"{on.name}-hand": {**on.target, "every": "1s", "max_runs": 1, "config": model("rf")}})
    by_hand.start()
    until(lambda: len(by_hand.started()) == 1)
    [active] = on.runs()
    by_hand.write({on.name: {**SECONDLY, **on.target, "overlap": "skip", "overlap_scope": "pipeline", "max_runs": 1}})
    assert by_hand.reload().returncode == 0
    until(lambda: len(on.rows("skipped", "overlap")) >= 2)
    assert {row["message"] for row in on.rows("skipped", "overlap")} == {
        f"run {active['name']} of pipeline {on.target.get('pipeline', on.name)} is active"
    }
    on.move(active, "completed")
    until(lambda: on.daemon.started(on.name))


def test_a_run_that_fails_is_run_again_until_the_schedule_is_paused_and_that_is_told(on: On, tmp_path: Path) -> None:
    with Hook() as hook:
        config = tmp_path / "zendaemon.toml"
        config.write_text(f'[notify.hook]\nwebhook = "{hook.url}/in"\n')
        on.daemon.settings["config"] = config
        on.start(overlap="skip", on_run_failure={"retry_run": 1, "delay": "1s"}, pause_after_failures=2)
        for _ in range(2):
            [first] = until(lambda: [run for run in on.runs() if run["body"]["status"] == "initializing"])
            on.move(first, "failed")
            [second] = until(lambda name=first["name"]: [run for run in on.runs() if run["name"] == f"{name}-r1"])
            on.move(second, "failed")
        paused = on.daemon.wait_for("schedule.paused", schedule=on.name, by="failures")
        assert "the runs of 2 fires in a row failed" in paused["note"]
        until(lambda: on.rows("skipped", "paused"))
        rows = on.rows("started")
        assert [len(row["earlier_runs"]) for row in rows] == [1, 1]
        names = {name for row in rows for name in (row["run_name"], row["earlier_runs"][0]["run_name"])}
        assert {run["name"] for run in on.runs()} == names
        assert len(on.runs()) == 4
        assert on.daemon.status()["counts"]["paused"] == 1
        told = until(lambda: [alert for alert in alerts(hook) if alert["kind"] == "paused"])
        assert told[0]["schedules"] == [on.name]
        assert on.daemon.command("resume", on.name).returncode == 0
        until(lambda: len(on.runs()) == 5)


def alerts(hook: Hook) -> list[dict[str, Any]]:
    return [json.loads(post.body)["data"] for post in hook.taken]


def test_a_next_run_over_a_kill(on: On) -> None:
    on.start(max_runs=1, on_run_failure={"retry_run": 2, "delay": "3s"})
    [first] = until(on.runs)
    on.move(first, "failed")
    on.daemon.wait_for("run.retry")
    until(lambda: on.daemon.started()[0]["retry_at"])
    on.daemon.kill()
    on.daemon.start()
    until(lambda: len(on.runs()) == 2)
    on.daemon.kill()
    on.daemon.start()
    on.move(on.runs()[1], "completed")
    until(lambda: on.daemon.started() and on.daemon.started()[0]["run_status"] == "completed")
    [row] = on.daemon.started()
    assert [run["run_name"] for run in row["earlier_runs"]] == [first["name"]]
    assert sorted(run["name"] for run in on.runs()) == [first["name"], f"{first['name']}-r1"]


def test_what_depends_on_another_waits_for_its_success(on: On) -> None:
    extract, report = f"{on.name}-extract", f"{on.name}-report"
    once = {**on.target, **SECONDLY, "max_runs": 1}
    on.daemon.write({extract: once, report: {**once, "depends_on": extract, "priority": 100}})
    on.daemon.start()
    [first] = until(on.runs)
    time.sleep(3)
    assert [run["name"] for run in on.runs()] == [first["name"]]
    on.move(first, "completed")
    until(lambda: on.daemon.started(report))


@only_new
def test_cancel_running_stops_the_run_and_starts_another(on: On, servers: ServerPool) -> None:
    server = servers.get("0.98.0")
    with server.behaving(Workload(stop_seconds=1)):
        on.start(every="6s", overlap="cancel_running")
        [first] = until(on.runs)
        on.move(first, "running")
        until(lambda: len(on.runs()) == 2)
        assert on.runs()[0]["body"]["status"] == "stopped"
        until(lambda: "stopped" in {row["run_status"] for row in on.daemon.started()})


@pytest.mark.parametrize("on", ["0.62.0"], indirect=True)
def test_where_runs_cannot_be_stopped_the_files_are_refused(on: On) -> None:
    on.daemon.write({on.name: {**SECONDLY, **on.target, "overlap": "cancel_running"}})
    done = on.daemon.command("check", str(on.daemon.schedules))
    assert done.returncode == 1
    assert "servers that start builds (up to 0.62) cannot stop runs; use skip or buffer_one" in done.stdout
