"""Trouble around a daemon: a small disk of its own, a lack of rights, damaged files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from process.daemon import Daemon, every_second, same_runs, until
from standin.chaos import Apart
from standin.server import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 4096
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
"""Runs a command to which file permissions matter, whoever runs the tests."""
_USER = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
_ENTER_USER = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]


def why_no_space() -> str | None:
    """Why a disk of one's own cannot be had on this machine, None where it can."""
    for tool in ("unshare", "nsenter", "mount"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    command = ["unshare", *_USER, "--mount", "mount", "-t", "tmpfs", "none", "/tmp"]  # noqa: S108 - in the namespace
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no namespaces or mounts: {tried.stderr.strip()}"


class Space:
    """A folder with a small tmpfs that only a mount namespace of its own sees; a context manager.

    `enter` runs a command inside. Nothing of it outlives the `with`.
    """

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        self._size = size
        self._holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir()
        mount = f'mount -t tmpfs -o size={self._size},mode=700 none "$0" && echo up && exec sleep infinity'
        command = ["unshare", *_USER, "--mount", "sh", "-c", mount, str(self.folder)]
        self._holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "up\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._holder is not None
        self._holder.kill()
        self._holder.communicate()

    @property
    def enter(self) -> list[str]:
        assert self._holder is not None
        return ["nsenter", "--target", str(self._holder.pid), *_ENTER_USER, "--mount"]

    def run(self, script: str) -> None:
        """A shell script inside, with the folder as its `$0`; it may fail."""
        command = [*self.enter, "sh", "-c", script, str(self.folder)]
        subprocess.run(command, capture_output=True, check=False, timeout=30)


@dataclass(frozen=True, slots=True)
class Ticking:
    """A daemon with a schedule that fires every second, not started yet, and its server."""

    daemon: Daemon
    server: StandIn

    @classmethod
    @contextmanager
    def in_folder(cls, folder: Path) -> Iterator[Self]:
        """At the end no process is left; what went wrong has the daemon's log with it."""
        server = StandIn()
        server.run_status = "completed"
        with Apart(server):
            found = cls(Daemon(folder, server.url, settle_after="1s"), server)
            found.write()
            try:
                yield found
            except BaseException as error:
                error.add_note(f"the daemon's log:\n{found.daemon.log()}")
                raise
            finally:
                found.daemon.kill()

    def write(self, *, schedules: int = 1, catchup: str = "none") -> None:
        names = ["ticker", *(f"ticker-{number}" for number in range(1, schedules))]
        ticker = {"snapshot": "training-prod", "every": "1s", "catchup": catchup}
        self.daemon.write(dict.fromkeys(names, ticker))

    def have(self, journal: Path) -> Path:
        """Give the daemon a copy of a journal."""
        self.daemon.state.mkdir(mode=0o700)
        return shutil.copy(journal, self.daemon.state / "journal.db")

    def runs(self, more: int = 3) -> None:
        """Let so many more runs be created."""
        count = len(self.server.creations) + more
        until(lambda: len(self.server.creations) >= count)

    def starts_nothing(self, seconds: float) -> None:
        """What was claimed before may still be on its way for a second."""
        time.sleep(1)
        before = len(self.server.creations)
        time.sleep(seconds)
        assert len(self.server.creations) == before

    def is_refused(self, *words: str) -> None:
        """The daemon does not start, and says why in one line."""
        self.daemon.start(ready=False)
        until(lambda: not self.daemon.running or self.daemon.events("daemon.ready"))
        assert not self.daemon.running, "it was not noticed"
        assert self.daemon.ended() == 1
        assert len(self.daemon.stray) == 1
        assert all(word in self.daemon.stray[0] for word in words), self.daemon.stray

    def finish(self) -> None:
        """Every second has one row and one run, from before the trouble till after it."""
        self.runs()
        self.daemon.finish()
        rows = self.daemon.history()
        assert [row["fire_time"] for row in rows] == every_second(rows)
        assert {row["state"] for row in rows} == {"started"}
        same_runs(rows, self.server.runs.values())
        assert len(self.server.creations) == len(rows)
        self.says_no_more_than_needed()

    def says_no_more_than_needed(self) -> None:
        assert not self.daemon.stray
        assert not self.daemon.events("engine.error")


def roots(journal: Path) -> Iterator[tuple[str, int]]:
    """Every table and index of a journal, with the number of its first page."""
    with closing(sqlite3.connect(journal)) as connection:
        yield from connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0 ORDER BY rootpage")


def overwrite(file: Path, begin: int, end: int) -> None:
    """Put noise in place of some bytes."""
    with file.open("r+b") as opened:
        opened.seek(begin)
        opened.write(os.urandom(end - begin))
