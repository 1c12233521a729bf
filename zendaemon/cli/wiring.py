"""The parts of the daemon, put together from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zendaemon import clock
from zendaemon.attempts import Attempts
from zendaemon.core.errors import SettingsError
from zendaemon.daemon import Daemon
from zendaemon.engine import Engine
from zendaemon.journal import Reader
from zendaemon.loader import Loaded, load
from zendaemon.operations import Operations
from zendaemon.retention import Retention
from zendaemon.runs import Runs
from zendaemon.systemd import Notifier
from zendaemon.targets import Targets
from zendaemon.timers import Timers
from zendaemon.zenml import ApiKey, Limits, Resolver, Secret, Token, UserPassword, ZenML

if TYPE_CHECKING:
    from zendaemon.journal import Journal
    from zendaemon.settings import Settings
    from zendaemon.zenml import Credentials

_QUESTIONS = 4
"""Calls beside the starts, so that long starts never hold up a look-up."""


def credentials(settings: Settings) -> Credentials:
    """The first that is given of API key, token, user and password. Raises SettingsError when none is."""
    api_key, token, password = (settings.secret(name) for name in ("api_key", "token", "password"))
    for given in (api_key, token, password):
        if given is not None:
            given()  # a file that cannot be read is a matter for now, not for the first fire
    if api_key is not None:
        return ApiKey(Secret(api_key))
    if token is not None:
        return Token(Secret(token))
    if settings.username is not None:
        return UserPassword(settings.username, Secret(password or (lambda: "")))
    raise SettingsError(
        "no credentials for the ZenML server are given",
        hint="set ZENDAEMON_API_KEY_FILE to a file with a service account's API key (docs/settings.md has the others)",
    )


def zenml(settings: Settings) -> ZenML:
    """A client of the server of the settings."""
    return ZenML(
        settings.server(),
        credentials(settings),
        now=clock.now,
        elapsed=clock.elapsed,
        limits=Limits(concurrency=max(settings.in_flight) + _QUESTIONS),
        ca_file=settings.ca_file,
    )


def daemon(settings: Settings, client: ZenML, journal: Journal) -> tuple[Daemon, Operations]:
    """The daemon, ready to run, and what operators may ask of it."""
    targets = Targets(Resolver(client, clock.now), journal, now=clock.now)
    usual, when_quick = settings.in_flight
    attempts = Attempts(
        client,
        targets,
        journal,
        now=clock.now,
        elapsed=clock.elapsed,
        max_concurrency=usual,
        when_quick=when_quick,
        settle_after=settings.settle_after,
    )
    runs = Runs(client, journal, now=clock.now, stuck_after=settings.stuck_after)
    engine = Engine(
        journal=journal, targets=targets, attempts=attempts, runs=runs, now=clock.now, monotonic=clock.monotonic
    )
    timers = engine.timers = Timers(engine.wake)

    def load_files(previous: Loaded | None) -> Loaded:
        return load(settings.schedules, now=clock.now(), previous=previous)

    made = Daemon(
        engine=engine,
        targets=targets,
        attempts=attempts,
        runs=runs,
        retention=Retention(journal, age=settings.retention, count=settings.retention_count, now=clock.now),
        journal=journal,
        timers=timers,
        notifier=Notifier.from_environment(),
        load=load_files,
        server_url=client.url,
        drain_timeout=settings.drain_timeout,
        resolve_interval=settings.resolve_interval,
    )
    reader = Reader(settings.journal_url())
    operations = Operations(
        engine=engine, targets=targets, attempts=attempts, server=client, process=made, reader=reader
    )
    return made, operations
