"""kill -9 at every moment, lost answers, names of others: each fire gets at most one run, and the journal knows it.

The points between two steps of the daemon are hit from outside: the line to the server holds a request, or keeps back
its answer, for as long as it takes to kill the daemon.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from process.daemon import Daemon, Deed, Line, every_second, instant, model, run_name, same_runs, starts, text_of, until

from zendaemon.demo.server import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Seeder

VERSIONS = ["0.62.0", "0.75.0", "0.98.0"]
SETTLE_AFTER = 3
RF = {"model_trainer": {"model_type": "rf"}}


@dataclass(frozen=True, slots=True)
class Scene:
    """A generation's server behind a line, and a daemon, not started yet, with a schedule that gets one run."""

    version: str
    name: str
    seeder: Seeder
    line: Line
    daemon: Daemon

    def only_row(self) -> dict[str, Any]:
        """The one started fire, which has the one run that there is on the server."""
        until(lambda: self.daemon.started() and not self.daemon.open_claims())
        [row], [run] = self.daemon.started(), self.seeder.runs(self.name)
        same_runs([row], [run])
        assert self.seeder.run_parameters(run) == RF
        others = [other for other in self.daemon.history() if other["fire_time"] != row["fire_time"]]  # its run goes on
        assert {other["reason"] for other in others} <= {"max_runs", "catchup_latest"}
        return row


Everywhere = Callable[[Callable[[Scene], None]], None]


@pytest.fixture
def everywhere(servers: ServerPool, tmp_path: Path, unique_name: str) -> Everywhere:
    """Plays a scene on every generation, on all at once, since most of it is waiting."""
    seeders = {version: servers.seeder(servers.get(version)) for version in VERSIONS}
    ports = {version: servers.get(version).port for version in VERSIONS}

    def play(version: str, act: Callable[[Scene], None]) -> None:
        seeder = seeders[version]
        with Line(ports[version]) as line:
            daemon = Daemon(tmp_path / version, line.url, settle_after=f"{SETTLE_AFTER}s")
            target = seeder.runnable(unique_name).target
            once = {"every": "1s", "max_runs": 1}  # due soon, and one run, whatever the machine's speed
            daemon.write({unique_name: {**target, **once, "config": model("rf")}})
            try:
                act(Scene(version, unique_name, seeder, line, daemon))
            except BaseException as error:
                error.add_note(f"on ZenML {version}; the daemon's log:\n{daemon.log()}")
                raise
            finally:
                daemon.kill()

    def all_of_them(act: Callable[[Scene], None]) -> None:
        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(play, version, act) for version in VERSIONS]:
                done.result()

    return all_of_them


@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
def test_killed_between_claim_and_post(everywhere: Everywhere, *, late: bool) -> None:
    """The claim is on disk, the request never came; or it comes late, when the next daemon is at work already."""

    def act(on: Scene) -> None:
        on.line.rule = starts(Deed.HOLD, times=1)
        on.daemon.start()
        assert on.line.reached.wait(60)
        on.daemon.kill()
        [claim] = on.daemon.open_claims()
        assert (claim["run_name"], claim["run_id"]) == (run_name(on.name, claim["fire_time"]), None)
        assert on.seeder.runs(on.name) == []

        on.daemon.start()
        if late:
            on.line.release()
        row = on.only_row()
        assert row["fire_time"] == claim["fire_time"]
        time.sleep(1)  # for a second run, should there be one
        same_runs([row], on.seeder.runs(on.name))
        if on.version == "0.62.0":  # without unique names, what was lost is waited for before another start
            assert len(on.line.starts) == (1 if late else 2)

    everywhere(act)


def test_killed_between_post_and_record(everywhere: Everywhere) -> None:
    def act(on: Scene) -> None:
        on.line.rule = starts(Deed.WITHHOLD, times=1)
        on.daemon.start()
        assert on.line.reached.wait(60)
        on.daemon.kill()
        [claim] = on.daemon.open_claims()
        [run] = on.seeder.runs(on.name)

        on.daemon.start()
        row = on.only_row()
        assert (row["fire_time"], row["run_id"]) == (claim["fire_time"], run["id"])
        assert len(on.line.starts) == 1, "the run was there: there was nothing to start"

    everywhere(act)


