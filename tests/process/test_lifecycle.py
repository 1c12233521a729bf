"""Start, stop, signals, sleep: the process and its folders."""

from __future__ import annotations

import os
import stat
import time
from datetime import timedelta
from itertools import pairwise
from signal import SIGCONT, SIGINT, SIGSTOP, SIGTERM
from typing import TYPE_CHECKING

import pytest
from process.daemon import Daemon, Deed, Line, instant, model, same_runs, starts, until

if TYPE_CHECKING:
    from pathlib import Path

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Seeder
    from zendaemon.demo.server import ZenMLServer

NOWHERE = "http://127.0.0.1:9"
"""A server that is never there: for what needs none."""


@pytest.fixture
def newest(servers: ServerPool) -> ZenMLServer:
    return servers.get("0.98.0")


@pytest.fixture
def its_seeder(servers: ServerPool, newest: ZenMLServer) -> Seeder:
    return servers.seeder(newest)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_stop_drains_the_attempts_in_hand(
    newest: ZenMLServer, its_seeder: Seeder, tmp_path: Path, unique_name: str, number: int
) -> None:
    with Line(newest.port) as line:
        line.rule = starts(Deed.SLOW, times=1)
        daemon = Daemon(tmp_path, line.url)
        target = its_seeder.runnable(unique_name).target
        daemon.write({unique_name: {**target, "every": "1s", "max_runs": 1, "config": model("rf")}})
        with daemon:
            assert line.reached.wait(60)
            assert daemon.open_claims()
            assert daemon.stop(number) == 0
        assert not daemon.open_claims()
        same_runs(daemon.started(), its_seeder.runs(unique_name))
        assert len(daemon.started()) == 1
        assert daemon.events("daemon.draining")
        assert daemon.lines[-1]["event"] == "daemon.stopped"
        assert daemon.lines[-1]["left"] == 0
        assert not daemon.stray
        assert not (daemon.state / "control.sock").exists()


def test_the_last_moments_before_a_fire_are_used(
    newest: ZenMLServer, its_seeder: Seeder, tmp_path: Path, unique_name: str
) -> None:
    """A question that nothing else needs comes just before the start."""
    with Line(newest.port) as line:
        daemon = Daemon(tmp_path, line.url)
        target = its_seeder.runnable(unique_name).target
        daemon.write({unique_name: {**target, "every": "5s", "max_runs": 1, "config": model("rf")}})
        with daemon:
            until(daemon.started)
            same_runs(daemon.started(), its_seeder.runs(unique_name))
        asked = [call.path.rpartition("/")[2] for call in line.calls if call.is_start or "current-user" in call.path]
        assert asked == ["current-user", "runs"]


def test_a_second_signal_stops_at_once(
    newest: ZenMLServer, its_seeder: Seeder, tmp_path: Path, unique_name: str
) -> None:
    """What is in hand then stays claimed, and the next start settles it."""
    with Line(newest.port) as line:
        line.rule = starts(Deed.WITHHOLD, times=1)
        daemon = Daemon(tmp_path, line.url)
        target = its_seeder.runnable(unique_name).target
        daemon.write({unique_name: {**target, "every": "1s", "max_runs": 1, "config": model("rf")}})
        with daemon:
            assert line.reached.wait(60)
            daemon.send(SIGTERM)
            daemon.wait_for("daemon.draining")
            begin = time.monotonic()
            daemon.send(SIGTERM)
            assert daemon.ended() == 128 + SIGTERM
            assert time.monotonic() - begin < 10, "the drain would have taken 30 s"
            assert len(daemon.open_claims()) == 1

            daemon.start()
            until(daemon.started)
            same_runs(daemon.started(), its_seeder.runs(unique_name))


def test_a_drain_has_an_end(newest: ZenMLServer, its_seeder: Seeder, tmp_path: Path, unique_name: str) -> None:
    with Line(newest.port) as line:
        line.rule = starts(Deed.WITHHOLD)
        daemon = Daemon(tmp_path, line.url, drain_timeout="1s")
        target = its_seeder.runnable(unique_name).target
        daemon.write({unique_name: {**target, "every": "1s", "max_runs": 1, "config": model("rf")}})
        with daemon:
            assert line.reached.wait(60)
            assert daemon.stop() == 0
        assert len(daemon.open_claims()) == 1
        assert daemon.lines[-1]["left"] == 1
        assert not daemon.stray, daemon.log()


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path, NOWHERE) as daemon:
        second = daemon.command("run")
        assert second.returncode == 1
        assert f"another zendaemon (PID {daemon.pid})" in second.stderr
        assert "Traceback" not in second.stderr
        assert daemon.status()["pid"] == daemon.pid, "the first one serves on"
        daemon.kill()
        daemon.start()  # a lock that a killed daemon left is none
        assert daemon.status()["pid"] == daemon.pid


