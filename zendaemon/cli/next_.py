"""`zendaemon next`: what does a trigger mean, and when does it fire?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from zendaemon import clock
from zendaemon.cli.completion import NamesArgument
from zendaemon.cli.output import JsonOption, SchedulesOption, as_instant, print_json, print_table
from zendaemon.core.cron import Cron
from zendaemon.core.dst import note, note_of_trigger
from zendaemon.core.errors import CronError, ZendaemonError
from zendaemon.core.explain import explain, explain_trigger
from zendaemon.core.fire import instant_text
from zendaemon.core.near import did_you_mean
from zendaemon.core.trigger import Trigger
from zendaemon.loader import load
from zendaemon.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zendaemon.core.schedule import Schedule

    Next = Callable[[datetime], datetime | None]
    Note = Callable[[datetime, datetime], str | None]


def command(
    names: NamesArgument = None,
    count: Annotated[int, typer.Option("--count", min=1, max=100_000, help="Fire times of each.")] = 5,
    after: Annotated[str | None, typer.Option("--after", help="Fire times after this instant [now].")] = None,
    cron: Annotated[str | None, typer.Option("--cron", help="A cron expression, instead of files.")] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="The zone of --cron.")] = "UTC",
    schedules: SchedulesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a trigger means, and the next fire times, in UTC and in the schedule's zone."""
    start = as_instant(after) if after else clock.now()
    shown = _of_cron(cron, timezone) if cron is not None else _of_files(schedules, names)
    if as_json:
        for asked in shown:
            for row in asked.rows(start, count):
                print_json(row)
        return
    columns = ("schedule", "fire_time", "local_time", "timezone", "note")
    rows = []
    for asked in shown:
        sys.stdout.write(f"{asked.name}: {asked.explanation}\n" if asked.name else f"{asked.explanation}\n")
        rows += [[row[column] for column in columns] for row in asked.rows(start, count)]
    sys.stdout.write("\n")
    width = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    print_table([column.replace("_", " ") for column in columns[:width]], [row[:width] for row in rows])


@dataclass(frozen=True, slots=True)
class _Asked:
    """A schedule, or an expression without a name."""

    name: str | None
    timezone: str
    explanation: str
    next_after: Next
    note: Note

    def rows(self, start: datetime, count: int) -> Iterator[dict[str, str | None]]:
        """The next fires after `start`."""
        zone = ZoneInfo(self.timezone)
        for _ in range(count):
            found = self.next_after(start)
            if found is None:
                return
            yield {
                "schedule": self.name,
                "fire_time": instant_text(found),
                "local_time": found.astimezone(zone).isoformat(),
                "timezone": self.timezone,
                "explanation": self.explanation,
                "note": self.note(start, found),
            }
            start = found


def _of_cron(expression: str, timezone: str) -> list[_Asked]:
    try:
        Cron(expression, timezone)
    except CronError as error:
        raise typer.BadParameter(str(error), param_hint="--cron") from None
    trigger = Trigger(timezone, cron=(expression,))
    note = partial(note_of_trigger, trigger)
    return [_Asked(None, timezone, explain_trigger(trigger), trigger.next_after, note)]


def _of_files(folder: object, names: Sequence[str] | None) -> list[_Asked]:
    known = load(load_settings(schedules=folder).schedules, now=clock.now()).set.schedules
    for name in names or ():
        if name not in known:
            raise ZendaemonError(f"there is no schedule {name!r}", hint=did_you_mean(name, known))
    chosen: list[Schedule] = [known[name] for name in names] if names else list(known.values())
    return [
        _Asked(schedule.name, schedule.timezone, explain(schedule), schedule.next_after, partial(note, schedule))
        for schedule in chosen
        if schedule.enabled or names
    ]
