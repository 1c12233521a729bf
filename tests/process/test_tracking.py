"""Runs are followed to their end on real servers of each generation; their statuses are moved as orchestrators do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from process.daemon import Daemon, instant, model, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zendaemon.demo.seed import Seeder
    from zendaemon.demo.server import ZenMLServer


@dataclass
class On:
    """A daemon with schedules of one run each, on a server of its generation."""

    daemon: Daemon
    seeder: Seeder
    name: str
    target: dict[str, Any]

    def start(self, count: int = 1, **keys: Any) -> list[str]:  # noqa: ANN401 - as in a file
        """The ids of the runs, of as many schedules."""
        once = {"every": "1s", "max_runs": 1, "config": model("rf"), **self.target, **keys}
        self.daemon.write({f"{self.name}-{number}": once for number in range(count)})
        self.daemon.start()
        until(lambda: len(self.daemon.started()) == count)
        return [row["run_id"] for row in sorted(self.daemon.started(), key=lambda row: str(row["schedule"]))]

    def move(self, status: str, *run_ids: str) -> None:
        for run_id in run_ids:
            self.seeder.set_status(run_id, status)

    def row(self, run_id: str) -> dict[str, Any]:
        [row] = [row for row in self.daemon.started() if row["run_id"] == run_id]
        return row

    def statuses(self) -> list[str]:
        return sorted(row["run_status"] for row in self.daemon.started())


@pytest.fixture
def on(server: ZenMLServer, seeder: Seeder, unique_name: str, tmp_path: Path) -> Iterator[On]:
    target = seeder.runnable(unique_name, version="45").target
    daemon = Daemon(tmp_path, server.url, username=None, api_key=seeder.service_account())
    yield On(daemon, seeder, unique_name, target)
    daemon.kill()


def test_runs_are_followed_to_their_ends_over_a_restart(on: On) -> None:
    """Some end while the daemon is there, some while it is not, some after."""
    run_ids = before, away, after = on.start(3)
    on.move("running", *run_ids)
    until(lambda: on.statuses() == ["running"] * 3)
    on.move("completed", before)
    on.daemon.wait_for("run.status", status="completed", run_id=before)
    on.daemon.kill()
    on.move("completed", away)
    assert on.row(away)["run_status"] == "running"
    on.daemon.start()
    on.daemon.wait_for("run.status", status="completed", run_id=away)
    on.move("failed", after)
    on.daemon.wait_for("run.status", status="failed", run_id=after, level="error")
    until(lambda: on.statuses() == ["completed", "completed", "failed"])
    for run_id in run_ids:
        row = on.row(run_id)
        assert instant(row["fire_time"]) <= instant(row["run_started_at"]) <= instant(row["run_ended_at"])
    assert on.daemon.events("run.status", run_id=before) == [], "it had ended, and is not looked at any more"
    assert on.daemon.stop() == 0


def test_a_run_that_is_deleted_on_the_server_is_said_to_be(on: On) -> None:
    gone, there = on.start(2)
    on.seeder.call("DELETE", f"runs/{gone}")
    said = on.daemon.wait_for("run.deleted", run_id=gone)
    assert (said["level"], said["was"], said["schedule"]) == ("error", "initializing", f"{on.name}-0")
    assert (on.row(gone)["run_status"], on.row(gone)["run_ended_at"]) == ("deleted", None)
    on.move("running", there)
    on.daemon.wait_for("run.status", status="running", run_id=there)
    assert len(on.daemon.events("run.deleted")) == 1


def test_a_run_that_is_stuck_is_said_to_be_until_it_moves(on: On) -> None:
    [run_id] = on.start(stuck_after="3s")
    stuck = on.daemon.wait_for("run.stuck", status="initializing", run_id=run_id)
    assert stuck["for_seconds"] >= 3
    on.move("running", run_id)
    on.daemon.wait_for("run.unstuck", status="running", was="initializing")
    on.daemon.wait_for("run.stuck", status="running")
    on.daemon.kill()
    on.daemon.start()
    on.daemon.wait_for("run.stuck", status="running")
    on.move("completed", run_id)
    on.daemon.wait_for("run.unstuck", status="completed", was="running")
    assert len(on.daemon.events("run.stuck")) == 1
