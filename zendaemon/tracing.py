"""Traces for OpenTelemetry: a span a fire, from its claim to its close. Imported only where somebody asks for them.

A trace has the id of its fire's key, so that what a second process does for a fire after a crash joins the same trace,
and a log line leads to it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from zendaemon import __version__, clock
from zendaemon.core.fire import FireState, instant_text
from zendaemon.events import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue
    from structlog.typing import EventDict, WrappedLogger

    from zendaemon.core.fire import Fire
    from zendaemon.events import Outcome

log = structlog.get_logger()

FLUSH = timedelta(seconds=5)
"""How long a stop waits for a collector."""
QUIET = 600.0
"""Seconds in which one line at most tells of a collector that takes no traces."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PREFIX = "zendaemon."
_TRACEPARENT = TraceContextTextMapPropagator()


class Tracing(Observer):
    """Observes fires (see events.Observer). `headers` gives those of a start, `add_ids` is a processor of structlog."""

    def __init__(self, processor: SpanProcessor, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._ids = _FireIds()
        resource = Resource({SERVICE_VERSION: __version__}).merge(Resource.create())
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "zendaemon"}))
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("zendaemon", __version__)
        self._spans: dict[str, Span] = {}

    @classmethod
    def begin(cls) -> Tracing:
        """To the collector that OTEL_EXPORTER_OTLP_ENDPOINT and the other standard variables tell, and into the log."""
        quiet = logging.getLogger("opentelemetry")
        quiet.propagate = False
        quiet.handlers = [Seldom(clock.monotonic)]
        tracing = cls(BatchSpanProcessor(OTLPSpanExporter()), now=clock.now)
        structlog.configure(processors=[tracing.add_ids, *structlog.get_config()["processors"]])
        return tracing

    def left_behind(self, fire: Fire) -> None:
        self._span(fire).add_event("left_behind", timestamp=_nanoseconds(self._now()))

    def posting(self, fire: Fire) -> None:
        self._span(fire)

    def posted(self, fire: Fire, outcome: Outcome, seconds: float) -> None:
        values = {"attempt": fire.attempts, "outcome": outcome.value, "duration_seconds": seconds}
        self._span(fire).add_event("attempt", _named(values), timestamp=_nanoseconds(self._now()))

    def closed(self, fire: Fire) -> None:
        span = self._span(fire)
        del self._spans[str(fire.key)]
        span.set_attributes(_named(_values(fire)))
        if fire.state in (FireState.FAILED, FireState.MISSED):
            span.set_status(StatusCode.ERROR, f"{fire.reason}: {fire.message}" if fire.message else fire.reason)
        begin = _begin(fire)
        span.end(end_time=_nanoseconds(max(begin, fire.decided_at or begin)))  # the clock may have been set back

    def run_again(self, fire: Fire) -> None:
        self.closed(fire)

    def headers(self, key: UUID) -> Mapping[str, str]:
        """The `traceparent` of a fire's start."""
        found: dict[str, str] = {}
        span = self._spans.get(str(key))
        if span is not None:
            _TRACEPARENT.inject(found, set_span_in_context(span, Context()))
        return found

    def add_ids(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        """The ids of the trace, and of the span while it is open, for every event with a fire's key."""
        key = event.get("fire_key")
        if isinstance(key, str):
            event["trace_id"] = key.replace("-", "")
            if (span := self._spans.get(key)) is not None:
                event["span_id"] = f"{span.get_span_context().span_id:016x}"
        return event

    async def close(self) -> None:
        """End the spans of the fires that stay claimed, and send what is left, for as long as FLUSH."""
        for span in self._spans.values():
            span.set_attributes(_named({"state": FireState.CLAIMED.value}))
            span.end(end_time=_nanoseconds(self._now()))
        self._spans.clear()
        sending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, FLUSH.total_seconds())

    def _span(self, fire: Fire) -> Span:
        key = str(fire.key)
        if (span := self._spans.get(key)) is None:
            self._ids.trace_id = fire.key.int
            span = self._spans[key] = self._tracer.start_span(
                "fire",
                context=Context(),
                kind=SpanKind.CLIENT,
                attributes=_named(_values(fire)),
                start_time=_nanoseconds(_begin(fire)),
            )
        return span


class Seldom(logging.Handler):
    """What the SDK complains of as one event of ours, and no more of it for a while."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._elapsed = elapsed
        self._said_at: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        now = self._elapsed()
        if self._said_at is None or now - self._said_at >= QUIET:
            self._said_at = now
            log.warning("traces.lost", error=record.getMessage())


class _FireIds(RandomIdGenerator):
    """Gives the next trace the id that it was told."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def is_trace_id_random(self) -> bool:
        """It is a hash: as even as a sampler needs it, and yet foretold."""
        return False


def _values(fire: Fire) -> dict[str, str | int | float | None]:
    return {
        "schedule": fire.schedule,
        "fire_time": instant_text(fire.fire_time),
        "through": instant_text(fire.through) if fire.through else None,
        "fire_key": str(fire.key),
        "manual": fire.manual,
        "state": fire.state.value,
        "reason": fire.reason and fire.reason.value,
        "run_name": fire.run_name,
        "run_id": fire.run_id,
        "attempt": fire.attempts,
        "lateness_seconds": fire.lateness_seconds,
    }


def _named(values: Mapping[str, str | int | float | None]) -> dict[str, AttributeValue]:
    return {_PREFIX + name: value for name, value in values.items() if value is not None}


def _begin(fire: Fire) -> datetime:
    return fire.claimed_at or fire.decided_at or fire.fire_time


def _nanoseconds(instant: datetime) -> int:
    """Since 1970, as the SDK wants it."""
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1000
