"""How alerts become few messages: one for the beginning of an incident, digests at growing intervals, one for its end.

A pure function of alerts and instants: `tell` takes what happens, `due` gives the messages whose time has come.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from zendaemon.core.alert import AlertKind
from zendaemon.core.message import Item, Message, away_text, back_text, body, recovered_title, title
from zendaemon.core.outage import HELD, Outage, absorbed

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from zendaemon.core.alert import Alert
    from zendaemon.core.fire import Fire

GATHER = timedelta(seconds=5)
"""How long the first message waits for others like it."""
FIRST_INTERVAL, GROWTH, LONGEST = timedelta(minutes=5), 3, timedelta(hours=4)
QUIET = timedelta(hours=1)
"""After which without anything new the next alert goes out soon again."""
FORGOTTEN = timedelta(days=7)
"""After which without anything new an incident is over, with nobody being told."""
PATIENCE = timedelta(hours=1)
"""How long the end of an outage waits for the fires that waited for the server."""
LINES = 20
_KNOWN = 1000
_CLOCK_SET = timedelta(minutes=1)
_LASTING = frozenset(
    {
        AlertKind.PAUSED,
        AlertKind.UNRESOLVED,
        AlertKind.NO_SUCCESS,
        AlertKind.LATE_START,
        AlertKind.LATE_FINISH,
        AlertKind.RUN_STUCK,
    }
)
"""What is so till it has recovered: to be told of it again, by a new process too, is nothing new."""
_DAEMON = ""


@dataclass(slots=True, kw_only=True)
class Pace:
    """When the next message may go out: `interval` after the last one, which grows as long as there is no quiet."""

    sent_at: datetime | None = None
    interval: timedelta = timedelta()
    last_at: datetime | None = None

    def happened(self, now: datetime) -> None:
        if self.last_at is not None and now - self.last_at > max(QUIET, self.interval):
            self.interval = timedelta()
        self.last_at = now

    def sent(self, now: datetime) -> None:
        self.sent_at = now
        self.interval = min(self.interval * GROWTH, LONGEST) if self.interval else FIRST_INTERVAL

    def ready(self, since: datetime, now: datetime) -> bool:
        """Whether what waits since then may go out; a clock that was set back holds nothing up."""
        if now < since - _CLOCK_SET or (self.sent_at is not None and now < self.sent_at - _CLOCK_SET):
            return True
        return now >= since + GATHER and (self.sent_at is None or now >= self.sent_at + self.interval)


@dataclass(slots=True, kw_only=True)
class Incident:
    """What goes on of one kind. `open` has the schedules that have not recovered, each with what was told last.

    `fresh` counts what no message has told yet, `items` are the first of those, `names` the schedules of all.
    """

    kind: AlertKind
    since: datetime
    pace: Pace = field(default_factory=Pace)
    count: int = 0
    fresh: int = 0
    fresh_since: datetime | None = None
    items: list[Item] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    open: dict[str, str] = field(default_factory=dict)
    well: list[str] = field(default_factory=list)
    told: bool = False
    over_at: datetime | None = None

    def add(self, item: Item, now: datetime) -> None:
        name = item.schedule or _DAEMON
        if self.over_at is not None and self.fresh == 0:
            self._begin_anew(now)
        what = (item.run_id if self.kind is AlertKind.RUN_STUCK else None) or item.text
        if self.kind in _LASTING and self.open.get(name) == what:
            return
        self.pace.happened(now)
        self.over_at = None
        self.count += 1
        self.fresh += 1
        self.fresh_since = self.fresh_since or now
        if len(self.items) < LINES:
            self.items.append(item)
        if name and name not in self.names and len(self.names) < _KNOWN:
            self.names.append(name)
        if name in self.open or len(self.open) < _KNOWN:
            self.open[name] = what
        if name in self.well:
            self.well.remove(name)

    def _begin_anew(self, now: datetime) -> None:
        self.since, self.count, self.told, self.over_at = now, 0, False, None
        self.open, self.well = {}, []

    def recovered(self, name: str, now: datetime) -> bool:
        """Whether that is news."""
        if self.open.pop(name, None) is None:
            return False
        if name and len(self.well) < _KNOWN:
            self.well.append(name)
        if not self.open:
            self.over_at = now
        return True

    def due(self, channel: str, now: datetime, make: Callable[[], UUID], *, folds: bool) -> Message | None:
        """The message whose time has come. With `folds`, the end of an incident tells what was not told before it."""
        if self.over_at is not None and self.told and (folds or not self.fresh) and _passed(self.over_at, now):
            self._nothing_fresh()
            self.told = False
            return self._ended(channel, now, make())
        if self.fresh and self.fresh_since is not None and self.pace.ready(self.fresh_since, now):
            message = self._told(channel, now, make())
            self.pace.sent(now)
            self._nothing_fresh()
            self.told = self.over_at is None  # else it has told the end as well
            return message
        return None

    def _nothing_fresh(self) -> None:
        self.fresh, self.fresh_since, self.items, self.names = 0, None, [], []

    @property
    def ends(self) -> bool:
        return self.over_at is not None and not self.fresh and not self.told

    def _told(self, channel: str, now: datetime, key: UUID) -> Message:
        well = self.well or (["all of it"] if self.over_at is not None else [])
        return Message(
            id=key,
            channel=channel,
            kind=self.kind,
            at=now,
            title=title(self.kind, self.fresh, self.names),
            text=body([item.line() for item in self.items], self.fresh - len(self.items), self.since, well),
            since=self.since,
            counts={self.kind.value: self.count},
            schedules=tuple(self.names),
            items=tuple(self.items),
        )

    def _ended(self, channel: str, now: datetime, key: UUID) -> Message:
        names = sorted(self.well)
        return Message(
            id=key,
            channel=channel,
            kind=AlertKind.RECOVERED,
            of=self.kind,
            at=now,
            title=recovered_title(self.kind, self.count, names),
            text=body([f"{name} is well again" for name in names[:LINES]], len(names) - LINES, self.since),
            since=self.since,
            counts={self.kind.value: self.count},
            schedules=tuple(names),
        )


@dataclass(slots=True, kw_only=True)
class State:
    """All that a channel must know to go on after a restart."""

    incidents: dict[AlertKind, Incident] = field(default_factory=dict)
    outage: Outage | None = None
    outages: Pace = field(default_factory=Pace)
    held: list[Item] = field(default_factory=list)


def _passed(since: datetime, now: datetime) -> bool:
    return now >= since + GATHER or now < since - _CLOCK_SET


class Grouping:
    """The alerts of one channel. `kinds` are those that it gets at all; what a schedule narrows is narrowed before."""

    def __init__(
        self,
        channel: str,
        kinds: frozenset[AlertKind],
        state: State | None = None,
        make: Callable[[], UUID] = uuid4,
    ) -> None:
        self._channel = channel
        self._kinds = kinds
        self._make = make
        self.state = state or State()
        self.dirty = False
        """Whether `state` has changed since somebody set this to False."""
        if self.state.outage is not None:
            self.state.outage.inherited = True

    @property
    def busy(self) -> bool:
        """Whether anything may come due."""
        return bool(self.state.incidents or self.state.outage)

    @property
    def back_at(self) -> datetime | None:
        """When the server of the outage came back whose end is still to be told."""
        return self.state.outage.back_at if self.state.outage is not None else None

    def tell(self, alert: Alert, now: datetime) -> None:
        """Something happened that this channel gets; `recovered` ones always, since they end what was told."""
        if alert.kind is AlertKind.RECOVERED:
            self._recover(alert, now)
        elif alert.kind is AlertKind.UNAVAILABLE:
            self._go_away(alert, now)
        elif self._absorbs(alert):
            pass
        else:
            self._add(Item.of(alert), now)

    def _add(self, item: Item, now: datetime) -> None:
        known = self.state.incidents.get(item.kind)
        incident = known or self.state.incidents.setdefault(item.kind, Incident(kind=item.kind, since=now))
        incident.add(item, now)
        self.dirty = True

    def closed(self, fire: Fire) -> None:
        """A fire has its end, for the counts of an outage."""
        if self.state.outage is not None:
            self.state.outage.closed(fire)
            self.dirty = True

    def _absorbs(self, alert: Alert) -> bool:
        if self.state.outage is None or AlertKind.RECOVERED not in self._kinds:
            return False
        if alert.kind in HELD and self.state.outage.back_at is None:
            self.state.held.append(Item.of(alert))
            self.dirty = True
            return True
        return absorbed(alert)

    def _go_away(self, alert: Alert, now: datetime) -> None:
        self.dirty = True
        if self.state.outage is None:
            self.state.outage = Outage(since=alert.at, why=alert.text)
            self.state.outages.happened(now)
        else:
            self.state.outage.back_at, self.state.outage.inherited = None, False

    def _recover(self, alert: Alert, now: datetime) -> None:
        if alert.of is AlertKind.UNAVAILABLE:
            if self.state.outage is not None:
                self.state.outage.back_at = alert.at
                self.dirty = True
            return
        left = [held for held in self.state.held if (held.kind, held.schedule) != (alert.of, alert.schedule)]
        if len(left) < len(self.state.held):
            self.state.held, self.dirty = left, True
        incident = self.state.incidents.get(alert.of) if alert.of else None
        if incident is not None and incident.recovered(alert.schedule or _DAEMON, now):
            self.dirty = True

    def due(self, now: datetime, waiting: int = 0) -> list[Message]:
        """The messages whose time has come. `waiting` fires of an outage that is over are not through yet."""
        found = deque[Message]()
        if self.state.outage is not None and (message := self._of_outage(self.state.outage, now, waiting)):
            found.append(message)
        for kind, incident in list(self.state.incidents.items()):
            message = incident.due(self._channel, now, self._make, folds=AlertKind.RECOVERED in self._kinds)
            if message is not None:
                self.dirty = True
                if message.kind in (incident.kind, *self._kinds):
                    found.append(message)
            if self._forgettable(incident, now):
                del self.state.incidents[kind]
                self.dirty = True
        return list(found)

    @staticmethod
    def _forgettable(incident: Incident, now: datetime) -> bool:
        """One that is over stays as long as its pace counts, so that what comes and goes makes few messages."""
        last = incident.pace.last_at or incident.since
        if incident.ends:
            return now - last > max(QUIET, incident.pace.interval)
        return now - last > FORGOTTEN and incident.kind not in _LASTING and not incident.fresh

    def _of_outage(self, outage: Outage, now: datetime, waiting: int) -> Message | None:
        over = outage.back_at is not None and _passed(outage.back_at, now)
        if over and waiting and outage.back_at is not None and now < outage.back_at + PATIENCE:
            over = False
        if over and not outage.told and outage.lasted < GATHER and not outage.missed + outage.failed:
            self._end_outage(now)  # it was over before anybody could have been told
            return None
        paced = outage.told or self.state.outages.ready(outage.since, now)
        if over and paced:
            self._end_outage(now)
            return self._back(outage, now, waiting) if AlertKind.RECOVERED in self._kinds else None
        if not outage.told and paced and outage.back_at is None:
            outage.told, self.dirty = True, True
            self.state.outages.sent(now)
            return self._away(outage, now)
        return None

    def _end_outage(self, now: datetime) -> None:
        self.dirty = True
        self.state.outage, held, self.state.held = None, self.state.held, []
        for item in held:
            self._add(item, now)

    def _away(self, outage: Outage, now: datetime) -> Message:
        return Message(
            id=self._make(),
            channel=self._channel,
            kind=AlertKind.UNAVAILABLE,
            at=now,
            title="the ZenML server is unavailable",
            text=away_text(outage.why, outage.since),
            since=outage.since,
            counts={},
        )

    def _back(self, outage: Outage, now: datetime, waiting: int) -> Message:
        counts = {**outage.counts, "waiting": waiting}
        return Message(
            id=self._make(),
            channel=self._channel,
            kind=AlertKind.RECOVERED,
            of=AlertKind.UNAVAILABLE,
            at=now,
            title="the ZenML server is back",
            text=back_text(counts, outage.since, outage.lasted, outage.names),
            since=outage.since,
            counts=counts,
            schedules=tuple(outage.names),
        )
