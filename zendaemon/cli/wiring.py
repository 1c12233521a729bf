"""The parts of the daemon, put together from the settings."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import structlog

from zendaemon import clock
from zendaemon.activity import Activity
from zendaemon.aftermath import Aftermath
from zendaemon.attempts import Attempts
from zendaemon.cli.people import People
from zendaemon.conditions import Conditions
from zendaemon.core.errors import SettingsError
from zendaemon.daemon import Daemon
from zendaemon.engine import Engine
from zendaemon.events import Observers
from zendaemon.gates import Gates
from zendaemon.journal import Reader
from zendaemon.loader import load
from zendaemon.operations import Operations
from zendaemon.rehearsal import Rehearsal
from zendaemon.retention import Retention
from zendaemon.runs import Runs
from zendaemon.sla import Promises
from zendaemon.systemd import Notifier
from zendaemon.targets import Targets
from zendaemon.timers import Timers
from zendaemon.turns import REST
from zendaemon.zenml import ApiKey, Freshness, Limits, Resolver, Secret, Token, UserPassword, ZenML

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from zendaemon.journal import Journal
    from zendaemon.metrics import Metrics
    from zendaemon.settings import Settings
    from zendaemon.tracing import Tracing
    from zendaemon.turns import GlancingSelector
    from zendaemon.web.serving import WebServer
    from zendaemon.zenml import Credentials

log = structlog.get_logger()

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


def web(settings: Settings, operations: Operations, metrics: Metrics | None = None) -> WebServer | None:
    """The status page and the HTTP API; None when they are off."""
    if settings.http is None:
        return None
    from zendaemon.web.app import create_app  # noqa: PLC0415 - other commands need not wait for the web's libraries
    from zendaemon.web.security import Access  # noqa: PLC0415
    from zendaemon.web.serving import WebServer  # noqa: PLC0415

    access = Access(
        address=settings.http,
        token=settings.http_secret(),
        monotonic=clock.monotonic,
        hosts=frozenset(settings.http_hosts),
    )
    return WebServer(create_app(operations, access, metrics), settings.http)


def metrics(settings: Settings) -> Metrics | None:
    """The metrics; None when nobody could scrape them."""
    if settings.http is None:
        return None
    from zendaemon.metrics import Metrics  # noqa: PLC0415 - other commands need not wait for its library

    return Metrics(per_schedule=settings.metrics_per_schedule)


def tracing(client: ZenML, environment: Mapping[str, str]) -> Tracing | None:
    """The traces, also into the log and the client's requests; None unless the environment asks for them."""
    if not asks_for_traces(environment):
        return None
    try:
        from zendaemon.tracing import Tracing  # noqa: PLC0415 - an extra, which costs nothing where it is not wanted
    except ImportError as error:
        log.warning("traces.off", error=str(error), hint="pip install 'zendaemon[otel]'")
        return None
    made = Tracing.begin()
    client.start_headers = made.headers
    return made


def asks_for_traces(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's standard variables name a collector, and do not turn the traces off."""
    exporters = environment.get("OTEL_TRACES_EXPORTER", "")
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    named = any(environment.get(name) for name in endpoints)
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and ("otlp" in exporters.split(",") if exporters else named)


class Heart(NamedTuple):
    """What decides, starts and follows."""

    engine: Engine
    targets: Targets
    attempts: Attempts
    runs: Runs
    aftermath: Aftermath
    rehearsal: Rehearsal


def heart(settings: Settings, client: ZenML, journal: Journal) -> Heart:
    """The engine with its parts, connected; nobody observes them yet."""
    targets = Targets(Resolver(client, clock.now), journal, now=clock.now)
    activity = Activity()
    gates = Gates(client, activity, now=clock.now)
    conditions = Conditions(Freshness(client), journal, now=clock.now)
    gates.unmet, targets.suspects = conditions.unmet, conditions.suspects
    usual, when_quick = settings.in_flight
    attempts = Attempts(
        client,
        targets,
        journal,
        gates,
        now=clock.now,
        elapsed=clock.elapsed,
        max_concurrency=usual,
        when_quick=when_quick,
        settle_after=settings.settle_after,
    )
    runs = Runs(client, journal, now=clock.now, stuck_after=settings.stuck_after)
    engine = Engine(
        journal=journal,
        activity=activity,
        targets=targets,
        attempts=attempts,
        runs=runs,
        now=clock.now,
        monotonic=clock.monotonic,
    )
    aftermath = Aftermath(engine, attempts, journal, now=clock.now)
    aftermath.connect(runs, gates)
    runs.schedule_of = attempts.starts.schedule_of = lambda name: engine.schedules.schedules.get(name)  # noqa: PLW0108 - a reload replaces them
    rehearsal = Rehearsal(engine, client, journal, attempts.queue, clock.now)
    return Heart(engine, targets, attempts, runs, aftermath, rehearsal)


def _timers(parts: Heart, selector: GlancingSelector | None) -> Timers:
    """The engine's timers, which tell of what is to come."""
    made = parts.engine.timers = Timers(parts.engine.wake)
    made.soon = (parts.attempts.starts.expect, parts.rehearsal.expect)
    let_rest(parts.engine, made.near, selector)
    return made


def let_rest(engine: Engine, near: Callable[[datetime], bool], selector: GlancingSelector | None) -> None:
    """Have the loop's selector look at the clocks while nothing is to come, so that the engine need not.

    `near` is as of Timers.
    """
    if selector is None:
        return

    def calm() -> bool:
        soon = near(clock.now() + timedelta(seconds=REST))
        return not (soon or engine.pauses.may_lapse or engine.activity.may_lapse)

    def glance() -> bool:
        if leapt := engine.awake.glance():
            engine.turns.hasten()
        return leapt

    engine.turns.calm, selector.glance = calm, glance


def daemon(
    settings: Settings,
    client: ZenML,
    journal: Journal,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
    selector: GlancingSelector | None = None,
) -> tuple[Daemon, Operations]:
    """The daemon, ready to run, and what operators may ask of it. `selector` is that of the running loop."""
    parts = heart(settings, client, journal)
    engine, targets, attempts, runs, aftermath, rehearsal = parts
    promises = Promises(engine, journal, now=clock.now, skew=lambda: client.skew)
    people = People(settings, journal, engine, metrics)
    asked = (each for each in (metrics, tracing) if each is not None)
    attempts.observer = runs.observer = Observers(promises, *asked, *people.observers)
    made = Daemon(
        engine=engine,
        aftermath=aftermath,
        targets=targets,
        attempts=attempts,
        runs=runs,
        promises=promises,
        retention=Retention(journal, age=settings.retention, count=settings.retention_count, now=clock.now),
        journal=journal,
        timers=_timers(parts, selector),
        notifier=Notifier.from_environment(),
        load=lambda previous: load(settings.schedules, now=clock.now(), previous=previous),
        server_url=client.url,
        drain_timeout=settings.drain_timeout,
        resolve_interval=settings.resolve_interval,
    )
    for each in (attempts.queue, targets, runs, engine.pauses, promises, made):
        each.tell = people.alarms.tell
    aftermath.tell = people.tell_of_aftermath
    people.join(made)
    made.beside = (*made.beside, ("rehearsal", rehearsal.run))
    reader = Reader(settings.journal_url())
    operations = Operations(
        engine=engine,
        targets=targets,
        attempts=attempts,
        server=client,
        process=made,
        reader=reader,
        broken=lambda: promises.broken,
    )
    operations.channels = people.alarms.shown
    if metrics is not None:
        metrics.mirror(operations, engine, targets, attempts, journal)
    return made, operations
