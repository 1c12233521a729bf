"""Metrics for Prometheus: counters and histograms fed by fires, gauges read from the parts when somebody scrapes."""

from __future__ import annotations

import platform
from collections import Counter as Tally
from itertools import product
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from zendaemon import __version__, clock
from zendaemon.core.alert import AlertKind
from zendaemon.core.errors import JournalError
from zendaemon.core.fire import FireState, Reason
from zendaemon.core.run import TERMINAL
from zendaemon.core.shown import ScheduleState
from zendaemon.core.sla import Promise
from zendaemon.events import Observer, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from zendaemon.attempts import Attempts
    from zendaemon.core.fire import Fire
    from zendaemon.engine import Engine
    from zendaemon.journal import Journal
    from zendaemon.operations import Brief, Operations
    from zendaemon.targets import Targets

LATENESS_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
DURATION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds."""

REASONS: dict[FireState, tuple[Reason | None, ...]] = {
    FireState.STARTED: (None,),
    FireState.SKIPPED: (
        Reason.OVERLAP,
        Reason.EXCLUDED,
        Reason.MAX_RUNS,
        Reason.PAUSED,
        Reason.DEPENDENCY,
        Reason.CONDITION,
    ),
    FireState.MISSED: (Reason.CATCHUP_NONE, Reason.CATCHUP_LATEST, Reason.CATCHUP_WINDOW, Reason.REMOVED),
    FireState.FAILED: (
        Reason.REMOVED,
        Reason.UNRESOLVED,
        Reason.UNAUTHORIZED,
        Reason.REJECTED,
        Reason.NAME_TAKEN,
        Reason.RETRIES_EXHAUSTED,
        Reason.OVERLAP,
    ),
}
"""The series that are there from the beginning, at 0: what Prometheus sees for the first time at 1 is no increase."""

_OTHER = "other"
_DELIVERIES = ("delivered", "failed", "lost")

_MIRRORED: dict[str, str] = {
    "zendaemon_build_info": "Always 1; the version of zendaemon, and that of Python.",
    "zendaemon_schedules": "Schedules of the set in force, by state.",
    "zendaemon_schedules_unresolved": "Enabled schedules, paused ones too, whose target leads to nothing.",
    "zendaemon_promises_broken": "Schedules that break this promise of theirs (`sla`), by promise.",
    "zendaemon_next_fire_timestamp_seconds": "When the next fire of all schedules is to be started, jitter included.",
    "zendaemon_oldest_resolve_timestamp_seconds": "When the ids were resolved that have been in use for the longest.",
    "zendaemon_starts_in_flight": "Attempts that are under way.",
    "zendaemon_start_limit": (
        "How many may be under way: max_concurrency; less while the server is busy or down, more while it is quick."
    ),
    "zendaemon_fires_waiting": "Claimed fires that wait for their turn or for the server.",
    "zendaemon_claims_unsettled": "Claims of which only the server can tell whether they have a run.",
    "zendaemon_oldest_unsettled_claim_timestamp_seconds": "When the oldest of them was claimed.",
    "zendaemon_server_up": "1 unless the last attempt could not reach the ZenML server.",
    "zendaemon_journal_writable": "1 unless the last transaction of the journal failed.",
    "zendaemon_engine_beat_age_seconds": "Seconds since the engine's last turn.",
    "zendaemon_clock_jumps": "How often the wall clock was seen to be set, or the machine to have slept.",
    "zendaemon_channel_up": "0 while the last try to deliver a message to a channel of alerts failed.",
    "zendaemon_messages_waiting": "Messages that a channel has not taken yet.",
    "zendaemon_last_reload_successful": "0 while the last reload is one that was refused.",
    "zendaemon_last_reload_success_timestamp_seconds": "When the schedule set in force was loaded.",
    "zendaemon_schedule_next_fire_timestamp_seconds": "When its next fire is to be started, jitter included.",
    "zendaemon_schedule_last_success_timestamp_seconds": "The fire time of its latest fire that was started.",
    "zendaemon_schedule_promise_broken": "1 while it breaks this promise, 0 while it keeps it.",
    "zendaemon_schedule_fires": "Closed fires of the schedule by state.",
}
"""What is read at a scrape. Those of single schedules only when they are asked for."""
_COUNTERS = ("zendaemon_clock_jumps", "zendaemon_schedule_fires")


class Metrics(Observer):
    """Observes fires (see events.Observer), and renders everything for a scrape. `render` may be called in any thread.

    `per_schedule` adds series for every single schedule.
    """

    def __init__(self, *, per_schedule: bool = False) -> None:
        registry = self.registry = CollectorRegistry()
        self.per_schedule = per_schedule
        self.fires_by_schedule: Tally[tuple[str, FireState]] = Tally()
        self.last_started: dict[str, datetime] = {}
        self.unsettled: dict[tuple[str, datetime, bool], datetime] = {}
        """Fires whose last request may have made a run, with the instants at which they were claimed."""
        self._fires = Counter(
            "zendaemon_fires",
            "Closed fires; a range that was missed or skipped together counts once.",
            ["state", "reason", "manual"],
            registry=registry,
        )
        self._lateness = Histogram(
            "zendaemon_fire_lateness_seconds",
            "Start of the first attempt minus fire time, of fires that are not manual.",
            buckets=LATENESS_BUCKETS,
            registry=registry,
        )
        self._attempts = Counter("zendaemon_attempts", "Attempts (POSTs) by outcome.", ["outcome"], registry=registry)
        self._duration = Histogram(
            "zendaemon_attempt_duration_seconds",
            "From an attempt's request to its answer or failure.",
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._runs = Counter(
            "zendaemon_runs_ended", "Runs that were followed to their end, by status.", ["status"], registry=registry
        )
        self._messages = Counter(
            "zendaemon_messages",
            "Messages to channels of alerts: delivered, lost for good, and tries that failed.",
            ["channel", "kind", "outcome"],
            registry=registry,
        )
        self._heartbeats = Counter(
            "zendaemon_heartbeats",
            "Pings of dead man's switches: delivered, lost for good, and tries that failed.",
            ["outcome"],
            registry=registry,
        )
        self._begin()
        ProcessCollector(registry=registry)

    def _begin(self) -> None:
        """Have the series there from the beginning."""
        for outcome in _DELIVERIES:
            self._heartbeats.labels(outcome)
        for state, reasons in REASONS.items():
            for reason in reasons:
                self._fires.labels(state.value, reason or "", "false")
        self._outcomes = {each: self._attempts.labels(each.value) for each in Outcome}
        for status in (*sorted(TERMINAL), _OTHER):
            self._runs.labels(status)

    def left_behind(self, fire: Fire) -> None:
        self._doubt(fire)

    def posted(self, fire: Fire, outcome: Outcome, seconds: float) -> None:
        self._outcomes[outcome].inc()
        self._duration.observe(seconds)
        if outcome in (Outcome.UNCERTAIN, Outcome.NAME_TAKEN, Outcome.BROKEN_OFF):
            self._doubt(fire)
        else:  # what was sent before it had made no run, or there would have been no other attempt
            self.unsettled.pop(_identity(fire), None)

    def closed(self, fire: Fire) -> None:
        self.unsettled.pop(_identity(fire), None)
        self._fires.labels(fire.state.value, fire.reason or "", "true" if fire.manual else "false").inc()
        if fire.lateness_seconds is not None and not fire.manual:
            self._lateness.observe(fire.lateness_seconds)
        if self.per_schedule:
            self.fires_by_schedule[fire.schedule, fire.state] += 1
            if fire.state is FireState.STARTED:
                self.last_started[fire.schedule] = fire.fire_time

    def ended(self, fire: Fire) -> None:
        self._runs.labels(fire.run_status if fire.run_status in TERMINAL else _OTHER).inc()

    def expect(self, channels: Iterable[str]) -> None:
        """The channels that there are."""
        for channel, kind, outcome in product(channels, AlertKind, _DELIVERIES):
            self._messages.labels(channel, kind.value, outcome)

    def message(self, channel: str, kind: AlertKind, outcome: str) -> None:
        """See notify.delivery.Observer."""
        self._messages.labels(channel, kind.value, outcome).inc()

    def heartbeat(self, outcome: str) -> None:
        """See notify.delivery.Observer."""
        self._heartbeats.labels(outcome).inc()

    def mirror(
        self, operations: Operations, engine: Engine, targets: Targets, attempts: Attempts, journal: Journal
    ) -> None:
        """Read the gauges from these parts from now on. To be called once."""
        self.registry.register(_Mirror(self, operations, engine, targets, attempts, journal))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The body of a scrape and its content type: OpenMetrics where the header Accept asks for it, else plain."""
        encode, content_type = choose_encoder(accept)
        return encode(_WithoutCreated(self.registry)), content_type

    def _doubt(self, fire: Fire) -> None:
        self.unsettled[_identity(fire)] = fire.claimed_at or fire.fire_time


