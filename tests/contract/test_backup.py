"""Backups of a journal that is being written, and its rescue: the commands of docs/journal.md are what runs here."""

# ruff: noqa: ASYNC110, ASYNC240 - a test may look again and again, and files may block its loop
from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zendaemon.core.errors import JournalError
from zendaemon.core.fire import Fire, FireState
from zendaemon.journal import Journal, read_history

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PAGE = (Path(__file__).parents[2] / "docs" / "journal.md").read_text()
TIME = datetime(2026, 11, 23, 2, tzinfo=UTC)


def commands(section: str) -> list[str]:
    """The command lines of a section of docs/journal.md, as a user would copy them."""
    text = re.split(r"^## ", PAGE.split(f"\n## {section}\n")[1], flags=re.MULTILINE)[0]
    return re.findall(r"^\$ (.*)$", "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)), re.MULTILINE)


BACKUPS, RESTORE = commands("Backup"), commands("Restoring a backup")
(RESCUE,) = commands("When its files are deleted or replaced")


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def fire(number: int, **fields: object) -> Fire:
    made = Fire(schedule=f"s{number % 7}", fire_time=TIME + timedelta(seconds=number), claimed_at=TIME)
    return replace(made, **fields)  # type: ignore[arg-type]


def started(number: int) -> Fire:
    return fire(number, state=FireState.STARTED, run_id=f"r{number}", attempts=1, decided_at=TIME)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a state folder" / "journal.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(url(path))
    try:
        yield journal
    finally:
        await journal.close()


def shell(line: str, path: Path) -> None:
    """Run a command line in the state folder; sqlite3 is Python's own where the machine has none."""
    if line.startswith("sqlite3 ") and shutil.which("sqlite3") is None:
        in_python(line, path)
        return
    subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=path.parent, check=True, timeout=60)


def in_python(line: str, path: Path) -> None:
    """What the sqlite3 program does for a command line."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source:
        if "VACUUM" in line:
            source.execute("VACUUM INTO ?", [str(path.with_name("copy.db"))])
        else:
            with closing(sqlite3.connect(path.with_name("copy.db"))) as target:
                source.backup(target, pages=100)


async def write(journal: Journal, written: dict[int, Fire]) -> None:
    """Claim and record for ever; `written` has what is known to be on disk."""
    number = len(written)
    while True:
        await journal.claim([fire(number)], {"s0": TIME + timedelta(seconds=number)})
        written[number] = fire(number)
        if number % 3:
            await journal.record(started(number))
            written[number] = started(number)
        number += 1
        await asyncio.sleep(0.002)


async def backed_up(path: Path, line: str, run: Callable[[str, Path], None] = shell) -> dict[int, Fire]:
    """Make a backup of a journal that is being written; return what it must hold."""
    written = {number: fire(number) for number in range(3000)}
    async with opened(path) as journal:
        await journal.sync({"s0": "1"}, [], TIME)
        await journal.claim(list(written.values()), {})
        writing = asyncio.create_task(write(journal, written))
        while len(written) < 3020:
            await asyncio.sleep(0.01)
        before = dict(written)
        await asyncio.to_thread(run, line, path)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
    return before


def check(copy: Path, before: dict[int, Fire]) -> None:
    """The copy is sound, and says of each fire what was decided before the backup, or later."""
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = {(one.schedule, one.fire_time): one for one in read_history(url(copy))}
    for number, one in before.items():
        assert found[one.schedule, one.fire_time] in (one, started(number))
        assert found[one.schedule, one.fire_time].final or not one.final
    assert len(found) >= len(before)


def test_the_page_has_the_commands() -> None:
    assert [line.split()[0] for line in BACKUPS] == ["sqlite3", "sqlite3", "python3"]
    assert len(RESTORE) == 2


@pytest.mark.parametrize("line", BACKUPS)
async def test_a_backup_of_a_journal_that_is_being_written(path: Path, line: str) -> None:
    before = await backed_up(path, line)
    copy = path.with_name("copy.db")
    check(copy, before)
    async with opened(copy) as journal:
        claims = await journal.claims()
        assert {one.key for one in claims} >= {one.key for number, one in before.items() if number % 3 == 0}
        watermark = (await journal.sync({"s0": "1"}, [], TIME - timedelta(days=1)))["s0"]
        assert watermark >= TIME + timedelta(seconds=max(before) - 1)
        assert await journal.claim([before[0]], {}) == [], "what was decided is still decided"
        new = replace(before[0], fire_time=TIME - timedelta(hours=1))
        assert await journal.claim([new], {}) == [new]


@pytest.mark.parametrize("line", BACKUPS[:2])
async def test_a_backup_by_sqlite_in_python(path: Path, line: str) -> None:
    check(path.with_name("copy.db"), await backed_up(path, line, in_python))


@pytest.mark.parametrize("line", BACKUPS)
async def test_a_backup_without_a_daemon(path: Path, line: str) -> None:
    async with opened(path) as journal:
        await journal.claim([fire(1)], {})
    shell(line, path)
    assert list(read_history(url(path.with_name("copy.db")))) == [fire(1)]


async def test_a_backup_is_restored_after_a_crash_that_left_a_log(path: Path) -> None:
    """The log of the lost journal would damage the restored one; the commands of the page move it away."""
    before = await backed_up(path, BACKUPS[0])
    program = (
        "import asyncio, os, sys\n"
        "from datetime import UTC, datetime, timedelta\n"
        "from zendaemon.core.fire import Fire\n"
        "from zendaemon.journal import Journal\n"
        "journal = Journal.open(sys.argv[1])\n"
        "time = datetime(2027, 11, 23, 2, tzinfo=UTC)\n"
        "for number in range(100):\n"
        "    asyncio.run(journal.claim([Fire(schedule='later', fire_time=time + timedelta(seconds=number))], {}))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, url(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.with_name("journal.db-wal").stat().st_size > 0
    for line in RESTORE:
        shell(line, path)
    check(path, before)
    async with opened(path) as journal:
        assert all(one.schedule != "later" for one in await journal.claims())
    assert len(list(read_history(url(path.parent / "old" / "journal.db"), "later"))) == 100, "nothing is thrown away"


async def test_a_deleted_journal_is_rescued_from_the_daemon_that_has_it_open(path: Path) -> None:
    rows = [fire(number) for number in range(2000)]
    async with opened(path) as journal:
        for first in range(0, len(rows), 10):
            await journal.claim(rows[first : first + 10], {})
        path.unlink()
        with pytest.raises(JournalError, match="deleted"):
            await journal.claim([fire(5000)], {})
        assert path.with_name("journal.db.lock").read_text() == f"{os.getpid()}\n"
        shell(RESCUE, path)
        with pytest.raises(JournalError, match="replaced"):
            await journal.claim([fire(5000)], {})
    async with opened(path) as journal:
        assert {one.key for one in await journal.claims()} == {one.key for one in rows}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
