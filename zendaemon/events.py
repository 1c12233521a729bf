"""What fires tell on their way: the log, with one closing event each, and whoever observes (metrics, traces)."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Self, TypeVar

import structlog

from zendaemon.core.alert import Alert
from zendaemon.core.errors import NameTaken, Rejected, Stale, Unauthorized, Unavailable, Uncertain
from zendaemon.core.fire import FireState, instant_text

if TYPE_CHECKING:
    from zendaemon.core.errors import ZendaemonError
    from zendaemon.core.fire import Fire

log = structlog.get_logger()

T = TypeVar("T")

Tell = Callable[[Alert], None]
"""Takes an alert on its way to whoever wants to be told; returns at once and never raises."""


def tell_nobody(_: Alert) -> None:
    """Where nobody wants alerts."""


class Outcome(StrEnum):
    """What became of an attempt, as far as its own answer tells."""

    STARTED = "started"
    REFUSED = "refused"
    BUSY = "busy"
    UNCERTAIN = "uncertain"
    NAME_TAKEN = "name_taken"
    REJECTED = "rejected"
    STALE = "stale"
    UNAUTHORIZED = "unauthorized"
    BROKEN_OFF = "broken_off"


class Observer:
    """Told of fires as they go on, in the engine's loop: everything must be brief. Nothing is done of what is not
    overridden.
    """

    def left_behind(self, fire: Fire) -> None:
        """An earlier process claimed it; what it sent, nobody here knows."""

    def posting(self, fire: Fire) -> None:
        """An attempt begins; `fire.attempts` counts it."""

    def posted(self, fire: Fire, outcome: Outcome, seconds: float) -> None:
        """The attempt has ended, after so many seconds."""

    def closed(self, fire: Fire) -> None:
        """It has its final state, on disk. `through` is set where it stands for a range."""

    def ended(self, fire: Fire) -> None:
        """Its run is not active any more: `run_status`. Where `retry_at` is set, another one follows."""

    def run_again(self, fire: Fire) -> None:
        """Another run of it was started, after one that failed; or could not be, and `message` says why."""


class Observers(Observer):
    """Tells all of them. What one raises is logged once, and disturbs neither firing nor the others."""

    def __init__(self, *observers: Observer) -> None:
        self._failed: set[Observer] = set()
        self._hearing = {
            news: [it for it in observers if getattr(type(it), news) is not getattr(Observer, news)]
            for news in ("left_behind", "posting", "posted", "closed", "ended", "run_again")
        }

    def left_behind(self, fire: Fire) -> None:
        self._tell("left_behind", fire)

    def posting(self, fire: Fire) -> None:
        self._tell("posting", fire)

    def posted(self, fire: Fire, outcome: Outcome, seconds: float) -> None:
        self._tell("posted", fire, outcome, seconds)

    def closed(self, fire: Fire) -> None:
        self._tell("closed", fire)

    def ended(self, fire: Fire) -> None:
        self._tell("ended", fire)

    def run_again(self, fire: Fire) -> None:
        self._tell("run_again", fire)

    def _tell(self, news: str, *what: object) -> None:
        for observer in self._hearing[news]:
            try:
                getattr(observer, news)(*what)
            except Exception:
                if observer not in self._failed:
                    self._failed.add(observer)
                    log.exception("engine.error", observer=type(observer).__name__)


class Posting:
    """One POST, as a context: tells that it begins, and that it failed. `read` tells what an answer was.

    Seconds of `elapsed` are those until the answer.
    """

    __slots__ = ("_began", "_elapsed", "_fire", "_observer", "_seconds")

    def __init__(self, fire: Fire, observer: Observer, elapsed: Callable[[], float]) -> None:
        self._fire = fire
        self._observer = observer
        self._elapsed = elapsed

    def __enter__(self) -> Self:
        self._observer.posting(self._fire)
        self._began = self._elapsed()
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, _: object) -> None:
        self._seconds = self._elapsed() - self._began
        if kind is not None:
            self._tell(failure)

    def read(self, answered: Callable[[], T]) -> T:
        """What was answered. Raises what reading it raises; either is told as what became of the POST."""
        try:
            found = answered()
        except BaseException as failure:
            self._tell(failure)
            raise
        self._tell(None)
        return found

    def _tell(self, failure: BaseException | None) -> None:
        outcome = Outcome.STARTED if failure is None else outcome_of(failure)
        self._observer.posted(self._fire, outcome, self._seconds)


def outcome_of(failure: BaseException | None) -> Outcome:
    """What a failure says of the attempt that raised it."""
    match failure:
        case Unavailable():
            return Outcome.BUSY if failure.busy else Outcome.REFUSED
        case Uncertain():
            return Outcome.UNCERTAIN
        case NameTaken():
            return Outcome.NAME_TAKEN
        case Rejected():
            return Outcome.REJECTED
        case Stale():
            return Outcome.STALE
        case Unauthorized():
            return Outcome.UNAUTHORIZED
        case _:
            return Outcome.BROKEN_OFF


def fire_values(fire: Fire) -> dict[str, object]:
    """What every event of a fire carries, as far as it is known."""
    values = {
        "schedule": fire.schedule,
        "fire_time": instant_text(fire.fire_time),
        "fire_key": str(fire.key),
        "run_name": fire.run_name,
        "run_id": fire.run_id,
        "attempt": fire.attempts or None,
        "lateness_seconds": None if fire.lateness_seconds is None else round(fire.lateness_seconds, 3),
    }
    return {key: value for key, value in values.items() if value is not None}


def say_retry(fire: Fire, failure: ZendaemonError, seconds: float) -> None:
    """An attempt failed, and the next one, or a question, comes in so many seconds."""
    event = "fire.uncertain" if isinstance(failure, Uncertain | NameTaken) else "fire.retrying"
    level = log.info if isinstance(failure, Unavailable) else log.warning
    level(event, **fire_values(fire), error=str(failure), delay_seconds=round(seconds, 3))


def say_closed(fire: Fire, observer: Observer) -> None:
    """The one closing event of a fire, or of a range of them."""
    more = {"reason": fire.reason, "message": fire.message, "through": fire.through and instant_text(fire.through)}
    bound = fire_values(fire) | {key: value for key, value in more.items() if value}
    match fire.state:
        case FireState.STARTED:
            log.info("fire.started", run_status=fire.run_status, **bound)
        case FireState.SKIPPED:
            log.info("fire.skipped", **bound)
        case FireState.MISSED:
            log.warning("fire.missed", **bound)
        case FireState.FAILED:
            log.error("fire.failed", **bound)
        case FireState.CLAIMED:
            raise AssertionError("a claim is not closed")
    observer.closed(fire)


def say_run_again(fire: Fire, observer: Observer, *, was_started: bool) -> None:
    """Another run of a fire was started, or could not be."""
    if was_started:
        log.info("run.retried", run_status=fire.run_status, **fire_values(fire))
    else:
        log.error("run.not_retried", reason=fire.message, **fire_values(fire))
    observer.run_again(fire)
