"""What tells people and their tools, put together from the settings: channels of alerts, dead man's switches."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

from zendaemon import clock
from zendaemon.core.alert import Alert, AlertKind
from zendaemon.notify.alarms import Alarms
from zendaemon.notify.delivery import Delivery
from zendaemon.notify.heartbeats import Heartbeats, is_well
from zendaemon.notify.sending import Web, sender
from zendaemon.references import secret_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zendaemon.core.message import Message
    from zendaemon.daemon import Daemon
    from zendaemon.engine import Engine
    from zendaemon.journal import Journal
    from zendaemon.metrics import Metrics
    from zendaemon.settings import Settings


class People:
    """All that goes out to others than the ZenML server. `observers` are to be told of fires."""

    def __init__(self, settings: Settings, journal: Journal, engine: Engine, metrics: Metrics | None) -> None:
        self._settings = settings
        self._web = Web()
        deliveries = {
            name: Delivery(name, send, journal, now=clock.now, webhook=settings.notify[name].webhook is not None)
            for name, send in senders(settings, self._web).items()
        }
        self.alarms = Alarms(
            settings.notify, deliveries, journal, schedules=lambda: engine.schedules.schedules, now=clock.now
        )
        self.heartbeats = Heartbeats(
            self._web, schedules=lambda: engine.schedules.schedules, url=settings.secret("heartbeat_url")
        )
        self.observers = (self.alarms, self.heartbeats)
        if metrics is not None:
            metrics.expect(settings.notify)
            self.heartbeats.observer = metrics
            for delivery in deliveries.values():
                delivery.observer = metrics

    def tell_of_aftermath(self, alert: Alert) -> None:
        """A run that no other one follows after all is the end to its dead man's switch too."""
        self.alarms.tell(alert)
        if alert.kind is AlertKind.RUN_FAILED and alert.fire is not None:
            self.heartbeats.ended(alert.fire)

    def join(self, daemon: Daemon) -> None:
        """Have them run as long as the daemon does."""
        well = partial(is_well, lambda: daemon.healthy, daemon.check_journal)
        daemon.beside = (
            ("alarms", self.alarms.run),
            ("heartbeats", partial(self.heartbeats.run, self._settings.heartbeat_interval, well)),
        )
        daemon.at_end = (self.alarms.close, self._web.close)
        daemon.channels = self._settings.notify.keys()


def senders(settings: Settings, web: Web) -> dict[str, Callable[[Message], Awaitable[None]]]:
    """What tries once to deliver to a channel, by its name."""
    who = {"host": socket.gethostname(), **({"server": settings.server_url} if settings.server_url else {})}
    return {name: sender(name, channel, web, clock.now, who) for name, channel in settings.notify.items()}


def check_secrets(settings: Settings) -> None:
    """Raises SettingsError for what a channel or the daemon's heartbeat refers to and is not there."""
    for name, channel in settings.notify.items():
        secret_of(name, channel)()
    if (url := settings.secret("heartbeat_url")) is not None:
        url()
