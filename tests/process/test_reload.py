"""A schedule that fires every second, and everything that a reload may meet: no fire time is lost or doubled."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from signal import SIGHUP
from typing import TYPE_CHECKING, Any

import pytest
from process.daemon import Daemon, every_second, instant, model, same_runs, text_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Seeder

BAD = "schedules:\n  other:\n    snapshot: prod\n    evry: 1s\n    cron: 61 * * * *\n"


@dataclass(frozen=True, slots=True)
class Ticking:
    """A daemon with the schedule `name` that fires every second."""

    name: str
    target: Mapping[str, str]
    daemon: Daemon
    seeder: Seeder

    def write(self, **changes: object) -> None:
        ticker = {**self.target, "every": "1s", "config": model("rf"), **changes}
        self.daemon.write({self.name: ticker}, "ticker.yaml")

    def other(self, letter: str) -> dict[str, dict[str, Any]]:
        return {f"{self.name}-{letter}": {**self.target, "every": "1s", "config": model("rf")}}

    def fires(self, count: int) -> None:
        """Let so many more fire times come."""
        count += len(self.daemon.history(self.name))
        until(lambda: len(self.daemon.history(self.name)) >= count)

    def stop(self) -> list[dict[str, Any]]:
        """End the daemon; the ticker's rows, one for every second, with one run each."""
        self.daemon.finish()
        rows = self.daemon.history(self.name)
        assert [row["fire_time"] for row in rows] == every_second(rows)
        assert {row["state"] for row in rows} == {"started"}
        same_runs(self.daemon.started(), self.seeder.runs(self.name))
        assert not self.daemon.stray
        return rows

    def models(self) -> dict[str, str]:
        """The model type that the run of each fire time was started with."""
        return {
            row["fire_time"]: self.seeder.run_parameters({"id": row["run_id"]})["model_trainer"]["model_type"]
            for row in self.daemon.started(self.name)
        }


@pytest.fixture
def ticking(servers: ServerPool, tmp_path: Path, unique_name: str) -> Iterator[Ticking]:
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    daemon = Daemon(tmp_path, server.url)
    found = Ticking(unique_name, seeder.runnable(unique_name).target, daemon, seeder)
    found.write()
    with daemon:
        found.fires(2)
        yield found


def test_good_changes(ticking: Ticking) -> None:
    """A schedule is added; then the ticker's config changes, for the fires after the reload and for no other."""
    daemon = ticking.daemon
    added = time.time()
    (daemon.schedules / "more").mkdir()
    daemon.write(ticking.other("b"), "more/deep.yaml")
    daemon.send(SIGHUP)
    said = daemon.wait_for("reload.applied")
    assert {key: said[key] for key in ("added", "changed", "removed", "unchanged")} == {
        "added": 1,
        "changed": 0,
        "removed": 0,
        "unchanged": 1,
    }
    until(lambda: len(daemon.started(f"{ticking.name}-b")) >= 2)
    assert instant(daemon.history(f"{ticking.name}-b")[0]["fire_time"]).timestamp() >= added - 1

    before = datetime.now(UTC)
    ticking.write(config=model("xgb"))
    daemon.send(SIGHUP)
    said = daemon.wait_for("reload.applied", count=2)
    assert (said["changed"], said["unchanged"]) == (1, 1)
    ticking.fires(3)
    ticking.stop()
    for fire_time, seen in ticking.models().items():
        if fire_time <= text_of(before.replace(microsecond=0)):
            assert seen == "rf"
        elif instant(fire_time) > instant(said["timestamp"]):
            assert seen == "xgb"
    assert set(ticking.models().values()) == {"rf", "xgb"}


