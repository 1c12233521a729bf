"""What breaks around the daemon, all at once and for long: kills at a faulty server, outages, full disks, bad files.

The long form: `ZENDAEMON_CHAOS_CYCLES=500 ZENDAEMON_OUTAGE_SECONDS=180`. A seed is printed, and taken from
`ZENDAEMON_CHAOS_SEED`.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from signal import SIGHUP
from typing import TYPE_CHECKING, Any

import pytest
from process.chaos import PAGE, WITHOUT_RIGHTS, Space, Ticking, overwrite, roots, why_no_space
from process.daemon import Daemon, every_second, instant, same_runs, text_of, until
from process.test_systemd import say_not_run
from standin.chaos import Apart, Dice
from standin.server import ERROR, Fault, StandIn, down, slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from standin.server import Arrival

VERSIONS = ["0.62.0", "0.75.0", "0.98.0"]
TARGETS = {
    "0.62.0": {"pipeline": "training", "version": "45"},
    "0.75.0": {"template": "training-prod"},
    "0.98.0": {"snapshot": "training-prod"},
}
CYCLES = int(os.environ.get("ZENDAEMON_CHAOS_CYCLES", "8"))
OUTAGE = int(os.environ.get("ZENDAEMON_OUTAGE_SECONDS", "15"))
FAR = datetime(2100, 1, 1, tzinfo=UTC)
RETRY_AFTER = 3
SLOTS = 4
QUICK = {"initial_delay": "50ms", "max_delay": "1s"}


def sum_up(daemon: Daemon, said: Counter[str]) -> None:
    """Count what a daemon said in its life, and let it have said nothing that no user should see."""
    said.update(line["event"] for line in daemon.lines)
    assert not daemon.stray, daemon.log()
    assert not daemon.events("engine.error"), daemon.log()


@pytest.mark.timeout(120 + 30 * CYCLES)
@pytest.mark.parametrize("version", VERSIONS)
def test_killed_again_and_again_at_a_faulty_server(tmp_path: Path, version: str) -> None:
    seed = int(os.environ.get("ZENDAEMON_CHAOS_SEED") or random.randrange(1 << 32))  # noqa: S311 - not secrets
    print(f"ZENDAEMON_CHAOS_SEED={seed}")
    dice = random.Random(seed)  # noqa: S311
    server = StandIn(version)
    faults = Dice(server, seed)
    server.draw = faults.draw
    said: Counter[str] = Counter()
    with Apart(server) as apart:
        daemon = Daemon(tmp_path, server.url, settle_after="1s")
        ticker = {**TARGETS[version], "every": "1s", "catchup": "all", "catchup_window": "7d", "retry": QUICK}
        daemon.write({"ticker": ticker})
        with daemon:
            for _ in range(CYCLES):
                time.sleep(dice.choice([0.2, 1, 4]) * dice.random())
                daemon.kill()
                sum_up(daemon, said)
                daemon.start(ready=False)
                if dice.random() < 0.7:
                    daemon.wait_for("daemon.ready")
            apart.do(lambda: setattr(server, "draw", lambda _: None))
            daemon.wait_for("daemon.ready")
            until(lambda: len(daemon.open_claims()) < 5, 300)
            daemon.finish()
        sum_up(daemon, said)
    rows = daemon.history()
    states = Counter((row["state"], row["reason"]) for row in rows)
    print(f"{version}: {CYCLES} kills, {len(rows)} fires, {len(server.starts)} starts, {len(server.creations)} runs")
    print(f"faults met: {dict(sorted(faults.met.items()))}\nevents: {dict(said)}\nstates: {dict(states)}")
    assert [row["fire_time"] for row in rows] == every_second(rows)
    assert max(Counter(server.creations).values()) == 1, Counter(server.creations).most_common(3)
    assert {row["state"] for row in rows} == {"started"}, [row for row in rows if row["state"] != "started"]
    same_runs(rows, server.runs.values())


@dataclass
class Outage:
    """An outage of one kind, from `begin` for OUTAGE seconds, with thirty schedules that come due in it."""

    kind: str
    daemon: Daemon
    server: StandIn
    apart: Apart
    begin: datetime = FAR
    caught_up: datetime | None = None
    told_to_wait: list[float] = field(default_factory=list)
    came: int = 0

    @property
    def back(self) -> datetime:
        return self.begin + timedelta(seconds=OUTAGE)

    def at(self, second: float) -> str:
        return text_of(self.begin + timedelta(seconds=round(second)))

    def schedules(self) -> dict[str, dict[str, Any]]:
        """All begin a second after the outage."""
        every = {"every": "5s", "start_time": self.at(1), "end_time": self.at(OUTAGE + 10)}
        keys: dict[str, dict[str, Any]] = {
            **{f"every-{number}": every for number in range(8)},
            **{f"group-{number}": {"at": [self.at(OUTAGE / 2)]} for number in range(12)},
            **{f"lapse-{number}": every | {"catchup_window": f"{OUTAGE // 4}s"} for number in range(5)},
            **{f"within-{number}": every | {"catchup_window": f"{OUTAGE * 2}s", "priority": 90} for number in range(3)},
            "skip": every | {"overlap": "skip"},
            "skip-lapsed": {
                "at": [self.at(1), self.at(OUTAGE - 2)],
                "overlap": "skip",
                "catchup_window": f"{OUTAGE // 2}s",
            },
        }
        return {name: {"snapshot": "training-prod", "catchup": "all", **given} for name, given in keys.items()}

    def play(self) -> None:
        self.server.draw = self.draw
        self.daemon.write({"early": {"snapshot": "training-prod", "every": "1s", "max_runs": 1}})
        with self.daemon:
            until(lambda: self.daemon.started("early"))
            self.begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=8)
            self.daemon.write(self.schedules())
            self.daemon.send(SIGHUP)
            self.daemon.wait_for("reload.applied")
            time.sleep((self.begin - datetime.now(UTC)).total_seconds())
            connections = self.server.connections
            self.go()
            if self.kind == "refused, killed":
                time.sleep(OUTAGE / 2)
                self.daemon.kill()
                self.daemon.start()
            time.sleep((self.back - datetime.now(UTC)).total_seconds())
            self.came = self.server.connections - connections
            self.come_back()
            until(lambda: not [row for row in self.daemon.open_claims() if instant(row["fire_time"]) < self.back])
            self.caught_up = datetime.now(UTC)
            until(lambda: datetime.now(UTC) > self.back + timedelta(seconds=11))
            self.daemon.finish()

    def draw(self, arrival: Arrival) -> Fault | None:
        """While it is well, a start takes a tenth of a second, so that those in flight at once can be counted."""
        if self.kind in ("503", "500") and self.begin <= datetime.now(UTC) < self.back:
            if self.kind == "500":
                return ERROR
            self.told_to_wait.append(arrival.at)
            return down(RETRY_AFTER)
        return slow(0.1) if arrival.is_start else None

    def go(self) -> None:
        if self.kind.startswith("refused"):
            self.apart.refuse()
        elif self.kind == "cut":
            self.apart.do(lambda: setattr(self.server, "hangs_up", True))
            self.apart.refuse()
            self.apart.listen()

    def come_back(self) -> None:
        if self.kind.startswith("refused"):
            self.apart.listen()
        elif self.kind == "cut":
            self.apart.do(lambda: setattr(self.server, "hangs_up", False))

    def has_one_end_for_each_fire(self) -> None:
        """Runs for all that were in their windows, a reason for all others."""
        rows = [row for row in self.daemon.history() if row["schedule"] != "early"]
        print(self.kind, dict(Counter((row["schedule"].split("-")[0], row["state"], row["reason"]) for row in rows)))
        assert max(Counter((row["schedule"], row["fire_time"]) for row in rows).values()) == 1
        for name, given in self.schedules().items():
            times = {instant(row["fire_time"]) for row in rows if row["schedule"] == name}
            every = {self.begin + timedelta(seconds=second) for second in range(1, OUTAGE + 10, 5)}
            assert times == (every if "every" in given else set(map(instant, given["at"])))
        same_runs(self.daemon.started(), self.server.runs.values())
        assert max(Counter(self.server.creations).values()) == 1
        for row in rows:
            self._ended_rightly(row)

    def _ended_rightly(self, row: dict[str, Any]) -> None:
        window = self.schedules()[row["schedule"]].get("catchup_window", "3600s")
        closes = instant(row["fire_time"]) + timedelta(seconds=int(window[:-1]))
        end = (row["state"], row["reason"])
        lapsed = {("missed", "catchup_window")} | ({("failed", "retries_exhausted")} if row["attempts"] else set())
        if end == ("skipped", "overlap"):
            known = self.kind == "refused"  # else the fire before it may have been sent, and its run be active
            assert row["schedule"] == "skip" or not known, f"{row}: the fire before it was beyond its window"
        elif closes < self.back:
            assert end in lapsed, row
        elif self.caught_up is not None and closes > self.caught_up + timedelta(seconds=5):
            assert end == ("started", None), f"{row}: in its window at {self.caught_up}"
        else:
            assert end in {*lapsed, ("started", None)}, row

    def was_no_stampede(self) -> None:
        """Questions and starts without an answer are paced alike, whichever fire's they are."""
        probes = 8 + SLOTS + OUTAGE / 7  # the pauses are 0.25 s at least, then double up to half of 15 s
        retries, sent = (
            [line for line in self.daemon.events(event) if instant(line["timestamp"]) < self.back]
            for event in ("fire.retrying", "fire.uncertain")
        )
        print(self.kind, f"{len(retries)} probes, {self.came} connections, {self.server.most_in_hand} in hand at most")
        assert len(retries) + len(sent) <= probes
        assert max(Counter(line["fire_key"] for line in sent).values(), default=1) == 1
        if self.kind == "cut":  # each question asks twice, and some are under way
            assert self.came <= len(sent) + 2 * len(retries) + 2 * SLOTS
        assert self.server.most_in_hand <= SLOTS

    def waited_as_it_was_told(self) -> None:
        starts = [arrival.at for arrival in self.server.arrivals if arrival.at > self.told_to_wait[0]]
        pauses = [after - before for before, after in pairwise(starts) if before in self.told_to_wait]
        assert all(pause < 0.5 or pause > RETRY_AFTER - 0.05 for pause in pauses), pauses
        assert sum(pause < 0.5 for pause in pauses) < SLOTS

    def was_started_in_order(self) -> None:
        """The oldest first, for each schedule; those in flight at once may overtake each other on their way."""
        names = [arrival.config["run_configuration"]["run_name"] for arrival in self.server.starts]
        for schedule in self.schedules():
            ours = [name for name in dict.fromkeys(names) if name.startswith(f"{schedule}-2")]
            assert all(abs(sorted(ours).index(name) - place) < SLOTS for place, name in enumerate(ours)), ours

    def was_said_once(self) -> None:
        gone, back = self.daemon.events("server.unavailable"), self.daemon.events("server.back")
        expected = int(self.kind in ("refused", "refused, killed", "cut"))
        assert (len(gone), len(back)) == (expected, expected), self.daemon.log()
        for line in gone:
            assert line["waiting"] >= 1
        for line in back:
            print(self.kind, {key: line[key] for key in ("down_seconds", "waiting")})
            assert OUTAGE / (2 if self.kind == "refused, killed" else 1) - 4 < line["down_seconds"] < OUTAGE + 20
            assert line["waiting"] > 12, "the group waits"


