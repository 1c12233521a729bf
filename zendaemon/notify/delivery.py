"""The messages of one channel, delivered one after the other, each tried till it has arrived or is a day old."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from random import random
from typing import TYPE_CHECKING, Protocol

import structlog

from zendaemon.core.errors import JournalError, SettingsError
from zendaemon.core.shown import ShownChannel
from zendaemon.notify.sending import Undelivered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from zendaemon.core.alert import AlertKind
    from zendaemon.core.message import Message
    from zendaemon.journal import Journal

log = structlog.get_logger()

GIVEN_UP_AFTER = timedelta(days=1)
_MOST = 200
_DELAY, _CEILING = 1.0, 300.0


class Observer(Protocol):
    """Told what becomes of messages and pings: `delivered`, `failed` at a try, or `lost` for good."""

    def message(self, channel: str, kind: AlertKind, outcome: str) -> None: ...

    def heartbeat(self, outcome: str) -> None: ...


class Deaf:
    """An observer that nobody asks."""

    def message(self, channel: str, kind: AlertKind, outcome: str) -> None: ...

    def heartbeat(self, outcome: str) -> None: ...


class Delivery:
    """`send` is one try. What waits is in the journal as well, where `put` was told so."""

    def __init__(
        self,
        name: str,
        send: Callable[[Message], Awaitable[None]],
        journal: Journal,
        *,
        now: Callable[[], datetime],
        webhook: bool,
    ) -> None:
        self._name = name
        self._send = send
        self._journal = journal
        self._now = now
        self._webhook = webhook
        self._waiting: deque[Message] = deque()
        self._added = asyncio.Event()
        self.observer: Observer = Deaf()
        self.failing_since: datetime | None = None
        self.error: str | None = None
        self.delivered_at: datetime | None = None

    def put(self, message: Message) -> None:
        """To be delivered after those before it."""
        self._waiting.append(message)
        self._added.set()

    def shown(self) -> ShownChannel:
        return ShownChannel(
            channel=self._name,
            kind="webhook" if self._webhook else "apprise",
            waiting=len(self._waiting),
            delivered_at=self.delivered_at,
            failing_since=self.failing_since,
            error=self.error,
        )

    async def run(self) -> None:
        """Deliver for ever."""
        delay = _DELAY
        while True:
            try:
                done = await self._step()
            except Exception:
                log.exception("engine.error", channel=self._name)
                done = False
            if done:
                delay = _DELAY
            else:
                await asyncio.sleep(delay * (0.5 + random() / 2))  # noqa: S311 - jitter, not secrets
                delay = min(delay * 2, _CEILING)

    async def _step(self) -> bool:
        """Try the next message once, or wait for one; False where there is to be a pause before the next try."""
        while len(self._waiting) > _MOST:
            await self._lose(self._waiting[0], "too many wait")
        if not self._waiting:
            self._added.clear()
            await self._added.wait()
        message = self._waiting[0]
        if self._now() - message.at > GIVEN_UP_AFTER:
            await self._lose(message, self.error or "it is a day old")
            return True
        return await self._is_delivered(message)

    async def _is_delivered(self, message: Message) -> bool:
        """Whether one try did it."""
        try:
            await self._send(message)
        except (Undelivered, SettingsError, OSError) as error:
            self._failed(message, str(error))
            return False
        except Exception as error:
            log.exception("engine.error", channel=self._name)
            self._failed(message, f"a fault of zendaemon's own ({type(error).__name__})")
            return False
        self.delivered_at = self._now()
        if self.failing_since is not None:
            down = (self.delivered_at - self.failing_since).total_seconds()
            log.info("notify.back", channel=self._name, down_seconds=round(down, 3))
            self.failing_since = self.error = None
        log.info("notify.sent", channel=self._name, message_id=str(message.id), kind=message.kind, title=message.title)
        self.observer.message(self._name, message.kind, "delivered")
        await self._drop(message)
        return True

    def _failed(self, message: Message, error: str) -> None:
        if self.error != error:
            log.error("notify.failed", channel=self._name, message_id=str(message.id), kind=message.kind, error=error)
        self.error = error
        self.failing_since = self.failing_since or self._now()
        self.observer.message(self._name, message.kind, "failed")

    async def _lose(self, message: Message, why: str) -> None:
        bound = {"message_id": str(message.id), "kind": message.kind, "title": message.title}
        log.error("notify.lost", channel=self._name, error=why, **bound)
        self.observer.message(self._name, message.kind, "lost")
        await self._drop(message)

    async def _drop(self, message: Message) -> None:
        self._waiting.popleft()
        try:
            await self._journal.drop_message(message)
        except JournalError as error:
            log.error("journal.unavailable", error=str(error))  # noqa: TRY400 - no traceback wanted
