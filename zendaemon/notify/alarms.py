"""Alerts from all parts to the channels that want them, by way of the journal: what is to be told survives a crash."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from pydantic import TypeAdapter, ValidationError

from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.alerting import Grouping, State
from zendaemon.core.errors import JournalError
from zendaemon.core.fire import FireState, Reason, instant_text
from zendaemon.core.run import FAILED, SUCCEEDED
from zendaemon.events import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from datetime import datetime

    from zendaemon.core.channel import Channel
    from zendaemon.core.fire import Fire
    from zendaemon.core.message import Message
    from zendaemon.core.schedule import Schedule
    from zendaemon.core.shown import ShownChannel
    from zendaemon.journal import Journal
    from zendaemon.notify.delivery import Delivery

log = structlog.get_logger()

_STATE = TypeAdapter(State)
_TICK = 1.0
"""Seconds between two looks at what is going on; what happened is in the journal as soon."""


class Alarms(Observer):
    """Takes alerts (`tell`), and makes them of fires and runs as an observer (events.Observer) of them."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        deliveries: Mapping[str, Delivery],
        journal: Journal,
        *,
        schedules: Callable[[], Mapping[str, Schedule]],
        now: Callable[[], datetime],
    ) -> None:
        self._channels = channels
        self._deliveries = deliveries
        self._journal = journal
        self._schedules = schedules
        self._now = now
        self._groupings: dict[str, Grouping] = {}
        self._early: list[Callable[[], None]] | None = []
        """What happened before the state of an earlier process was read."""
        self._new: list[Message] = []
        """Messages that are not in the journal yet."""
        self._happened = asyncio.Event()

    def shown(self) -> tuple[ShownChannel, ...]:
        """Each channel, and whether it works."""
        return tuple(delivery.shown() for delivery in self._deliveries.values())

    def tell(self, alert: Alert) -> None:
        """Have those told who want it; see events.Tell."""
        if not self._channels or (alert.kind is AlertKind.RECOVERED and self._calm):
            return
        if self._early is not None:
            self._early.append(lambda: self._take(alert))
        else:
            self._take(alert)

    @property
    def _calm(self) -> bool:
        """Whether nothing goes on that could recover; asked at every fire."""
        return self._early is None and not any(grouping.busy for grouping in self._groupings.values())

    def _take(self, alert: Alert) -> None:
        try:
            now = self._now()
            for name in self._wanting(alert):
                self._groupings[name].tell(alert, now)
            self._happened.set()
        except Exception:
            log.exception("engine.error", schedule=alert.schedule)

    def _wanting(self, alert: Alert) -> Iterator[str]:
        """The channels for an alert. What names a channel that there is not goes to the default ones as well."""
        schedule = self._schedules().get(alert.schedule) if alert.schedule is not None else None
        named = schedule.notify if schedule is not None else None
        lost = named is None or not named.keys() <= self._channels.keys()
        for name, channel in self._channels.items():
            kinds: Collection[AlertKind] = channel.on if lost and channel.default else ()
            if named is not None and name in named:
                own = named[name]
                kinds = channel.on if own is None else own
            if alert.kind in kinds or alert.kind is AlertKind.RECOVERED:
                yield name

    def closed(self, fire: Fire) -> None:
        """Count it in an outage; tell what failed and was missed, unless somebody removed the schedule."""
        if not self._channels or (fire.state is FireState.STARTED and self._calm):
            return
        if self._early is not None:
            self._early.append(lambda: self._count(fire))
        else:
            self._count(fire)
        at, name = fire.decided_at or self._now(), fire.schedule
        if fire.state is FireState.STARTED:
            for kind in (AlertKind.FAILED, AlertKind.MISSED):
                text = "a fire was started again"
                self.tell(Alert(kind=AlertKind.RECOVERED, of=kind, at=at, schedule=name, fire=fire, text=text))
        elif fire.state in (FireState.FAILED, FireState.MISSED) and fire.reason is not Reason.REMOVED:
            kind = AlertKind(fire.state.value)
            self.tell(Alert(kind=kind, at=at, schedule=name, fire=fire, text=_text(fire)))

    def _count(self, fire: Fire) -> None:
        for grouping in self._groupings.values():
            grouping.closed(fire)

    def ended(self, fire: Fire) -> None:
        """Tell of a run that failed, where no other run follows for the same fire."""
        at, name, kind = fire.run_ended_at or self._now(), fire.schedule, AlertKind.RUN_FAILED
        if fire.run_status in FAILED and fire.retry_at is None:
            text = f"the run {fire.run_status}" + (f": {fire.message}" if fire.message else "")
            self.tell(Alert(kind=kind, at=at, schedule=name, fire=fire, text=text))
        elif fire.run_status in SUCCEEDED:
            text = f"a run is {fire.run_status}"
            self.tell(Alert(kind=AlertKind.RECOVERED, of=kind, at=at, schedule=name, fire=fire, text=text))

    def run_again(self, fire: Fire) -> None:
        """Of a run that failed and cannot be followed by another one, this is the end."""
        if fire.run_status in FAILED:
            self.ended(fire)

    async def run(self) -> None:
        """Group, keep and hand over for ever, and deliver beside that."""
        if not self._channels:
            await asyncio.Event().wait()
        await self._take_over()
        async with asyncio.TaskGroup() as tasks:
            for name, delivery in self._deliveries.items():
                tasks.create_task(delivery.run(), name=f"channel {name}")
            tasks.create_task(self._group())

    async def _group(self) -> None:
        while True:
            if not any(grouping.busy for grouping in self._groupings.values()):
                await self._happened.wait()
            self._happened.clear()
            try:
                await self._look()
            except Exception:
                log.exception("engine.error")
            await asyncio.sleep(_TICK)

    async def _take_over(self) -> None:
        """Go on with what an earlier process left."""
        messages: list[Message] = []
        states: dict[str, str] = {}
        try:
            messages, states = await self._journal.load_messages()
        except JournalError as error:
            log.error("journal.unavailable", error=str(error))  # noqa: TRY400 - no traceback wanted
        for name, channel in self._channels.items():
            self._groupings[name] = Grouping(name, frozenset(channel.on), _read(states.get(name)))
        for message in messages:
            if message.channel in self._deliveries:
                self._deliveries[message.channel].put(message)
            else:
                bound = {"message_id": str(message.id), "kind": message.kind, "title": message.title}
                log.error("notify.lost", channel=message.channel, error="there is no such channel now", **bound)
                with suppress(JournalError):
                    await self._journal.drop_message(message)
        early, self._early = self._early or [], None
        for act in early:
            act()

    async def _look(self) -> None:
        """Have what is due written down and delivered; a journal that cannot be written holds up no message."""
        now = self._now()
        for grouping in self._groupings.values():
            self._new += grouping.due(now, await self._waiting(grouping.back_at))
        await self._save()
        new, self._new = self._new, []
        for message in new:
            self._deliveries[message.channel].put(message)

    async def _waiting(self, back_at: datetime | None) -> int:
        """How many fires wait still of those that were due when the server came back."""
        try:
            return 0 if back_at is None else await self._journal.claimed_until(back_at)
        except JournalError:
            return 1

    async def _save(self) -> None:
        changed = {name: grouping for name, grouping in self._groupings.items() if grouping.dirty}
        if not self._new and not changed:
            return
        states = {name: _STATE.dump_json(grouping.state).decode() for name, grouping in changed.items()}
        for grouping in changed.values():
            grouping.dirty = False
        saved = False
        try:
            await self._journal.save_messages(self._new, states)
            saved = True
        except JournalError as error:
            log.error("journal.unavailable", error=str(error))  # noqa: TRY400 - no traceback wanted
        finally:  # also when the daemon is stopping, and `close` has the last word
            for grouping in changed.values():
                grouping.dirty |= not saved

    async def close(self) -> None:
        """Write down what happened last."""
        if self._early is None:
            await self._save()


def _read(state: str | None) -> State | None:
    try:
        return None if state is None else _STATE.validate_json(state)
    except ValidationError:
        return None  # written by another version; what goes on is told anew


def _text(fire: Fire) -> str:
    through = f" (through {instant_text(fire.through)})" if fire.through else ""
    word = "missed" if fire.state is FireState.MISSED else "no run"
    return f"{word}{through}, {fire.reason}" + (f": {fire.message}" if fire.message else "")
