"""A span a fire, seen by the server that is told of it, by the log, and by a collector that may not be there."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import structlog
from contract.test_engine import Daemon, World, schedule, until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from standin import server as standins
from standin.server import StandIn

from zendaemon import log, tracing
from zendaemon.cli import wiring
from zendaemon.core.fire import FireState
from zendaemon.events import Observers
from zendaemon.tracing import Seldom, Tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with StandIn() as server:
        yield World(tmp_path, server)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    complains = logging.getLogger("opentelemetry")
    yield
    structlog.reset_defaults()
    complains.propagate, complains.handlers = True, []


@asynccontextmanager
async def traced(world: World, *schedules: Any) -> AsyncIterator[tuple[Daemon, InMemorySpanExporter]]:  # noqa: ANN401
    spans = InMemorySpanExporter()
    made = Tracing(SimpleSpanProcessor(spans), now=world.clock)
    async with world.daemon(*schedules) as daemon:
        observe(daemon, made)
        yield daemon, spans
    await made.close()


def observe(daemon: Daemon, made: Tracing) -> None:
    daemon.attempts.observer = daemon.runs.observer = Observers(made)
    daemon.zenml.start_headers = made.headers


def values(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("zendaemon."): value for name, value in (span.attributes or {}).items()}


def traceparent(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


async def test_a_fire_is_a_span_and_the_server_is_told_of_it(world: World) -> None:
    async with traced(world, schedule()) as (daemon, spans):
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        (span,) = spans.get_finished_spans()
    assert (span.name, span.parent, span.status.status_code) == ("fire", None, StatusCode.UNSET)
    assert span.context is not None
    assert UUID(int=span.context.trace_id) == fire.key
    assert values(span) == {
        "schedule": "nightly",
        "fire_time": "2026-11-23T12:00:00Z",
        "fire_key": str(fire.key),
        "manual": False,
        "state": "started",
        "run_name": fire.run_name,
        "run_id": fire.run_id,
        "attempt": 1,
        "lateness_seconds": pytest.approx(fire.lateness_seconds),
    }
    assert fire.claimed_at is not None
    assert fire.decided_at is not None
    assert (span.start_time, span.end_time) == tuple(map(tracing._nanoseconds, (fire.claimed_at, fire.decided_at)))
    assert [(event.name, (event.attributes or {})["zendaemon.outcome"]) for event in span.events] == [
        ("attempt", "started")
    ]
    assert span.resource.attributes["service.name"] == "zendaemon"
    (start,) = world.server.starts
    assert start.headers["traceparent"] == traceparent(span)
    assert start.headers["idempotency-key"] == str(fire.key)
    assert not [
        arrival for arrival in world.server.arrivals if arrival is not start and "traceparent" in arrival.headers
    ]


async def test_all_attempts_of_a_fire_are_in_one_span(world: World) -> None:
    async with traced(world, schedule()) as (daemon, spans):
        world.server.script(standins.NO_SLOT, standins.RESET)
        daemon.wake(seconds=6)
        await world.settled()
        (span,) = spans.get_finished_spans()
    outcomes = [(event.attributes or {})["zendaemon.outcome"] for event in span.events]
    assert outcomes == ["busy", "uncertain", "started"]
    assert [(event.attributes or {})["zendaemon.attempt"] for event in span.events] == [1, 2, 3]
    assert {start.headers["traceparent"] for start in world.server.starts} == {traceparent(span)}


async def test_what_a_crash_left_behind_goes_on_in_the_same_trace(world: World) -> None:
    world.server.script(standins.slow(30))
    async with traced(world, schedule()) as (daemon, first):
        daemon.wake(seconds=6)
        await until(lambda: world.server.runs)
    second = InMemorySpanExporter()
    made = Tracing(SimpleSpanProcessor(second), now=world.clock)
    async with world.daemon(schedule()) as daemon:
        observe(daemon, made)
        for fire in await daemon.journal.claims():
            made.left_behind(fire)
        await world.settled()
    await made.close()
    (left,), (settled,) = first.get_finished_spans(), second.get_finished_spans()
    assert (values(left)["state"], values(settled)["state"]) == ("claimed", "started")
    assert left.context is not None
    assert settled.context is not None
    assert left.context.trace_id == settled.context.trace_id
    assert left.context.span_id != settled.context.span_id


async def test_fires_that_are_no_run_are_spans_as_well(world: World) -> None:
    async with traced(world, schedule(overlap="skip"), schedule(name="wrong", snapshot="no-such")) as (daemon, spans):
        daemon.wake(seconds=6)
        await world.settled(2)
        daemon.wake(hours=1)
        await until(lambda: len(world.rows) == 4 and all(fire.final for fire in world.rows))
        await until(lambda: len(spans.get_finished_spans()) == 4)
        found = {(values(span)["state"], values(span).get("reason")): span for span in spans.get_finished_spans()}
    assert found.keys() == {("started", None), ("skipped", "overlap"), ("failed", "unresolved")}
    assert found["skipped", "overlap"].status.status_code is StatusCode.UNSET
    failed = found["failed", "unresolved"].status
    assert failed.status_code is StatusCode.ERROR
    assert failed.description is not None
    assert "no-such" in failed.description


async def test_the_log_leads_to_the_trace(world: World) -> None:
    lines = io.StringIO()
    log.configure("json", "debug", lines)
    spans = InMemorySpanExporter()
    made = Tracing(SimpleSpanProcessor(spans), now=world.clock)
    structlog.configure(processors=[made.add_ids, *structlog.get_config()["processors"]])
    async with world.daemon(schedule()) as daemon:
        observe(daemon, made)
        world.server.script(standins.NO_SLOT)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
    await made.close()
    (span,) = spans.get_finished_spans()
    said = {line["event"]: line for line in map(json.loads, lines.getvalue().splitlines())}
    for event in ("fire.retrying", "fire.started"):
        assert (said[event]["trace_id"], said[event]["span_id"]) == tuple(traceparent(span).split("-")[1:3])
    assert said["fire.started"]["trace_id"] == fire.key.hex
    assert "trace_id" not in said["schedule.resolved"]


class Collector(BaseHTTPRequestHandler):
    """Takes traces over OTLP, or refuses them."""

    status = 200
    requests: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Collector]]:
    taking = type("Taking", (Collector,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), taking) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield taking
        server.shutdown()


async def test_a_stop_sends_what_was_not_sent_yet(
    world: World, collector: type[Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=nightshift,deployment.environment=test")
    async with world.daemon(schedule()) as daemon:
        made = wiring.tracing(daemon.zenml, {"OTEL_EXPORTER_OTLP_ENDPOINT": "there"})
        assert made is not None
        daemon.attempts.observer = Observers(made)
        daemon.wake(seconds=6)
        (fire,) = await world.settled()
        assert not collector.requests
    await made.close()
    (resource,) = (resource for request in collector.requests for resource in request.resource_spans)
    (span,) = resource.scope_spans[0].spans
    assert span.trace_id == fire.key.bytes
    named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert (named["service.name"], named["deployment.environment"]) == ("nightshift", "test")
    assert world.server.starts[0].headers["traceparent"].split("-")[2] == span.span_id.hex()


async def test_a_collector_that_is_away_disturbs_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred fires in batches of ten that no one takes: one line in the log, and a stop that ends in time."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setattr(tracing, "FLUSH", tracing.timedelta(seconds=1))
    lines = io.StringIO()
    log.configure("json", "debug", lines)
    many = [schedule(name=f"s{number}") for number in range(100)]
    async with world.daemon(*many, slots=8) as daemon:
        made = wiring.tracing(daemon.zenml, {"OTEL_TRACES_EXPORTER": "otlp"})
        assert made is not None
        daemon.attempts.observer = Observers(made)
        daemon.wake(seconds=6)
        rows = await world.settled(100, 60)
        logging.getLogger("opentelemetry.sdk").warning("as loud as it may be")
    began = asyncio.get_running_loop().time()
    await made.close()
    assert asyncio.get_running_loop().time() - began < 3
    assert {fire.state for fire in rows} == {FireState.STARTED}
    said = [json.loads(line) for line in lines.getvalue().splitlines()]  # each line is one of ours
    assert len([line for line in said if line["event"] == "traces.lost"]) == 1


def test_complaints_are_said_again_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = count(0, 250)
    handler = Seldom(lambda: float(next(seconds)))
    for number in range(6):
        handler.emit(logging.LogRecord("o", logging.ERROR, "", 0, "no answer %d", (number,), None))
    out = capsys.readouterr().out
    assert [number for number in range(6) if f"no answer {number}" in out] == [0, 3]


ASKED = [
    ({}, False),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
    ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ({"OTEL_SERVICE_NAME": "zendaemon"}, False),
]


@pytest.mark.parametrize(("environment", "asked"), ASKED, ids=[" ".join(env) or "nothing" for env, _ in ASKED])
def test_traces_are_on_when_the_environment_asks(environment: dict[str, str], asked: bool) -> None:  # noqa: FBT001 - a column
    assert wiring.asks_for_traces(environment) is asked


def test_without_the_extra_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "zendaemon.tracing", None)
    assert wiring.tracing(None, {"OTEL_TRACES_EXPORTER": "otlp"}) is None  # type: ignore[arg-type]
    assert "traces.off" in capsys.readouterr().out


def test_nothing_is_imported_when_it_is_off() -> None:
    code = "import sys, zendaemon.cli, zendaemon.cli.wiring; sys.exit('opentelemetry' in str(sorted(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
