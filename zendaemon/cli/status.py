"""`zendaemon status`: is the daemon well, and what is next?"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zendaemon import clock
from zendaemon.cli.output import JsonOption, StateOption, console, pause_text, print_json, table
from zendaemon.control import NotRunning, ask
from zendaemon.core.duration import format_duration
from zendaemon.core.errors import JournalError, ZendaemonError
from zendaemon.core.shown import ShownFire, ShownPause
from zendaemon.journal import Reader
from zendaemon.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

_LAST_FIRES = 10
_NAMED = 20
"""The most schedules of a kind that are named above the table."""
_SCHEDULES = ("schedule", "state", "next fire time", "last outcome", "target", "file")
_FIRES = ("schedule", "fire time", "outcome", "run")
_EVERY = 2.0


def command(
    seconds: Annotated[
        float | None, typer.Argument(min=0.1, help="With --watch: the time between two looks.", show_default="2")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the running daemon: its server, the last reload, its schedules. Exit status 1 when it is not well.

    Without a daemon: the pauses and the last fires in the journal.
    """
    if seconds is not None and not watch:
        raise typer.BadParameter("SECONDS go with --watch")
    settings = load_settings(state=state)
    show = _print_json if as_json else _print
    shown = _look(settings)
    if watch:
        shown = _watch(settings, seconds or _EVERY, shown, _print_json if as_json else None)
    else:
        show(shown)
    if not _well(shown):
        raise typer.Exit(1)


def _look(settings: Settings) -> dict[str, Any]:
    """What the daemon says of itself; without one, what the journal has."""
    try:
        answer = ask(settings.state, "status")
    except NotRunning as error:
        return {"state": "not running", "error": str(error), **_from_journal(settings)}
    if not answer.pop("ok"):
        raise ZendaemonError(answer["error"])
    return answer


def _from_journal(settings: Settings) -> dict[str, Any]:
    try:
        reader = Reader(settings.journal_url())
        pauses = [
            {"schedule": pause.schedule, **ShownPause.of(pause).model_dump(mode="json")}
            for pause in reader.pauses()
            if pause.holds(clock.now())
        ]
        fires = [ShownFire.of(fire).model_dump(mode="json") for fire in islice(reader.fires(), _LAST_FIRES)]
    except JournalError as error:
        return {"journal": str(error), "pauses": [], "fires": []}
    return {"journal": None, "pauses": pauses, "fires": fires}


def _well(shown: Mapping[str, Any]) -> bool:
    return bool(shown["state"] == "running")


def _print_json(shown: dict[str, Any]) -> None:
    print_json(shown)


def _print(shown: dict[str, Any]) -> None:
    to = console()
    for part in _parts(shown):
        to.print(part)


def _watch(
    settings: Settings, seconds: float, shown: dict[str, Any], say: Callable[[dict[str, Any]], None] | None
) -> dict[str, Any]:
    """Show it anew every so many seconds; returns what was shown last when Ctrl-C ends it."""
    from rich.console import Group  # noqa: PLC0415 - rich costs a tenth of a second that `--json` need not pay
    from rich.live import Live  # noqa: PLC0415

    to = console()
    live = Live(console=to, auto_refresh=False) if to.is_terminal and say is None else None
    try:
        if live is not None:
            live.start()
        while True:
            if live is not None:
                live.update(Group(*_parts(shown)), refresh=True)
            else:
                (say or _print)(shown)
            time.sleep(seconds)
            shown = _look(settings)
    except KeyboardInterrupt:
        return shown
    finally:
        if live is not None:
            live.stop()


def _parts(shown: Mapping[str, Any]) -> Sequence[RenderableType]:
    if shown["state"] == "not running":
        lines = [shown["error"], *_some("paused", [pause_text(pause) for pause in shown["pauses"]])]
        if shown["journal"]:
            return ["\n".join([*lines, shown["journal"]])]
        lines.append(
            "its last fires, from the journal (`zendaemon history` has all):" if shown["fires"] else "no fires"
        )
        return ["\n".join(lines), *([table(_FIRES, map(_fire_row, shown["fires"]))] if shown["fires"] else [])]
    return ["\n".join(_health(shown)) + "\n", table(_SCHEDULES, _schedule_rows(shown))]


def _health(shown: Mapping[str, Any]) -> Iterator[str]:
    server, reload, attempts = shown["server"], shown["reload"], shown["attempts"]
    yield f"{shown['state']}: zendaemon {shown['version']}, PID {shown['pid']}, since {shown['started_at']}"
    version = f" (ZenML {server['version']})" if server["version"] else ""
    token = f", token valid until {server['token_valid_until']}" if server["token_valid_until"] else ""
    away = "" if server["available"] else f", UNAVAILABLE since {server['unavailable_since']}"
    yield f"server: {server['url']}{version}{away}{token}"
    yield f"fires: {attempts['in_flight']} in flight, {attempts['waiting']} waiting"
    counts = ", ".join(f"{count} {state}" for state, count in shown["counts"].items() if count)
    yield f"schedules: {sum(shown['counts'].values())}{': ' if counts else ''}{counts}"
    if reload is not None:
        outcome = "applied" if reload["applied"] else f"REFUSED: {reload['error']}"
        yield f"last reload: {reload['at']} {outcome}"
        yield from (f"  {p['file']}:{p['line']}:{p['column']}: {p['message']}" for p in reload["problems"])
    for channel in shown.get("channels", ()):
        if channel["failing_since"]:
            why = f"{channel['error']}; {channel['waiting']} waiting"
            yield f"channel {channel['channel']}: FAILING since {channel['failing_since']}: {why}"
    yield from _some("unresolved", [f"{name}: {why}" for name, why in shown["unresolved"].items()])
    yield from _some(
        "promise broken",
        [f"{name}: {each['text']}" for name, some in shown["broken"].items() for each in some],
    )
    paused = [{"schedule": s["schedule"], **s["paused"]} for s in shown["schedules"] if s["paused"]]
    yield from _some("paused", [pause_text(pause) for pause in paused])


def _some(word: str, lines: Sequence[str]) -> Iterator[str]:
    yield from (f"{word}: {line}" for line in lines[:_NAMED])
    if len(lines) > _NAMED:
        yield f"{word}: {len(lines) - _NAMED} more"


def _schedule_rows(shown: Mapping[str, Any]) -> Iterator[Sequence[object]]:
    now = datetime.fromisoformat(shown["now"])
    for schedule in shown["schedules"]:
        following = _ahead(schedule["next_fire_time"], now)
        last = f"{_outcome(schedule['last'])}, {schedule['last']['fire_time']}" if schedule["last"] else None
        yield schedule["schedule"], schedule["state"], following, last, schedule["target"], schedule["file"]


def _ahead(instant: str | None, now: datetime) -> str | None:
    """`2026-11-23T02:00:00Z (in 3h5m)`: two units at most."""
    if instant is None:
        return None
    left = max(timedelta(), datetime.fromisoformat(instant) - now)
    unit = next(
        (unit for more, unit in ((timedelta(days=1), 3600), (timedelta(hours=1), 60)) if left >= more),
        1,
    )
    return f"{instant} (in {format_duration(timedelta(seconds=left.total_seconds() // unit * unit))})"


def _outcome(fire: Mapping[str, Any]) -> str:
    """`started completed`, `skipped paused`."""
    return " ".join(filter(None, (fire["state"], fire["reason"] or fire["run_status"])))


def _fire_row(fire: Mapping[str, Any]) -> Sequence[object]:
    return fire["schedule"], fire["fire_time"], _outcome(fire), fire["run_id"] or fire["message"]
