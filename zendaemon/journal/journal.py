"""The journal as the engine uses it: one thread writes, and what many fires record at once is committed once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self, TypeVar

from zendaemon import clock
from zendaemon.core.errors import JournalError
from zendaemon.journal import outbox, pruning, store
from zendaemon.journal.database import FileGuard, OwnerLock, connect, make_new, migrate, sqlite_path, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from zendaemon.core.fire import Fire
    from zendaemon.core.message import Message
    from zendaemon.core.pause import Pause
    from zendaemon.journal.pruning import Place, Swept

_GATHER = 0.01
"""Seconds after a commit in which more is gathered for the next one: a commit costs as much as forty rows."""
T = TypeVar("T")
Write = Callable[["Connection", "Sequence[Any]"], object]
"""Writes any number of what it was made for."""


class Journal:
    """The durable history of fires. Every method that returns has its changes on disk.

    Methods raise JournalError when the database cannot be written (a full disk, a lock of another process, a file that
    was deleted); nothing was changed then and the call may be repeated.
    """

    def __init__(self, engine: Engine, lock: OwnerLock, guard: FileGuard) -> None:
        self._engine = engine
        self._lock = lock
        self._guard = guard
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: deque[tuple[Write, Sequence[object], asyncio.Future[None]]] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self.beat = clock.monotonic()
        """The monotonic second at which the database answered last, or failed to."""
        self.writable = True
        """Whether the last transaction succeeded."""

    @classmethod
    def open(cls, url: str) -> Self:
        """Lock, connect and migrate. Raises JournalError when another daemon has it or the file cannot be used."""
        path = sqlite_path(url)
        engine = connect(url)
        if path is None:
            raise JournalError("only SQLite journals are supported by this version")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = OwnerLock(path)
            lock.acquire()
        except OSError as error:
            raise JournalError(
                f"the state folder {path.parent} cannot be used: {error.strerror}", hint="give another with --state"
            ) from None
        try:
            make_new(path)
            migrate(engine)
            guard = FileGuard(path, engine)
        except (JournalError, OSError) as error:
            engine.dispose()
            lock.release()
            if isinstance(error, JournalError):
                raise
            raise JournalError(f"the journal {path} cannot be made: {error.strerror}") from None
        return cls(engine, lock, guard)

    async def close(self) -> None:
        """Finish what is being written, then let go of the file."""
        if self._flushing is not None:
            await self._flushing
        self._thread.shutdown(wait=True)
        self._engine.dispose()
        self._lock.release()

    async def sync(self, rules: Mapping[str, str], restarted: Iterable[str], now: datetime) -> dict[str, datetime]:
        """See store.sync."""
        return await self._call(lambda connection: store.sync(connection, rules, restarted, now))

    async def claim(self, planned: Sequence[Fire], watermarks: Mapping[str, datetime]) -> list[Fire]:
        """See store.claim."""
        return await self._call(lambda connection: store.claim(connection, planned, watermarks))

    async def rehearse(self, planned: Sequence[Fire], watermarks: Mapping[str, datetime]) -> None:
        """A claim that is taken back: nothing of it is written."""

        def claim_and_undo(connection: Connection) -> None:
            store.claim(connection, planned, watermarks)
            connection.rollback()

        await self._call(claim_and_undo, commits=False)

    async def watermarks(self) -> dict[str, datetime]:
        return await self._call(store.watermarks)

    async def claims(self) -> list[Fire]:
        return await self._call(store.claims)

    async def claim_again(self, fire: Fire) -> bool:
        """See store.claim_again."""
        return await self._call(lambda connection: store.claim_again(connection, fire))

    async def drop_retry(self, fire: Fire) -> None:
        """See store.drop_retry."""
        await self._call(lambda connection: store.drop_retry(connection, fire))

    async def retried(self) -> list[Fire]:
        return await self._call(store.retried)

    async def outcomes(self, name: str, count: int) -> list[Fire]:
        """See store.outcomes."""
        return await self._call(lambda connection: store.outcomes(connection, name, count))

    async def last_decided(self, name: str) -> Fire | None:
        """See store.last_decided."""
        return await self._call(lambda connection: store.last_decided(connection, name))

    async def followed(self) -> list[Fire]:
        return await self._call(store.followed)

    async def run_counts(self, names: Iterable[str]) -> dict[str, int]:
        return await self._call(lambda connection: store.run_counts(connection, names))

    async def last_success(self, name: str) -> Fire | None:
        """The fire of a schedule whose run began last of those that succeeded."""
        return (await self.last_successes([name])).get(name)

    async def last_successes(self, names: Iterable[str]) -> dict[str, Fire]:
        return await self._call(lambda connection: store.last_successes(connection, names))

    async def first_fires(self, names: Iterable[str]) -> dict[str, Fire]:
        """The oldest row of each schedule that has any."""
        return await self._call(lambda connection: store.first_fires(connection, names))

    async def load_resolved(self) -> dict[str, str]:
        return await self._call(store.load_resolved)

    async def save_resolved(self, target: str, value: str, now: datetime) -> None:
        await self._write(store.save_resolved, (target, value, now))

    async def forget_resolved(self, targets: Sequence[str]) -> None:
        await self._call(lambda connection: store.forget_resolved(connection, targets))

    async def check(self) -> None:
        """Write, though nothing that counts: raises JournalError when that cannot be done."""
        await self._call(store.touch)

    async def pauses(self) -> list[Pause]:
        return await self._call(store.load_pauses)

    async def save_pause(self, pause: Pause) -> None:
        """See store.save_pause."""
        await self._call(lambda connection: store.save_pause(connection, pause))

    async def drop_pause(self, name: str) -> None:
        """Forget that a schedule ever had a pause."""
        await self._call(lambda connection: store.drop_pause(connection, name))

    async def load_messages(self) -> tuple[list[Message], dict[str, str]]:
        """See outbox.load."""
        return await self._call(outbox.load)

    async def save_messages(self, new: Sequence[Message], states: Mapping[str, str]) -> None:
        """See outbox.save."""
        await self._call(lambda connection: outbox.save(connection, new, states))

    async def drop_message(self, message: Message) -> None:
        """It is delivered, or given up."""
        await self._write(outbox.drop, str(message.id))

    async def claimed_until(self, instant: datetime) -> int:
        """See outbox.claimed_until."""
        return await self._call(lambda connection: outbox.claimed_until(connection, instant))

    async def record(self, *closed: Fire) -> None:
        """Write how claimed fires ended."""
        await self._write(store.record, *closed)

    async def record_status(self, fire: Fire, *, follow: bool) -> None:
        """Write the status of a fire's run, and whether it is to be followed further."""
        await self._write(store.record_status, (fire, follow))

    async def prune_old(self, before: datetime, place: Place | None) -> Swept:
        """See pruning.prune_old. One short transaction; others are let in before the next."""
        return await self._call(lambda connection: pruning.prune_old(connection, before, place))

    async def prune_surplus(self, keep: int, before: datetime, place: Place | None) -> Swept:
        """See pruning.prune_surplus. One short transaction; others are let in before the next."""
        return await self._call(lambda connection: pruning.prune_surplus(connection, keep, before, place))

    async def _call(self, work: Callable[[Connection], T], *, commits: bool = True) -> T:
        def transact() -> T:
            try:
                self._guard.check()
                with translated(), self._engine.begin() as connection:
                    done = work(connection)
                    self._guard.check()  # anew, since a lock or the work may have taken long; raising undoes the work
                    return done
            finally:
                self.beat = clock.monotonic()  # here, since whoever asked may have gone

        try:
            done = await asyncio.get_running_loop().run_in_executor(self._thread, transact)
        except JournalError:
            self.writable = False
            raise
        else:
            self.writable = self.writable or commits
            return done

    async def _write(self, write: Write, *items: object) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, items, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await done

    async def _flush(self) -> None:
        """Write what waits, in its order, what is of one kind together; what comes meanwhile is the next commit's."""
        while self._waiting:
            batch = list(self._waiting)
            self._waiting.clear()

            def write(connection: Connection, batch: Sequence[tuple[Write, Sequence[object], object]] = batch) -> None:
                for work, some in groupby(batch, key=itemgetter(0)):
                    work(connection, [item for _, items, _ in some for item in items])

            try:
                await self._call(write)
            except Exception as error:  # noqa: BLE001 - it is raised where the write was asked for
                for _, _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, _, done in batch:
                    if not done.done():
                        done.set_result(None)
            await asyncio.sleep(_GATHER)