@pytest.mark.timeout(300 + OUTAGE)
def test_an_outage(tmp_path: Path) -> None:
    """Of all kinds at once, since most of it is waiting."""

    def play(kind: str) -> None:
        server = StandIn()
        server.run_status = "completed"
        with Apart(server) as apart:
            daemon = Daemon(
                tmp_path / kind, server.url, settle_after="1s", resolve_interval="1h", max_concurrency=SLOTS
            )
            outage = Outage(kind, daemon, server, apart)
            try:
                outage.play()
                outage.has_one_end_for_each_fire()
                outage.was_no_stampede()
                outage.was_said_once()
                if kind.startswith("refused"):
                    outage.was_started_in_order()
                if kind == "503":
                    outage.waited_as_it_was_told()
                assert not daemon.stray
                assert not daemon.events("engine.error")
            except BaseException as error:
                error.add_note(f"at an outage of the kind {kind!r}; the daemon's log:\n{daemon.log()}")
                raise

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(play, kind) for kind in ("refused", "refused, killed", "cut", "503", "500")]:
            done.result()


@pytest.fixture
def ticking(tmp_path: Path) -> Iterator[Ticking]:
    with Ticking.in_folder(tmp_path) as found:
        yield found


def full_disk(ticking: Ticking) -> str | None:
    if why := why_no_space():
        return why
    daemon = ticking.daemon
    with Space(daemon.folder / "small", "1m") as space:
        daemon.settings["state"], daemon.prefix = space.folder / "state", space.enter
        daemon.start()
        ticking.runs()
        space.run('dd if=/dev/zero of="$0/filler" bs=4096')
        assert "disk is full" in daemon.wait_for("journal.unavailable")["error"]
        ticking.starts_nothing(4)
        space.run('rm "$0/filler"')
        ticking.finish()
    return None


