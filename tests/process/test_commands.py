"""Every command as a program sees it: its keys, its exit status, its instants."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from process.daemon import ZENDAEMON, Daemon, model, until

from zendaemon.core.shown import ShownSchedule, ShownServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess, Popen

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Seeder

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FIRE = {
    "schedule",
    "fire_time",
    "manual",
    "state",
    "reason",
    "message",
    "run_id",
    "run_name",
    "run_status",
    "attempts",
    "lateness_seconds",
    "decided_at",
    "run_started_at",
    "run_ended_at",
    "earlier_runs",
    "retry_at",
}
PAUSE = {"schedule", "since", "until", "note", "by"}
TARGET = {"schedule", "target", "kind", "id", "resolved_at", "error"}
WARNING = {"file", "line", "column", "schedule", "code", "message"}
NOWHERE = "http://127.0.0.1:9"


def rows(answer: CompletedProcess[str]) -> list[dict[str, Any]]:
    assert "Traceback" not in answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.fixture(scope="module")
def its_seeder(servers: ServerPool) -> Seeder:
    return servers.seeder(servers.get("0.98.0"))


@pytest.fixture(scope="module")
def daemon(servers: ServerPool, its_seeder: Seeder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """With `good`, which fires every second, `off`, `later` and, unresolved, `bad`."""
    folder = tmp_path_factory.mktemp("commands")
    name = folder.name
    target = its_seeder.runnable(name).target
    daemon = Daemon(folder, servers.get("0.98.0").url)
    daemon.write(
        {
            f"{name}-good": {**target, "every": "1s", "config": model("rf")},
            f"{name}-later": {**target, "cron": "0 2 * * *", "timezone": "Europe/Berlin", "config": model("rf")},
            f"{name}-off": {**target, "every": "1s", "enabled": False},
            f"{name}-bad": {"snapshot": f"{name}-prd", "at": "2999-01-01"},
        }
    )
    with daemon:
        daemon.wait_for("schedule.unresolved")
        until(lambda: len(daemon.started()) >= 3)
        yield daemon


@pytest.fixture
def idle(tmp_path: Path) -> Daemon:
    """Folders without a daemon."""
    return Daemon(tmp_path, NOWHERE)


def test_check(idle: Daemon) -> None:
    idle.write({"a": {"snapshot": "prod", "every": "5s"}})
    answer = idle.command("check")
    assert (answer.returncode, answer.stdout) == (0, "1 schedule, no problems\n")
    [row] = rows(idle.command("check", "--json"))
    assert row == {"valid": True, "schedules": 1, "problems": [], "warnings": []}

    odd = {"snapshot": "prod", "cron": "*/7 * * * *", "timezone": "US/Eastern", "ignore": ["renamed-zone"]}
    idle.write({"a": odd})
    answer = idle.command("check")
    assert (answer.returncode, answer.stdout) == (0, "1 schedule, no problems, 1 warning\n")
    assert re.fullmatch(r".*schedules\.yaml:\d+:\d+: warning: a: minute .+ \[uneven-step\]\n", answer.stderr)
    assert idle.command("check", "--strict").returncode == 1
    answer = idle.command("check", "--strict", "--json")
    [warning] = rows(answer)[0]["warnings"]
    assert (answer.returncode, set(warning)) == (1, WARNING)
    assert (warning["schedule"], warning["code"]) == ("a", "uneven-step")
    idle.write({"a": {**odd, "ignore": ["renamed-zone", "uneven-step"]}})
    assert idle.command("check", "--strict").returncode == 0

    bad = idle.write_text("schedules:\n  b:\n    snapshot: prod\n    evry: 5s\n", "bad.yaml")
    answer = idle.command("check")
    assert answer.returncode == 1
    assert all(re.fullmatch(r".*bad\.yaml:\d+:\d+: .+", line) for line in answer.stdout.splitlines())
    assert "bad.yaml:4:5: " in answer.stdout
    answer = idle.command("check", "--json", str(bad))
    [row] = rows(answer)
    assert (answer.returncode, row["valid"], row["schedules"]) == (1, False, None)
    assert {frozenset(problem) for problem in row["problems"]} == {
        frozenset({"file", "line", "column", "message", "remedy"})
    }
    assert idle.command("check", str(idle.schedules / "schedules.yaml")).returncode == 0
    assert idle.command("check", "/nonexistent").returncode == 1
    assert idle.command("check", "--nonsense").returncode == 2


def test_next(idle: Daemon) -> None:
    idle.write(
        {
            "a": {"snapshot": "prod", "cron": "0 2 * * *", "timezone": "Europe/Berlin"},
            "off": {"snapshot": "prod", "every": "1h", "enabled": False},
        }
    )
    answer = idle.command("next", "--after", "2026-11-22T12:00:00Z", "--count", "2", "--json")
    assert answer.returncode == 0
    first = {
        "schedule": "a",
        "fire_time": "2026-11-23T01:00:00Z",
        "local_time": "2026-11-23T02:00:00+01:00",
        "timezone": "Europe/Berlin",
        "explanation": "at 02:00 every day, Europe/Berlin",
        "note": None,
    }
    assert rows(answer)[0] == first
    assert [row["fire_time"] for row in rows(answer)] == ["2026-11-23T01:00:00Z", "2026-11-24T01:00:00Z"]
    answer = idle.command("next", "off", "--after", "2026-11-22T12:00:00+00:00", "--count", "1", "--json")
    assert [row["fire_time"] for row in rows(answer)] == ["2026-11-22T13:00:00Z"]
    shown = idle.command("next", "--after", "2026-11-22T12:00:00Z").stdout
    assert shown.startswith("a: at 02:00 every day, Europe/Berlin\n\n")
    assert "2026-11-23T01:00:00Z" in shown
    spring = ("next", "--after", "2027-03-27T12:00:00Z", "--count", "1")
    gone = "02:00 does not exist on that day: fires at 03:00, when the clock is set forward, as one with 03:00 itself"
    idle.write({"a": {"snapshot": "prod", "cron": "0 2,3 * * *", "timezone": "Europe/Berlin"}})
    assert [row["note"] for row in rows(idle.command(*spring, "--json"))] == [gone]
    assert gone in idle.command(*spring).stdout
    idle.write({"off": {"snapshot": "prod", "every": "1h", "enabled": False}})
    answer = idle.command("next", "of")
    assert answer.returncode == 1
    assert "did you mean off?" in answer.stderr
    assert idle.command("next", "--after", "soon").returncode == 2


def test_next_of_an_expression(idle: Daemon) -> None:
    cron = ("next", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin", "--after", "2026-11-22T12:00:00Z")
    answer = idle.command(*cron, "--count", "10", "--json")
    assert [row["fire_time"] for row in rows(answer)][:2] == ["2026-11-23T01:00:00Z", "2026-11-24T01:00:00Z"]
    assert {row["schedule"] for row in rows(answer)} == {None}
    assert len(rows(answer)) == 10
    for wrong in (("--cron", "0 2 * *"), ("--cron", "0 2 * * *", "--timezone", "Europe/Berln"), ("--count", "0")):
        answer = idle.command("next", *wrong)
        assert answer.returncode == 2
        assert "Traceback" not in answer.stderr


def test_the_daemon_warns_once(idle: Daemon) -> None:
    """As `check` does, of what is new or changed."""
    odd = {"snapshot": "prod", "cron": "0 0 13 6 fri"}
    idle.write({"a": odd})
    with idle:
        assert idle.wait_for("schedule.suspect", schedule="a")["code"] == "both-day-fields"
        idle.write({"a": odd, "b": {**odd, "ignore": ["both-day-fields", "nonsense"]}})
        assert idle.command("reload").returncode == 0
        assert idle.wait_for("schedule.suspect", schedule="b")["code"] == "unknown-code"
        idle.write({"a": {**odd, "timezone": "US/Eastern"}})
        assert idle.command("reload").returncode == 0
        idle.wait_for("schedule.suspect", schedule="a", code="renamed-zone")
        assert idle.stop() == 0
        said = [(line["schedule"], line["code"]) for line in idle.events("schedule.suspect")]
    both = ("a", "both-day-fields")
    assert sorted(said) == sorted([both, ("b", "unknown-code"), both, ("a", "renamed-zone")])
    assert idle.stray == []


def test_version(idle: Daemon) -> None:
    [row] = rows(idle.command("version", "--json"))
    assert set(row) == {"zendaemon", "python", "tzdata", "tzdata_source"}
    shown = idle.command("version").stdout
    assert row["zendaemon"] in shown
    assert f"tzdata {row['tzdata'] or 'unknown'} ({row['tzdata_source']})" in shown


@pytest.mark.parametrize(
    "command", [["status"], ["reload"], ["fire", "a"], ["pause", "a"], ["resume", "a"]], ids=" ".join
)
def test_no_daemon(idle: Daemon, command: list[str]) -> None:
    answer = idle.command(*command)
    assert answer.returncode == 1
    assert f"no daemon runs with the state folder {idle.state}; start it with" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    if command == ["status"]:
        [row] = rows(idle.command("status", "--json"))
        assert row == {"state": "not running", "error": row["error"], "journal": None, "pauses": [], "fires": []}


def test_a_state_folder_that_was_left(idle: Daemon) -> None:
    """A socket without a daemon behind it, as after kill -9."""
    with idle:
        pass
    assert (idle.state / "control.sock").exists()
    assert idle.command("status").returncode == 1
    answer = idle.command("history", "--json")
    assert (answer.returncode, answer.stdout) == (0, "")


def test_no_journal_yet(idle: Daemon) -> None:
    assert idle.command("history", "--json").returncode == 0
    assert not idle.state.exists(), "looking makes nothing"


def test_usage(idle: Daemon) -> None:
    for wrong in (
        ["nonsense"],
        ["fire"],
        ["history", "--limit", "0"],
        ["history", "--limit", "x"],
        ["history", "--since", "soon"],
        ["history", "--reason", "because"],
        ["history", "--state", "a", "--state", "b"],
        ["status", "5"],
        ["pause"],
        ["pause", "a", "--for", "0s"],
        ["pause", "a", "--until", "soon"],
        ["pause", "a", "--until", "2999-01-01", "--for", "1h"],
    ):
        assert idle.command(*wrong).returncode == 2
    for page in (["--help"], ["run", "-h"], ["history", "--help"]):
        assert idle.command(*page).returncode == 0


def test_status(daemon: Daemon) -> None:
    name = daemon.folder.name
    answer = daemon.command("status", "--json")
    assert answer.returncode == 0
    [row] = rows(answer)
    assert row == {**row, "state": "running", "pid": daemon.pid}
    assert set(row) >= {"state", "version", "pid", "started_at", "server", "reload", "attempts", "unresolved"}
    assert set(row["server"]) == set(ShownServer.model_fields)
    assert (row["server"]["url"], row["server"]["available"]) == (daemon.settings["server_url"], True)
    assert row["counts"] == {"active": 2, "paused": 0, "unresolved": 1, "disabled": 1, "finished": 0}
    assert set(row["attempts"]) == {"in_flight", "waiting", "limit"}
    assert list(row["unresolved"]) == [f"{name}-bad"]
    schedules = {schedule["schedule"]: schedule for schedule in row["schedules"]}
    assert set(schedules) == {f"{name}-{what}" for what in ("good", "later", "off", "bad")}
    assert {frozenset(schedule) for schedule in row["schedules"]} == {frozenset(ShownSchedule.model_fields)}
    states = {"good": "active", "later": "active", "off": "disabled", "bad": "unresolved"}
    assert {one: shown["state"] for one, shown in schedules.items()} == {f"{name}-{k}": v for k, v in states.items()}
    assert set(schedules[f"{name}-good"]["last"]) == FIRE
    assert INSTANT.fullmatch(schedules[f"{name}-later"]["next_fire_time"])
    assert schedules[f"{name}-off"]["next_fire_time"] is None
    assert schedules[f"{name}-bad"]["next_fire_time"] == "2999-01-01T00:00:00Z"
    assert re.fullmatch(r".*schedules\.yaml:\d+", schedules[f"{name}-good"]["file"])
    assert re.match(INSTANT.pattern[:-1], row["started_at"])
    text = daemon.command("status").stdout
    assert f"PID {daemon.pid}" in text
    assert "schedules: 4: 2 active, 1 unresolved, 1 disabled" in text
    assert f"unresolved: {name}-bad: " in text
    shown = {line.split()[0]: line for line in text.splitlines() if line.startswith(name)}
    assert re.search(r" active +\S+Z \(in \S+\) +(claimed|started \S+), \S+Z +snapshot ", shown[f"{name}-good"])
    assert re.search(r" disabled +snapshot ", shown[f"{name}-off"])


def test_history(daemon: Daemon) -> None:
    name = f"{daemon.folder.name}-good"
    answer = daemon.command("history", "--json", "--limit", "3")
    assert answer.returncode == 0
    shown = rows(answer)
    assert len(shown) == 3
    assert {frozenset(row) for row in shown} == {frozenset(FIRE)}
    assert all(INSTANT.fullmatch(row["fire_time"]) for row in shown)
    times = [row["fire_time"] for row in shown]
    assert times == sorted(times, reverse=True)
    started = rows(daemon.command("history", name, "--json", "--state-is", "started"))
    assert {row["schedule"] for row in started} == {name}
    assert {row["state"] for row in started} == {"started"}
    refused = Counter(line["run_name"] for line in daemon.events("fire.retrying"))  # both start slots were taken
    for row in started[-2:]:
        assert row["attempts"] == 1 + refused[row["run_name"]], daemon.log()
        assert row["lateness_seconds"] >= 0
        assert row["run_id"]
    assert rows(daemon.command("history", "nobody", "--json")) == []
    assert started[-1]["run_id"] in daemon.command("history", "--limit", "1000").stdout


def test_fire(daemon: Daemon, its_seeder: Seeder) -> None:
    name = f"{daemon.folder.name}-later"
    answer = daemon.command("fire", name, "--wait", "--json")
    assert answer.returncode == 0
    [fire] = rows(answer)
    assert set(fire) == FIRE
    assert (fire["state"], fire["manual"], fire["schedule"]) == ("started", True, name)
    assert fire["run_name"].startswith(f"{name}-manual-")
    [run] = its_seeder.runs(name)
    assert (run["id"], run["name"]) == (fire["run_id"], fire["run_name"])
    assert its_seeder.run_parameters(run) == {"model_trainer": {"model_type": "rf"}}
    [row] = daemon.history(name)
    assert row == {**fire, "run_status": row["run_status"], "message": row["message"]}

    answer = daemon.command("fire", name, "--json")
    [fire] = rows(answer)
    assert (answer.returncode, fire["state"]) == (0, "claimed")
    until(lambda: len(daemon.started(name)) == 2)
    assert {row["run_id"] for row in daemon.started(name)} == {run["id"] for run in its_seeder.runs(name)}

    answer = daemon.command("fire", "nobody")
    assert answer.returncode == 1
    assert "there is no schedule 'nobody'" in answer.stderr
    answer = daemon.command("fire", f"{daemon.folder.name}-bad", "--wait", "--json")
    [fire] = rows(answer)
    assert (answer.returncode, fire["state"], fire["reason"]) == (1, "failed", "unresolved")
    assert daemon.command("fire", f"{daemon.folder.name}-off", "--wait").returncode == 0


def test_resolve(daemon: Daemon) -> None:
    name = daemon.folder.name
    answer = daemon.command("resolve", "--json")
    assert answer.returncode == 1, "one is unresolved"
    found = {row["schedule"]: row for row in rows(answer)}
    assert {frozenset(row) for row in found.values()} == {frozenset(TARGET)}
    assert set(found) == {f"{name}-{what}" for what in ("good", "later", "bad")}
    assert f"did you mean {name}-prod?" in found[f"{name}-bad"]["error"]
    assert found[f"{name}-good"]["kind"] == "snapshot"
    assert daemon.command("resolve", f"{name}-good").returncode == 0
    answer = daemon.command("resolve", "nobody")
    assert (answer.returncode, "there is no schedule 'nobody'" in answer.stderr) == (1, True)
    assert rows(daemon.command("resolve", f"{name}-off", "--json"))[0]["kind"] == "snapshot", "asked for by name"
    # Without a daemon the command asks the server itself.
    alone = daemon.command("resolve", f"{name}-good", "--json", state=daemon.folder / "other")
    assert alone.returncode == 0
    [row] = rows(alone)
    assert set(row) == TARGET
    assert row["id"] == found[f"{name}-good"]["id"]
    assert daemon.command("resolve", state=daemon.folder / "other", server_url=None).returncode == 2


def test_reload(daemon: Daemon) -> None:
    answer = daemon.command("reload")
    assert (answer.returncode, answer.stdout) == (0, "0 added, 0 changed, 0 removed, 4 unchanged\n")
    [row] = rows(daemon.command("reload", "--json"))
    assert row == {
        "applied": True,
        "changes": {"added": 0, "changed": 0, "removed": 0, "unchanged": 4},
        "problems": [],
        "error": None,
    }


def test_a_refused_reload(idle: Daemon) -> None:
    idle.write({"a": {"snapshot": "prod", "at": "2999-01-01"}})
    with idle:
        idle.write_text("schedules:\n  a:\n    snapshot: prod\n    evry: 5s\n", "bad.yaml")
        for command in (["reload"], ["reload", "--wait"]):
            answer = idle.command(*command)
            assert answer.returncode == 1
            lines = answer.stdout.splitlines()
            assert all(re.fullmatch(r".*\.yaml:\d+:\d+: .+", line) for line in lines)
            assert any("bad.yaml:4:5: " in line for line in lines)
            assert "the schedules in force stay as they were" in answer.stderr
        answer = idle.command("reload", "--json")
        [row] = rows(answer)
        assert (answer.returncode, row["applied"], row["changes"]) == (1, False, None)
        assert {frozenset(problem) for problem in row["problems"]} == {
            frozenset({"file", "line", "column", "message", "remedy", "excerpt"})
        }
        assert "    evry: 5s" in [problem["excerpt"] for problem in row["problems"]]
        assert re.search(r"last reload: \S+ REFUSED: .*problem", idle.command("status").stdout)
        idle.write_text("schedules: {}\n", "bad.yaml")
        answer = idle.command("reload", "--no-wait", "--json")
        assert (answer.returncode, rows(answer)[0]["applied"]) == (0, None)
        idle.wait_for("reload.applied")


def test_pause_and_resume(idle: Daemon) -> None:
    """Over kill -9 and a start of the daemon, and seen without one."""
    idle.write({"a": {"snapshot": "prod", "every": "1s"}, "b": {"snapshot": "prod", "at": "2999-01-01"}})

    def skipped() -> list[dict[str, Any]]:
        return rows(idle.command("history", "a", "--json", "--state", "skipped", "--reason", "paused"))

    with idle:
        answer = idle.command("pause", "a", "--note", "a look at the data", "--json")
        [paused] = rows(answer)
        assert (answer.returncode, set(paused)) == (0, PAUSE)
        assert (paused["schedule"], paused["until"], paused["by"]) == ("a", None, "operator")
        until(lambda: len(skipped()) >= 2)
        text = idle.command("status").stdout
        assert f"paused: a since {paused['since']} until it is resumed: a look at the data\n" in text
        assert re.search(r"^a +paused ", text, re.MULTILINE)
        idle.kill()
        seen = rows(idle.command("status", "--json"))[0]
        assert (seen["state"], seen["pauses"], set(seen["fires"][0])) == ("not running", [paused], FIRE)
        answer = idle.command("status")
        assert answer.returncode == 1
        assert f"paused: a since {paused['since']}" in answer.stdout
        assert "skipped paused" in answer.stdout
        idle.start()
        assert idle.wait_for("schedule.paused", schedule="a")["note"] == "a look at the data"
        count = len(skipped())
        until(lambda: len(skipped()) > count)
        answer = idle.command("resume", "a", "--json")
        [ended] = rows(answer)
        assert (answer.returncode, set(ended), ended["since"]) == (0, PAUSE, paused["since"])
        last = max(row["fire_time"] for row in skipped())
        until(lambda: [row for row in idle.history("a") if row["fire_time"] > last])
        assert all(row["reason"] != "paused" for row in idle.history("a") if row["fire_time"] > last)
        answer = idle.command("resume", "a")
        assert (answer.returncode, "schedule 'a' is not paused" in answer.stderr) == (1, True)
        times = [row["fire_time"] for row in idle.history("a")]
        assert len(times) == len(set(times))


def test_a_pause_with_an_end(idle: Daemon) -> None:
    idle.write({"a": {"snapshot": "prod", "at": "2999-01-01"}})
    with idle:
        [paused] = rows(idle.command("pause", "a", "--until", "2998-12-31T23:00:00+01:00", "--json"))
        assert paused["until"] == "2998-12-31T22:00:00Z"
        [again] = rows(idle.command("pause", "a", "--for", "1s", "--note", "again", "--json"))
        assert (again["since"], again["note"]) == (paused["since"], "again")
        idle.wait_for("schedule.resumed", schedule="a")
        assert idle.status()["counts"]["paused"] == 0
        answer = idle.command("pause", "a", "--until", "2026-01-01")
        assert (answer.returncode, "is not in the future" in answer.stderr) == (1, True)
        answer = idle.command("pause", "aa")
        assert (answer.returncode, "did you mean a?" in answer.stderr) == (1, True)


def test_the_filters_of_history(daemon: Daemon) -> None:
    name = f"{daemon.folder.name}-good"

    def found(*options: str) -> list[dict[str, Any]]:
        answer = daemon.command("history", name, "--json", "--limit", "1000000", *options)
        assert answer.returncode == 0, answer.stderr
        return rows(answer)

    some = found()[5:]
    middle = some[len(some) // 2]["fire_time"]
    times = [row["fire_time"] for row in some]
    assert set(times) <= {row["fire_time"] for row in found("--since", "1h")}
    assert found("--until", "1h") == []
    assert {row["fire_time"] for row in found("--since", middle)} >= {time for time in times if time >= middle}
    assert [row["fire_time"] for row in found("--until", middle)] == [time for time in times if time < middle]
    assert {row["state"] for row in found("--state", "started")} == {"started"}
    both = found("--state", "started", "--state", "claimed", "--until", middle)
    assert both == found("--state-is", "started", "--state-is", "claimed", "--until", middle)
    assert found("--reason", "paused") == found("--state", "missed") == found("--manual") == []
    assert found("--scheduled", "--until", middle) == found("--until", middle)
    assert found("--state", str(daemon.state), "--state", "started", "--until", middle) == found("--until", middle)
    assert found("--state", "./failed") == [], "a folder"


@contextmanager
def watching(daemon: Daemon, *options: str) -> Iterator[Popen[str]]:
    with subprocess.Popen(
        [ZENDAEMON, "status", "--watch", "0.2", *options],
        cwd=daemon.folder,
        env=daemon._environment(daemon.settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_watch(idle: Daemon) -> None:
    """From before a daemon runs until Ctrl-C."""
    idle.write({"a": {"snapshot": "prod", "at": "2999-01-01"}})
    with watching(idle, "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["state"] == "not running"
        with idle:
            until(lambda: json.loads(process.stdout.readline())["state"] == "running")  # type: ignore[union-attr]
            process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=30)
            assert (process.returncode, complaints) == (0, "")
    with watching(idle) as process:
        assert process.stdout is not None
        assert "no daemon runs" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
        assert (process.returncode, complaints) == (1, "")


def test_watch_on_a_terminal(idle: Daemon) -> None:
    idle.write({"a": {"snapshot": "prod", "at": "2999-01-01"}})
    ours, its = pty.openpty()
    with idle:
        environment = idle._environment(idle.settings) | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        process = subprocess.Popen([ZENDAEMON, "status", "--watch", "0.1"], env=environment, stdout=its, stderr=its)
        os.close(its)
        seen = b""
        while seen.count(b"running: ") < 3:
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    os.close(ours)
    assert b"\x1b[" in seen, "shown in place"
    assert b"Traceback" not in seen


BASH = {"COMP_CWORD": "{last}", "COMP_WORDS": "{line}", "_ZENDAEMON_COMPLETE": "complete_bash"}
ZSH = {"_TYPER_COMPLETE_ARGS": "{line}", "_ZENDAEMON_COMPLETE": "complete_zsh"}
FISH = {
    "_TYPER_COMPLETE_ARGS": "{line}",
    "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    "_ZENDAEMON_COMPLETE": "complete_fish",
}


def completed(daemon: Daemon, line: str, shell: dict[str, str]) -> str:
    last = str(len(line.split(" ")) - 1)
    asked = {name: value.format(line=line, last=last) for name, value in shell.items()}
    environment = daemon._environment(daemon.settings) | asked
    done = subprocess.run(
        [ZENDAEMON], cwd=daemon.folder, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", [BASH, ZSH, FISH], ids=["bash", "zsh", "fish"])
def test_completion(idle: Daemon, shell: dict[str, str]) -> None:
    for line in ("zendaemon fire nig", "zendaemon history nig", "zendaemon resolve nig", "zendaemon next other nig"):
        assert "nightly" not in completed(idle, line, shell), "nothing is known, and nothing is said"
    idle.write({"nightly": {"snapshot": "prod", "at": "2999-01-01"}, "other": {"snapshot": "p", "at": "2999-01-01"}})
    for line in ("zendaemon pause nig", "zendaemon resume nig"):
        assert "nightly" in completed(idle, line, shell), "of the files"
    with idle:
        idle.write_text("no: yaml: at: all")
        found = completed(idle, "zendaemon pause nig", shell)
        assert "nightly" in found, "of the daemon"
        assert "other" not in found
    assert "skipped" in completed(idle, "zendaemon history --state sk", shell)
    assert "skipped" in completed(idle, "zendaemon history --state-is sk", shell)
    assert "paused" in completed(idle, "zendaemon history --reason pa", shell)
    assert "history" in completed(idle, "zendaemon his", shell)


def test_completion_is_installed_for_the_shell_that_asks(idle: Daemon) -> None:
    for option in ("--show-completion", "--install-completion"):
        done = subprocess.run(
            ["bash", "-c", f"'{ZENDAEMON}' {option}; exit $?"],
            env=idle._environment(idle.settings),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "bash" in done.stdout if "install" in option else "_ZENDAEMON_COMPLETE=complete_bash" in done.stdout
    assert "zendaemon" in (idle.folder / ".bashrc").read_text()