def test_the_answer_is_lost(everywhere: Everywhere) -> None:
    def act(on: Scene) -> None:
        on.line.rule = starts(Deed.CUT, times=1)
        on.daemon.start()
        row = on.only_row()
        assert len(on.line.starts) == 1
        assert row["attempts"] == 1
        assert len(on.daemon.events("fire.uncertain")) == 1
        said = on.daemon.wait_for("fire.started")
        assert (said["run_id"], said["attempt"]) == (row["run_id"], 1)

    everywhere(act)


def test_the_request_is_lost(everywhere: Everywhere) -> None:
    def act(on: Scene) -> None:
        on.line.rule = starts(Deed.DROP, times=1)
        on.daemon.start()
        row = on.only_row()
        assert [call.deed for call in on.line.starts] == [Deed.DROP, Deed.PASS]
        assert row["attempts"] == 2
        uncertain, closing = on.daemon.wait_for("fire.uncertain"), on.daemon.wait_for("fire.started")
        waited = instant(closing["timestamp"]) - instant(uncertain["timestamp"])
        if on.version == "0.62.0":  # the server might still have been at it
            assert waited >= timedelta(seconds=SETTLE_AFTER - 0.1)

    everywhere(act)


def test_a_name_that_is_taken(everywhere: Everywhere) -> None:
    """A run with the fire's name, of another pipeline, or of the same one from before the fire time, is not ours."""

    def act(on: Scene) -> None:
        runnable = on.seeder.runnable(on.name)
        before = on.version == "0.98.0"
        theirs = runnable if before else on.seeder.runnable(f"{on.name}-other")
        on.daemon.write({on.name: {**runnable.target, "every": "2s", "config": model("rf")}})
        on.daemon.start()
        ahead = 20 if before else 10  # a busy server takes its time, and what is from before is so by more than 5 s
        moment = (datetime.now(UTC) + timedelta(seconds=ahead)).replace(microsecond=0)
        taken = text_of(moment + timedelta(seconds=moment.second % 2))
        run = on.seeder.fire(theirs, {"run_name": run_name(on.name, taken), **model("svc")})
        until(lambda: any(row["fire_time"] > taken for row in on.daemon.started()))
        said = on.daemon.wait_for("fire.failed")
        [row] = [row for row in on.daemon.history() if row["fire_time"] == taken]
        assert (row["state"], row["reason"], row["run_id"]) == ("failed", "name_taken", None)
        assert run["id"] in row["message"]
        assert (said["reason"], said["fire_time"], said["level"]) == ("name_taken", taken, "error")
        on.daemon.finish()
        assert on.daemon.events("fire.failed") == [said]
        ours = [other for other in on.seeder.runs(f"{on.name}-2") if other["id"] != run["id"]]
        same_runs(on.daemon.started(), ours)

    everywhere(act)


def test_killed_again_and_again(servers: ServerPool, tmp_path: Path, unique_name: str) -> None:
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    target = seeder.runnable(unique_name).target
    seed = random.randrange(1 << 32)  # noqa: S311 - instants, not secrets
    print(f"seed {seed}")
    dice = random.Random(seed)  # noqa: S311
    daemon = Daemon(tmp_path, server.url, settle_after="2s")
    daemon.write({unique_name: {**target, "every": "1s", "catchup": "all", "config": model("rf")}})
    with server.behaving(Workload(run_seconds=0)), daemon:
        for _ in range(10):
            time.sleep(dice.uniform(0, 1.5))
            daemon.kill()
            daemon.start(ready=False)
            if dice.random() < 0.7:
                daemon.wait_for("daemon.ready")
        daemon.wait_for("daemon.ready")
        count = len(daemon.history())
        until(lambda: len(daemon.history()) > count)
        daemon.finish()
    rows = daemon.history()
    print(f"{len(rows)} fires")
    assert [row["fire_time"] for row in rows] == every_second(rows)
    assert {row["state"] for row in rows} == {"started"}
    same_runs(daemon.started(), seeder.runs(unique_name))