def failing_disk(ticking: Ticking) -> None:
    """No write beyond the first page, as by a quota."""
    daemon = ticking.daemon
    daemon.start()
    ticking.runs()
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (PAGE, limits[1]))
    daemon.wait_for("journal.unavailable", count=3)
    ticking.starts_nothing(2)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, limits)
    ticking.finish()


def killed_at_a_failing_disk(ticking: Ticking) -> None:
    daemon = ticking.daemon
    ticking.write(catchup="all")
    daemon.start()
    ticking.runs()
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (PAGE, resource.RLIM_INFINITY))
    daemon.wait_for("journal.unavailable")
    daemon.kill()
    daemon.start()
    ticking.finish()


def locked_by_another_program(ticking: Ticking) -> None:
    """For longer than the 5 s that are waited for it: while the daemon runs, and at its start."""
    daemon = ticking.daemon
    daemon.start()
    ticking.runs()
    with closing(sqlite3.connect(daemon.state / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in daemon.wait_for("journal.unavailable")["error"]
        ticking.starts_nothing(2)
        other.execute("ROLLBACK")
        ticking.finish()
        other.execute("BEGIN IMMEDIATE")
        ticking.is_refused("database is locked", "docs/journal.md")


def overwritten_under_the_running_daemon(ticking: Ticking) -> None:
    """Another program's write makes it read the pages anew."""
    daemon = ticking.daemon
    for _ in range(2):
        daemon.start()
        ticking.runs()
        daemon.stop()
    daemon.start()
    ticking.runs()
    file = daemon.state / "journal.db"
    overwrite(file, PAGE, file.stat().st_size)
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA user_version = 1")
    said = daemon.wait_for("journal.unavailable")
    assert "malformed" in said["error"]
    ticking.starts_nothing(3)
    names = ticking.server.creations
    assert max(names) <= f"ticker-{instant(said['timestamp']):%Y%m%dT%H%M%SZ}", "a fire that could not be claimed"
    assert len(names) == len(set(names))
    assert len(daemon.events("journal.unavailable")) < 15
    assert daemon.stop() == 0
    ticking.says_no_more_than_needed()
    ticking.is_refused("docs/journal.md")


def moved_away_and_back(ticking: Ticking) -> None:
    daemon = ticking.daemon
    daemon.start()
    for count, suffix in enumerate(["", "-wal", "-shm"], 1):
        ticking.runs()
        file, away = daemon.state / f"journal.db{suffix}", daemon.folder / "away"
        said = len(daemon.events("journal.unavailable"))
        file.rename(away)
        error = daemon.wait_for("journal.unavailable", count=said + 1)["error"]
        assert f"{file} was deleted or moved away" in error, count
        ticking.starts_nothing(2)
        assert not file.exists()
        away.rename(file)
    ticking.finish()


SCENES: dict[str, Callable[[Ticking], str | None]] = {
    scene.__name__: scene
    for scene in (
        full_disk,
        failing_disk,
        killed_at_a_failing_disk,
        locked_by_another_program,
        overwritten_under_the_running_daemon,
        moved_away_and_back,
    )
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[str | None]]]:
    """All of them at once, since most of each is waiting. Each gives a reason where the machine cannot show it."""

    def play(scene: Callable[[Ticking], str | None], folder: Path) -> str | None:
        with Ticking.in_folder(folder) as ticking:
            return scene(ticking)

    with ThreadPoolExecutor(len(SCENES)) as pool:
        yield {name: pool.submit(play, scene, tmp_path_factory.mktemp(name)) for name, scene in SCENES.items()}


@pytest.mark.parametrize("scene", SCENES)
def test_a_journal_in_trouble(
    scenes: dict[str, Future[str | None]], capfd: pytest.CaptureFixture[str], scene: str
) -> None:
    """Nothing is started while it cannot be written, and every fire is decided once when it can be again."""
    if why := scenes[scene].result():
        say_not_run(capfd, scene, why)


def test_a_folder_that_is_read_only(ticking: Ticking, capfd: pytest.CaptureFixture[str]) -> None:
    daemon = ticking.daemon
    daemon.start()
    ticking.runs()
    daemon.stop()
    daemon.prefix = WITHOUT_RIGHTS
    daemon.state.chmod(0o500)
    ticking.is_refused("journal", "docs/journal.md")
    daemon.settings["state"] = daemon.state / "new"
    ticking.is_refused("state folder", "Permission denied", "--state")
    if why := why_no_space():
        say_not_run(capfd, "a daemon on a disk that is mounted read-only", why)
        return
    with Space(daemon.folder / "small", "1m") as space:
        daemon.settings["state"], daemon.prefix = space.folder / "state", space.enter
        daemon.start()
        ticking.runs()
        daemon.stop()
        space.run('mount -o remount,bind,ro "$0"')
        ticking.is_refused("state folder", "Read-only file system", "--state")


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal that a daemon left in good order, with some pages for every table and index."""
    folder = tmp_path_factory.mktemp("journal")
    with Ticking.in_folder(folder) as ticking:
        ticking.write(schedules=20)
        ticking.daemon.start()
        ticking.runs(200)
        ticking.daemon.finish()
    return ticking.daemon.state / "journal.db"


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def half(file: Path) -> int:
    return file.stat().st_size // 2


DAMAGES: dict[str, Callable[[Path], object]] = {
    "noise": lambda file: file.write_bytes(os.urandom(10 * PAGE)),
    "text": lambda file: file.write_text("schedules: {}\n", encoding="utf-8"),
    "middle overwritten": lambda file: overwrite(file, half(file), half(file) + 2 * PAGE),
    "cut in half": lambda file: os.truncate(file, half(file)),
    "cut within the last page": lambda file: os.truncate(file, file.stat().st_size - 100),
    "cut to its header": lambda file: os.truncate(file, 100),
    "cut to nothing": lambda file: os.truncate(file, 0),
    "a folder in its place": replace_by_folder,
    "a state that is none": lambda file: file.write_bytes(file.read_bytes().replace(b"started", b"sharted")),
    "times that are none": lambda file: file.write_bytes(re.sub(rb"(\d-\d\d-\d)\d ", rb"\1x ", file.read_bytes())),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_refused_and_left_alone(ticking: Ticking, journal: Path, damage: str) -> None:
    file = ticking.have(journal)
    DAMAGES[damage](file)
    before = None if file.is_dir() else file.read_bytes()
    ticking.is_refused("journal", "docs/journal.md")
    assert (None if file.is_dir() else file.read_bytes()) == before
    assert {path.name for path in ticking.daemon.state.iterdir()} == {"journal.db", "journal.db.lock"}
    assert not ticking.server.creations


def test_a_damaged_page_of_any_table_or_index(journal: Path, tmp_path: Path) -> None:
    def damage(name: str, page: int) -> None:
        with Ticking.in_folder(tmp_path / name) as ticking:
            file = ticking.have(journal)
            overwrite(file, (page - 1) * PAGE, page * PAGE)
            before = file.read_bytes()
            ticking.is_refused("journal", "docs/journal.md")
            assert file.read_bytes() == before
            assert not ticking.server.creations

    with ThreadPoolExecutor(4) as pool:
        started = {name: pool.submit(damage, name, page) for name, page in roots(journal)}
    unnoticed = {name: str(error).partition("\n")[0] for name, done in started.items() if (error := done.exception())}
    assert not unnoticed


JOURNAL_PAGE = Path(__file__).parents[2] / "docs" / "journal.md"
WAY_OUT = "sqlite3 journal.db .dump | sed 's/^ROLLBACK;.*/COMMIT;/' | sqlite3 rescued.db"


def test_the_way_out_of_a_damaged_journal(ticking: Ticking, journal: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What can be read is kept, and nothing is started twice."""
    assert WAY_OUT in JOURNAL_PAGE.read_text(encoding="utf-8")
    daemon, file = ticking.daemon, ticking.have(journal)
    if shutil.which("sqlite3") is None:
        say_not_run(capfd, WAY_OUT, "this machine has no sqlite3 program")
        return
    known = {(row["schedule"], row["fire_time"]): row for row in daemon.history()}
    schema = "SELECT name, sql FROM sqlite_master"
    with closing(sqlite3.connect(file)) as connection:
        tables = set(connection.execute(schema))
    overwrite(file, half(file), half(file) + PAGE)
    subprocess.run(["sh", "-c", WAY_OUT], cwd=daemon.state, capture_output=True, check=True)
    (daemon.state / "rescued.db").replace(file)
    with closing(sqlite3.connect(file)) as connection:
        assert set(connection.execute(schema)) >= tables
    left = {(row["schedule"], row["fire_time"]): row for row in daemon.history()}
    print(f"{len(left)} of {len(known)} fires rescued")
    assert len(known) / 2 < len(left) <= len(known)
    assert all(known[key] == row for key, row in left.items())
    daemon.start()
    ticking.runs()
    daemon.finish()
    assert len(ticking.server.creations) == len(set(ticking.server.creations))
    assert not {row["run_name"] for row in known.values()} & set(ticking.server.creations)
    ticking.says_no_more_than_needed()
