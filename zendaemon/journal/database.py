"""Opening the journal's database: one owner, durable commits, the newest tables."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from zendaemon.core.errors import JournalError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_MS = 5000


class OwnerLock:
    """The right to write to a SQLite journal, held until `release` or the end of the process, however it ends."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raise JournalError when another process has it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 20, 0).decode(errors="replace").strip()
            os.close(fd)
            raise JournalError(
                f"another zendaemon (PID {owner or 'unknown'}) uses the journal beside {self._path}",
                hint="stop it first, or give this one a state folder of its own with --state",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class FileGuard:
    """Notices that the files which were opened are gone: SQLite would go on writing to deleted ones.

    Made when `engine` has written to `database`. The log (`-wal`) and its index (`-shm`) are guarded too: they stay the
    same files as long as a connection is open.
    """

    def __init__(self, database: Path, engine: Engine) -> None:
        self._database = database
        self._opened: dict[Path, tuple[int, int]] = {}
        self._remember()
        event.listen(engine, "connect", self._remember)
        event.listen(engine, "close", self._forget)

    def _remember(self, *_: object) -> None:
        for suffix in ("", "-wal", "-shm"):
            file = self._database.with_name(self._database.name + suffix)
            if (found := _identity(file)) is not None:
                self._opened.setdefault(file, found)

    def _forget(self, *_: object) -> None:
        """SQLite deletes the log with the last connection; the next one makes another."""
        self._opened = {file: found for file, found in self._opened.items() if file == self._database}

    def check(self) -> None:
        """Raise JournalError unless all files are in their places; they may come back."""
        for file, opened in self._opened.items():
            found = _identity(file)
            if found != opened:
                raise JournalError(
                    f"{file} was {'replaced' if found else 'deleted or moved away'} while the journal was in use",
                    hint="put that same file back, or see docs/journal.md: When its files are deleted",
                )


def _identity(file: Path) -> tuple[int, int] | None:
    """Device and inode, None when there is no such file."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(f"{file} cannot be looked at: {error.strerror}", hint="see docs/journal.md") from None
    return found.st_dev, found.st_ino


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL, None for other databases. Raises SettingsError for a URL that cannot be used."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError(
            "the database URL is not understood", hint="write sqlite:////var/lib/zendaemon/journal.db"
        ) from None
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise SettingsError("the journal needs a file", hint="write sqlite:////var/lib/zendaemon/journal.db")
    return Path(parsed.database)


def connect(url: str, *, read_only: bool = False) -> Engine:
    """An engine for the journal's database. Every commit is on disk when it returns."""
    path = sqlite_path(url)
    if path is None:
        raise SettingsError("only SQLite journals are supported by this version", hint="unset ZENDAEMON_DATABASE_URL")
    if read_only:
        address = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
        engine = create_engine(address, connect_args={"timeout": _BUSY_MS / 1000})
    else:
        engine = create_engine(url, connect_args={"timeout": _BUSY_MS / 1000, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
        cursor = connection.cursor()
        connection.isolation_level = None  # transactions begin where we say, and tables are part of them
        if not read_only:
            # WAL with FULL: a committed claim survives a power loss, and readers never block the writer.
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes its lock at once: one that read first could not wait for another any more.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def make_new(path: Path) -> None:
    """Make a journal where there is none, whole or not at all.

    Raises JournalError for an empty file in its place, or one that was cut and has no log beside it that mends it.
    """
    log = path.with_name(path.name + "-wal")
    if path.exists():
        if path.is_file() and path.stat().st_size == 0:
            raise JournalError(f"the journal {path} is empty", hint="see docs/journal.md for restoring it")
        if path.is_file() and not (log.exists() and log.stat().st_size) and _ends_within_page(path):
            raise JournalError("the journal is damaged: its end is missing", hint=_way_out(path))
        return
    if log.exists() and log.stat().st_size:
        raise JournalError(
            f"{path} is gone, and {log} is there", hint="see docs/journal.md, When its files are deleted"
        )
    new = path.with_name(path.name + ".new")
    for suffix in ("", "-wal", "-shm"):
        path.with_name(new.name + suffix).unlink(missing_ok=True)
    engine = connect(str(URL.create("sqlite", database=str(new))))
    try:
        migrate(engine)
    finally:
        engine.dispose()
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _ends_within_page(path: Path) -> bool:
    """SQLite reads what is missing as zeros, and may not notice. Its file format has the size of a page at byte 16."""
    with path.open("rb") as file:
        head = file.read(18)
    size = int.from_bytes(head[16:18])
    return (
        head.startswith(b"SQLite format 3") and size > 0 and path.stat().st_size % (65_536 if size == 1 else size) > 0
    )


def migrate(engine: Engine) -> None:
    """Look for damage, and bring the tables to this version's. Raises JournalError with the way out."""
    try:
        with engine.begin() as connection:
            if (found := connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()) != "ok":
                raise JournalError(
                    f"the journal is damaged: {' '.join(str(found).split())}", hint=_way_out(engine.url.database)
                )
            if not _is_newest(connection):
                _upgrade(connection)
    except OperationalError as error:
        raise JournalError(f"the journal cannot be written: {error.orig}", hint=_way_out(engine.url.database)) from None
    except DBAPIError as error:
        raise JournalError(f"the journal cannot be read: {error.orig}", hint=_way_out(engine.url.database)) from None


def _is_newest(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    newest = max(file.name.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all() == [newest]


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - a tenth of a second and 10 MB, which few starts need
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise JournalError(
            f"the journal was written by a newer zendaemon ({error})", hint="install that version or a newer one"
        ) from None


def _way_out(path: Path | str | None) -> str:
    return f"see docs/journal.md for restoring {path}; it is never replaced by an empty one on its own"


@contextmanager
def translated() -> Iterator[None]:
    """What the database raises, and rows that are none, as JournalError."""
    try:
        yield
    except DBAPIError as error:
        raise JournalError(f"the journal cannot be used: {error.orig}", hint="see docs/journal.md") from None
    except ValueError as error:
        raise JournalError(f"the journal has a row that is none: {error}", hint="see docs/journal.md") from None