def test_a_bad_file(ticking: Ticking) -> None:
    """It changes nothing, not even together with a good change, and is told to the line everywhere."""
    daemon = ticking.daemon
    assert daemon.status()["reload"] is None
    daemon.write_text(BAD, "bad.yaml")
    ticking.write(config=model("xgb"))
    daemon.send(SIGHUP)
    refused = daemon.wait_for("reload.refused")
    assert refused["problems"] == 2
    places = [(line["file"], line["line"], line["column"]) for line in daemon.events("reload.problem")]
    assert [(file.rpartition("/")[2], line) for file, line, _ in places] == [("bad.yaml", 4), ("bad.yaml", 5)]
    unknown, cron = daemon.events("reload.problem")
    assert "evry" in unknown["message"]
    assert "every" in unknown["remedy"] + unknown["message"]
    assert "minute" in cron["message"]

    told = daemon.status()["reload"]
    assert told["applied"] is False
    assert [(problem["file"], problem["line"], problem["column"]) for problem in told["problems"]] == places
    assert [problem["excerpt"] for problem in told["problems"]] == BAD.splitlines()[3:5]
    shown = daemon.command("status", "--json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["reload"] == told
    assert "REFUSED" in daemon.command("status").stdout

    answer = daemon.reload()
    assert answer.returncode == 1
    lines = ["{file}:{line}:{column}: {message}; {remedy}".format(**problem) for problem in told["problems"]]
    assert answer.stdout.splitlines() == lines
    assert "2 problems" in answer.stderr
    answer = daemon.command("reload", "--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["problems"] == told["problems"]

    ticking.fires(2)
    until(lambda: not daemon.open_claims())
    assert set(ticking.models().values()) == {"rf"}
    (daemon.schedules / "bad.yaml").unlink()
    answer = daemon.reload()
    assert (answer.returncode, answer.stdout) == (0, "0 added, 1 changed, 0 removed, 0 unchanged\n")
    assert daemon.status()["reload"]["applied"] is True
    ticking.fires(2)
    ticking.stop()
    assert list(ticking.models().values())[-1] == "xgb"


def test_a_removed_file(ticking: Ticking) -> None:
    """The schedule fires no more, and its history stays; when it comes back it starts at that reload."""
    daemon, other = ticking.daemon, f"{ticking.name}-b"
    daemon.write(ticking.other("b"), "b.yaml")
    daemon.send(SIGHUP)
    until(lambda: len(daemon.started(other)) >= 2)
    (daemon.schedules / "b.yaml").unlink()
    daemon.send(SIGHUP)
    gone = daemon.wait_for("reload.applied", removed=1)
    until(lambda: {row["state"] for row in daemon.history(other)} == {"started"})
    rows = daemon.history(other)
    assert [row["fire_time"] for row in rows] == every_second(rows)
    ticking.fires(3)
    assert daemon.history(other) == [
        {**row, "run_status": now["run_status"]} for row, now in zip(rows, daemon.history(other), strict=True)
    ]
    assert instant(rows[-1]["fire_time"]) <= instant(gone["timestamp"])
    assert [schedule["schedule"] for schedule in daemon.status()["schedules"]] == [ticking.name]

    daemon.write(ticking.other("b"), "b.yaml")
    back = datetime.now(UTC).replace(microsecond=0)
    daemon.send(SIGHUP)
    until(lambda: len(daemon.history(other)) > len(rows))
    assert instant(daemon.history(other)[len(rows)]["fire_time"]) >= back
    ticking.stop()


def test_hang_ups_in_quick_succession(ticking: Ticking) -> None:
    """Whichever version of the file a reload sees, the last one is in force in the end."""
    daemon = ticking.daemon
    for number in range(40):
        ticking.write(config=model("rf" if number % 2 else "svc"), description=str(number))
        if number % 3 == 0:
            daemon.write(ticking.other("b"), "b.yaml")
        elif number % 3 == 1:
            daemon.write_text(BAD, "b.yaml")
        else:
            (daemon.schedules / "b.yaml").unlink()
        daemon.send(SIGHUP)
        time.sleep(0.07)
    ticking.write(config=model("xgb"))
    (daemon.schedules / "b.yaml").unlink(missing_ok=True)
    daemon.send(SIGHUP)
    assert daemon.reload().returncode == 0
    applied, refused = len(daemon.events("reload.applied")), len(daemon.events("reload.refused"))
    print(f"{applied} applied, {refused} refused")
    assert applied
    assert refused
    last = datetime.now(UTC)
    ticking.fires(3)
    ticking.stop()
    models = ticking.models()
    assert {seen for fire_time, seen in models.items() if instant(fire_time) > last} == {"xgb"}
    rows = daemon.history(f"{ticking.name}-b")
    assert len({row["fire_time"] for row in rows}) == len(rows)
