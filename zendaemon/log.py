"""Structured logs: one JSON object a line on stderr, or colours on a terminal. EVENTS lists every event."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from json import JSONEncoder
from typing import TYPE_CHECKING, TextIO, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

EVENTS: dict[str, str] = {
    "clock.behind": "watermarks lie in the future, since the clock was set back; nothing fires before `until`",
    "clock.jumped": "the wall clock was set, or the machine slept, by `seconds`",
    "control.error": "a command over the control socket failed in an unforeseen way",
    "daemon.draining": "stopping: the attempts in hand are finished, at most for `timeout_seconds`",
    "daemon.ready": "the schedule set is loaded and the engine decides",
    "daemon.starting": "version, PID and where the schedules and the journal are",
    "daemon.stopped": "all is written; `left` claims are settled at the next start",
    "engine.error": "a fault of zendaemon's own; please report it",
    "fire.failed": "closing event: no run, for `reason`",
    "fire.missed": "closing event: not started in time, for `reason`; `through` where it stands for a range",
    "fire.retrying": "an attempt failed before anything was created; tried again",
    "fire.skipped": "closing event: not to be started, by a policy of the schedule (`reason`)",
    "fire.started": "closing event: the run `run_id` was created",
    "fire.uncertain": "an attempt's outcome is not known; the server is asked before the next one",
    "heartbeat.back": "a dead man's switch takes pings again; without `schedule` it is that of the daemon",
    "heartbeat.failed": "a ping of a dead man's switch failed; said once for each error, and tried a few times",
    "http.error": "the status page or the HTTP API failed at a request",
    "http.listening": "the status page and the HTTP API are served at `url`",
    "http.refused": "wrong tokens came from `sender` to the HTTP API; said once a minute for each sender at most",
    "http.unavailable": "no status page and HTTP API at `address` for now; fires go on, and it is tried again",
    "journal.pruned": "rows that the retention settings let go were deleted from the journal",
    "journal.unavailable": "the journal cannot be written; nothing new is started until it can",
    "notify.back": "a channel takes messages again, after `down_seconds`",
    "notify.failed": "a message could not be delivered to `channel`; said once for each error, and tried for a day",
    "notify.lost": "a message was given up: after a day, or since too many wait, or its channel is gone",
    "notify.sent": "a message was delivered to `channel`",
    "promise.broken": "a schedule breaks one of its promises (`sla`), `since` then; `message` says what happened",
    "promise.kept": "a promise that was broken for `broken_seconds` is kept again",
    "reload.applied": "a new schedule set is in force; what was added, changed and removed",
    "reload.problem": "one problem of a refused reload, with file, line and column",
    "reload.refused": "the files have problems; the schedule set in force stays as it was",
    "resolve.postponed": "the server did not answer a renewal of ids; the known ones stay in use",
    "run.deleted": "a run is not on the server any more, and nobody can tell how it ended",
    "run.given_up": "a run has not ended in 30 days; it is not followed any more",
    "run.not_retried": "the run of a fire failed, and no other one follows, for `reason`",
    "run.postponed": "the status of a run could not be read; asked again later",
    "run.retried": "another run of a fire was started, after one that failed",
    "run.retry": "the run of a fire failed; another one follows at `retry_at`",
    "run.status": "the status of a run, read from the server, has changed",
    "run.stuck": "the status of a run has not changed for `stuck_after`, but for `for_seconds`; said once for each",
    "run.unstuck": "the status of a run that was said to be stuck has changed",
    "schedule.paused": "an operator, or `pause_after_failures`, stopped a schedule's fires (`by`, `note`, `until`)",
    "schedule.resolved": "a target has ids, or new ones",
    "schedule.resumed": "a pause ended, by an operator or at its end; fires are started again",
    "schedule.suspect": (
        "valid, and perhaps not meant: a finding of `zendaemon check`, with its `code`, said once for what is new; or "
        "a config that the server would take, and may not do with it what was meant; or a condition (`when`) on what "
        "the server does not have, or not yet"
    ),
    "schedule.unresolved": "a target leads to nothing that the server can start",
    "server.back": "the server answers again, after `down_seconds`",
    "server.unavailable": "the server cannot be reached; fires are kept for their catch-up window",
    "settings.unknown": "an environment variable looks like a setting and is none",
    "traces.lost": "the OpenTelemetry collector takes no traces; said once in ten minutes at most, fires go on",
    "traces.off": "the environment asks for traces, and the extra `zendaemon[otel]` is not installed",
}

_SECRET = re.compile(
    r"ZEN(?:PRO)?KEY_[A-Za-z0-9_=+/-]+|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+|(?<=://)[^/@\s]+:[^/@\s]+(?=@)"
)
_SIGNS = ("KEY_", "eyJ", "://")
"""Every secret that is found has one of these, also in a line of JSON: looking for them takes less time."""
_JSON = JSONEncoder(default=str)


def without_secrets(text: str) -> str:
    """The text with what looks like a key, a token or a password in a URL blanked out, wherever it came from."""
    return _SECRET.sub("***", text)


def _redact(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    return {key: without_secrets(value) if isinstance(value, str) else value for key, value in event.items()}


def _as_json(logger: WrappedLogger, name: str, event: EventDict) -> str:
    line = _JSON.encode(event)
    return _JSON.encode(_redact(logger, name, event)) if any(sign in line for sign in _SIGNS) else line


class _Undisturbed:
    """A stream whose failures (a full disk) lose the line, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure(log_format: str | None, level: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process. Without a format: colours when `stream` is a terminal, else JSON."""
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format is None and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.format_exc_info,
    ]
    renderers = [_redact, structlog.dev.ConsoleRenderer(colors=stream.isatty())] if console else [_as_json]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Undisturbed(stream))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=stream, format="%(message)s")