def _identity(fire: Fire) -> tuple[str, datetime, bool]:
    return fire.schedule, fire.fire_time, fire.manual


class _WithoutCreated(CollectorRegistry):
    """A registry without the `_created` series that the library adds to each counter and histogram."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._of = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._of.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class _Mirror(Collector):
    """Reads the state of the parts, at a scrape and never else."""

    def __init__(
        self,
        metrics: Metrics,
        operations: Operations,
        engine: Engine,
        targets: Targets,
        attempts: Attempts,
        journal: Journal,
    ) -> None:
        self._metrics = metrics
        self._operations = operations
        self._engine = engine
        self._targets = targets
        self._queue = attempts.queue
        self._journal = journal
        self._known: dict[str, datetime] | None = None
        self._reloaded_at = clock.now()

    def describe(self) -> Iterable[Metric]:
        """The families, for the registry to know their names."""
        for name, text in _MIRRORED.items():
            if self._metrics.per_schedule or not name.startswith("zendaemon_schedule_"):
                yield (CounterMetricFamily if name in _COUNTERS else GaugeMetricFamily)(name, text)

    def collect(self) -> Iterator[Metric]:
        briefs = self._operations.briefs()
        yield from self._schedules(briefs)
        yield from self._attempts()
        yield from self._health()
        yield from self._reloads()
        yield from self._channels()
        if self._metrics.per_schedule:
            yield from self._each(briefs)

    def _schedules(self, briefs: list[Brief]) -> Iterator[Metric]:
        states = dict.fromkeys(ScheduleState, 0) | Tally(brief.state for brief in briefs)
        yield _labelled("zendaemon_schedules", "state", ((state.value, count) for state, count in states.items()))
        yield _gauge("zendaemon_schedules_unresolved", len(self._targets.unresolved))
        broken = Tally(each.promise for some in self._operations.broken().values() for each in some)
        yield _labelled("zendaemon_promises_broken", "promise", ((each.value, broken[each]) for each in Promise))
        paused = ScheduleState.PAUSED
        starts = (_next_start(brief) for brief in briefs if brief.state is not paused)
        yield _instant("zendaemon_next_fire_timestamp_seconds", starts)
        ids = (self._targets.get(brief.schedule) for brief in briefs if brief.schedule.enabled)
        yield _instant("zendaemon_oldest_resolve_timestamp_seconds", (found.resolved_at for found in ids if found))

    def _attempts(self) -> Iterator[Metric]:
        queue, unsettled = self._queue, dict(self._metrics.unsettled)
        yield _gauge("zendaemon_starts_in_flight", queue.in_flight)
        yield _gauge("zendaemon_start_limit", queue.pace.limit)
        yield _gauge("zendaemon_fires_waiting", queue.waiting)
        yield _gauge("zendaemon_claims_unsettled", len(unsettled))
        yield _instant("zendaemon_oldest_unsettled_claim_timestamp_seconds", unsettled.values())
        yield _gauge("zendaemon_server_up", queue.unavailable_since is None)

    def _health(self) -> Iterator[Metric]:
        yield _gauge("zendaemon_journal_writable", self._journal.writable)
        yield _gauge("zendaemon_engine_beat_age_seconds", max(0.0, clock.monotonic() - self._engine.beat))
        jumps = CounterMetricFamily("zendaemon_clock_jumps", _MIRRORED["zendaemon_clock_jumps"])
        jumps.add_metric([], self._engine.awake.jumps)
        yield jumps
        info = GaugeMetricFamily(
            "zendaemon_build_info", _MIRRORED["zendaemon_build_info"], labels=["version", "python"]
        )
        info.add_metric([__version__, platform.python_version()], 1)
        yield info

    def _channels(self) -> Iterator[Metric]:
        shown = self._operations.channels()
        up = ((channel.channel, float(channel.failing_since is None)) for channel in shown)
        yield _labelled("zendaemon_channel_up", "channel", up)
        waiting = ((channel.channel, float(channel.waiting)) for channel in shown)
        yield _labelled("zendaemon_messages_waiting", "channel", waiting)

    def _reloads(self) -> Iterator[Metric]:
        reloads = self._operations.reloads()
        self._reloaded_at = next((reload.at for reload in reloads if reload.applied), self._reloaded_at)
        yield _gauge("zendaemon_last_reload_successful", not reloads or reloads[0].applied)
        yield _instant("zendaemon_last_reload_success_timestamp_seconds", [self._reloaded_at])

    def _each(self, briefs: list[Brief]) -> Iterator[Metric]:
        metrics, names = self._metrics, {brief.schedule.name for brief in briefs}
        for key in [key for key in list(metrics.fires_by_schedule) if key[0] not in names]:
            del metrics.fires_by_schedule[key]
        for name in metrics.last_started.keys() - names:
            del metrics.last_started[name]
        starts = ((brief.schedule.name, _next_start(brief)) for brief in briefs)
        yield _labelled(
            "zendaemon_schedule_next_fire_timestamp_seconds",
            "schedule",
            ((name, start.timestamp()) for name, start in starts if start is not None),
        )
        yield self._promises(briefs)
        started = {**self._of_the_journal(), **metrics.last_started}
        yield _labelled(
            "zendaemon_schedule_last_success_timestamp_seconds",
            "schedule",
            ((name, started[name].timestamp()) for name in sorted(started.keys() & names)),
        )
        fires = CounterMetricFamily(
            "zendaemon_schedule_fires", _MIRRORED["zendaemon_schedule_fires"], labels=["schedule", "state"]
        )
        for (name, state), count in dict(metrics.fires_by_schedule).items():
            fires.add_metric([name, state.value], count)
        yield fires

    def _promises(self, briefs: list[Brief]) -> Metric:
        name, known = "zendaemon_schedule_promise_broken", self._operations.broken()
        family = GaugeMetricFamily(name, _MIRRORED[name], labels=["schedule", "promise"])
        for schedule in (brief.schedule for brief in briefs if brief.schedule.sla is not None):
            broken = {each.promise for each in known.get(schedule.name, ())}
            for promise in Promise:
                if getattr(schedule.sla, promise) is not None:
                    family.add_metric([schedule.name, promise.value], promise in broken)
        return family

    def _of_the_journal(self) -> dict[str, datetime]:
        """What earlier processes started last, read once."""
        if self._known is None:
            try:
                last = self._operations.last()
            except JournalError:
                return {}
            self._known = {name: fire.fire_time for name, fire in last.items() if fire.state is FireState.STARTED}
        return self._known


def _next_start(brief: Brief) -> datetime | None:
    return None if brief.next_fire_time is None else brief.next_fire_time + brief.schedule.delay


def _gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, _MIRRORED[name], value=float(value))


def _instant(name: str, instants: Iterable[datetime | None]) -> Metric:
    """The earliest of them as a Unix time; no sample where there is none."""
    family = GaugeMetricFamily(name, _MIRRORED[name])
    earliest = min((instant for instant in instants if instant is not None), default=None)
    if earliest is not None:
        family.add_metric([], earliest.timestamp())
    return family


def _labelled(name: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, _MIRRORED[name], labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family
