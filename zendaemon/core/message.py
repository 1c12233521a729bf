"""A message to a channel: what it says of one alert or of many, in words and as the JSON of a webhook."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime  # noqa: TC003 - pydantic reads the types of messages that wait in the journal
from typing import TYPE_CHECKING
from uuid import UUID  # noqa: TC003

from zendaemon.core.alert import AlertKind
from zendaemon.core.duration import format_duration
from zendaemon.core.fire import instant_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

    from pydantic import JsonValue

    from zendaemon.core.alert import Alert

_NAMED = 3
_TITLE = 150
_WORDS: dict[AlertKind, tuple[str, str]] = {
    AlertKind.FAILED: ("fire failed", "fires failed"),
    AlertKind.MISSED: ("fire was missed", "fires were missed"),
    AlertKind.RUN_FAILED: ("run failed", "runs failed"),
    AlertKind.RUN_STUCK: ("run is stuck", "runs are stuck"),
    AlertKind.LATE_START: ("fire started late", "fires started late"),
    AlertKind.LATE_FINISH: ("run takes longer than promised", "runs take longer than promised"),
    AlertKind.NO_SUCCESS: ("schedule is without success for too long", "schedules are without success for too long"),
    AlertKind.PAUSED: ("schedule was paused after failures", "schedules were paused after failures"),
    AlertKind.UNRESOLVED: ("target leads to nothing", "targets lead to nothing"),
    AlertKind.UNAVAILABLE: ("server is unavailable", "servers are unavailable"),
    AlertKind.RELOAD_REFUSED: ("reload was refused", "reloads were refused"),
    AlertKind.RECOVERED: ("is well again", "are well again"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One alert in a message. Instants are aware UTC; what is of a fire is None where the alert is about none."""

    kind: AlertKind
    at: datetime
    text: str
    schedule: str | None = None
    fire_time: datetime | None = None
    fire_key: str | None = None
    reason: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    run_status: str | None = None

    @classmethod
    def of(cls, alert: Alert) -> Item:
        made, fire = cls(kind=alert.kind, at=alert.at, text=alert.text, schedule=alert.schedule), alert.fire
        if fire is None:
            return made
        return replace(
            made,
            fire_time=fire.fire_time,
            fire_key=str(fire.key),
            reason=fire.reason,
            run_id=fire.run_id,
            run_name=fire.run_name,
            run_status=fire.run_status,
        )

    def line(self) -> str:
        at = f" {instant_text(self.fire_time)}" if self.fire_time else ""
        run = f" (run {self.run_id})" if self.run_id else ""
        return f"{self.schedule}{at}: {self.text}{run}" if self.schedule else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes to a channel once. `id` is the idempotency key, the same for every try and after a restart.

    `counts` are numbers of alerts by kind, or of the fires of an outage; `items` are some of them.
    """

    id: UUID
    channel: str
    kind: AlertKind
    at: datetime
    title: str
    text: str
    of: AlertKind | None = None
    since: datetime | None = None
    counts: dict[str, int]
    schedules: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()

    def payload(self, sender: Mapping[str, str]) -> dict[str, JsonValue]:
        """The body of a webhook: type, timestamp and data, as Standard Webhooks advise."""
        return {
            "type": f"zendaemon.{self.kind}",
            "timestamp": instant_text(self.at),
            "data": {
                "kind": self.kind,
                "of": self.of,
                "title": self.title,
                "text": self.text,
                "since": instant_text(self.since) if self.since else None,
                "counts": dict(self.counts),
                "schedules": list(self.schedules),
                "alerts": [_shown(item) for item in self.items],
                "sender": dict(sender),
            },
        }


def _shown(item: Item) -> dict[str, JsonValue]:
    return {
        "kind": item.kind,
        "at": instant_text(item.at),
        "text": item.text,
        "schedule": item.schedule,
        "fire_time": instant_text(item.fire_time) if item.fire_time else None,
        "fire_key": item.fire_key,
        "reason": item.reason,
        "run_id": item.run_id,
        "run_name": item.run_name,
        "run_status": item.run_status,
    }


def title(kind: AlertKind, count: int, names: Collection[str]) -> str:
    """`3 runs failed: nightly, weekly`."""
    said = f"{count} {_WORDS[kind][count != 1]}"
    return f"{said}: {_some(names)}" if names else said


def recovered_title(of: AlertKind, count: int, names: Collection[str]) -> str:
    """`well again: nightly (3 runs failed)`."""
    said = f"{count} {_WORDS[of][count != 1]}"
    return f"well again: {_some(names)} ({said})" if names else f"well again ({said})"


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    text = ", ".join(listed[:_NAMED])
    return (text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…") + more


def body(lines: Collection[str], more: int, since: datetime, well: Collection[str] = ()) -> str:
    """A line for each of some alerts, how many more there are, and since when."""
    told = [*lines, *([f"... and {more} more"] if more > 0 else [])]
    if well:
        told.append(f"well again meanwhile: {_some(well)}")
    return "\n".join([*told, f"(since {instant_text(since)})"])


def away_text(why: str, since: datetime) -> str:
    return (
        f"Since {instant_text(since)} the server cannot be reached: {why}\n"
        "Fires are kept for their catch-up window. One message comes when it is back and all that waited is through."
    )


def back_text(counts: Mapping[str, int], since: datetime, lasted: timedelta, names: Collection[str]) -> str:
    """What an outage did to fires, once all is through."""
    counted = {"late": "were started late", "missed": "were missed", "failed": "failed"}
    said = [f"{counts[key]} {words}" for key, words in counted.items() if counts.get(key)]
    fires = f"Of the fires that were due meanwhile, {', '.join(said)}." if said else "No fire was due meanwhile."
    waits = f"\n{counts['waiting']} still wait." if counts.get("waiting") else ""
    who = f"\nSchedules with missed or failed fires: {_some(names)}" if names else ""
    return f"The server was away since {instant_text(since)}, for {format_duration(lasted)}. {fires}{waits}{who}"