def test_nobody_else_may_look(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with Daemon(tmp_path, NOWHERE) as daemon:
            assert mode(daemon.state) == 0o700
            assert mode(daemon.state / "control.sock") == 0o600
            assert stat.S_ISSOCK((daemon.state / "control.sock").lstat().st_mode)
    finally:
        os.umask(old)


def test_invalid_files_at_the_start(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, NOWHERE)
    daemon.write_text("schedules:\n  a:\n    snapshot: prod\n    cron: nonsense\n", "a.yaml")
    daemon.write_text("schedules:\n  b:\n    snapshot: prod\n    every: 5x\n", "b.yaml")
    with daemon.start(ready=False):
        assert daemon.ended() == 1
    places = [(line["file"].rpartition("/")[2], line["line"]) for line in daemon.events("reload.problem")]
    assert places == [("a.yaml", 4), ("b.yaml", 4)]
    assert not daemon.stray


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"server_url": None}, "ZENDAEMON_SERVER_URL"),
        ({"username": None}, "ZENDAEMON_API_KEY"),
        ({"max_concurrency": "many"}, "ZENDAEMON_MAX_CONCURRENCY"),
        ({"drain_timeout": "soon"}, "ZENDAEMON_DRAIN_TIMEOUT"),
        ({"server_url": "ftp://x"}, "https://"),
        ({"api_key_file": "/nonexistent"}, "/nonexistent"),
    ],
    ids=str,
)
def test_settings_that_are_missing_or_wrong(tmp_path: Path, settings: dict[str, object], word: str) -> None:
    ended = Daemon(tmp_path, NOWHERE).command("run", **settings)
    assert ended.returncode == 2
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_state_folder_deep_down(tmp_path: Path) -> None:
    """Longer than the 108 bytes that the address of a socket has."""
    deep = tmp_path / ("d" * 60) / ("e" * 60) / "state"
    daemon = Daemon(tmp_path, NOWHERE, state=deep)
    with daemon:
        assert len(str(deep / "control.sock")) > 108
        assert daemon.command("status").returncode == 0
        assert daemon.command("reload").returncode == 0
    assert mode(deep) == 0o700


def test_a_sleep(newest: ZenMLServer, its_seeder: Seeder, tmp_path: Path, unique_name: str) -> None:
    """What came due while the process stood still is a misfire: decided by the catch-up policy, and nothing twice."""
    target = its_seeder.runnable(unique_name).target
    policies = {f"{unique_name}-{catchup}": catchup for catchup in ("all", "latest", "none")}
    daemon = Daemon(tmp_path, newest.url)
    daemon.write(
        {
            name: {**target, "every": "1s" if catchup != "all" else "3s", "catchup": catchup, "config": model("rf")}
            for name, catchup in policies.items()
        }
    )
    with daemon:
        until(lambda: all(daemon.started(name) for name in policies))
        daemon.send(SIGSTOP)
        time.sleep(12)
        daemon.send(SIGCONT)
        jumped = daemon.wait_for("clock.jumped")
        assert jumped["seconds"] > 10
        woken = {name: len(daemon.history(name)) for name in policies}
        until(lambda: all(len(daemon.history(name)) > woken[name] + 1 for name in policies))
        daemon.finish()
    for name, catchup in policies.items():
        rows = daemon.history(name)
        missed = {row["reason"] for row in rows if row["state"] == "missed"}
        assert missed == ({f"catchup_{catchup}"} if catchup != "all" else set())
        times = [row["fire_time"] for row in rows]
        gaps = {instant(after) - instant(before) for before, after in pairwise(times)}
        assert gaps == {timedelta(seconds=3 if catchup == "all" else 1)}
        assert {row["state"] for row in rows} <= {"started", "missed"}
        same_runs(daemon.started(name), its_seeder.runs(name))
