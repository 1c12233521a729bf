"""`zendaemon next`: when do schedules fire?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from zendaemon import clock
from zendaemon.cli.output import JsonOption, SchedulesOption, print_json, print_table
from zendaemon.core.cron import Cron
from zendaemon.core.errors import CronError, ZendaemonError
from zendaemon.core.fire import instant_text
from zendaemon.core.near import did_you_mean
from zendaemon.loader import load
from zendaemon.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zendaemon.core.schedule import Schedule

    Next = Callable[[datetime], datetime | None]


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant; write 2026-11-23T02:00:00Z") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def command(
    names: Annotated[list[str] | None, typer.Argument(help="Schedules [all].")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=100_000, help="Fire times of each.")] = 5,
    after: Annotated[str | None, typer.Option("--after", help="Fire times after this instant [now].")] = None,
    cron: Annotated[str | None, typer.Option("--cron", help="A cron expression, instead of files.")] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="The zone of --cron.")] = "UTC",
    schedules: SchedulesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the next fire times, in UTC and in the schedule's zone."""
    start = _instant(after) if after else clock.now()
    rows = _of_cron(cron, timezone, start, count) if cron is not None else _of_files(schedules, names, start, count)
    if as_json:
        for row in rows:
            print_json(row)
        return
    columns = ("schedule", "fire_time", "local_time", "timezone")
    print_table([c.replace("_", " ") for c in columns], ([row[column] for column in columns] for row in rows))


def _of_cron(expression: str, timezone: str, start: datetime, count: int) -> Iterator[dict[str, str | None]]:
    try:
        rule = Cron(expression, timezone)
    except CronError as error:
        raise typer.BadParameter(str(error), param_hint="--cron") from None
    return _rows(None, timezone, rule.next_after, start, count)


def _of_files(
    folder: object, names: Sequence[str] | None, start: datetime, count: int
) -> Iterator[dict[str, str | None]]:
    known = load(load_settings(schedules=folder).schedules, now=clock.now()).set.schedules
    for name in names or ():
        if name not in known:
            raise ZendaemonError(f"there is no schedule {name!r}", hint=did_you_mean(name, known))
    chosen: list[Schedule] = [known[name] for name in names] if names else list(known.values())
    for schedule in chosen:
        if schedule.enabled or names:
            yield from _rows(schedule.name, schedule.timezone, schedule.next_after, start, count)


def _rows(
    name: str | None, timezone: str, next_after: Next, start: datetime, count: int
) -> Iterator[dict[str, str | None]]:
    zone = ZoneInfo(timezone)
    for _ in range(count):
        found = next_after(start)
        if found is None:
            return
        yield {
            "schedule": name,
            "fire_time": instant_text(found),
            "local_time": found.astimezone(zone).isoformat(),
            "timezone": timezone,
        }
        start = found
