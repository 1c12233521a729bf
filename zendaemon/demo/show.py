"""What the demo shows: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shlex
import sys
from collections import deque
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from zendaemon import clock
from zendaemon.core.fire import instant_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from rich.console import RenderableType

    from zendaemon.core.fire import Fire
    from zendaemon.demo.daemon import DemoDaemon
    from zendaemon.demo.watch import Glance, Seen

STEPS = 4
NOTES = 5
FRAME = 22
"""Lines of the live view beside the latest fires."""
COLOURS = {"initializing": "yellow", "running": "cyan", "completed": "green", "failed": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a spectator may want to try."""

    version: str
    url: str
    folder: Path
    daemon: DemoDaemon

    def lines(self) -> list[tuple[str, str]]:
        return [
            ("page", f"{self.daemon.page()} (to change something there: the token in {self.daemon.token_file})"),
            ("server", f"{self.url} (ZenML {self.version}; log in as default, with an empty password)"),
            ("folder", str(self.folder)),
            ("history", command_line("history", self.folder)),
            ("edit", str(self.folder / "schedules" / "demo.yaml")),
            ("reload", f"{command_line('reload', self.folder)} (or kill -HUP {self.daemon.pid})"),
        ]


def command_line(command: str, folder: Path) -> str:
    """A command for the demo's daemon, as the spectator's shell takes it."""
    beside = Path(sys.executable).with_name("zendaemon")
    program = shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -m zendaemon"
    return f"{program} {command} --state {shlex.quote(str(folder / 'state'))}"


class Show(Protocol):
    """One of the two."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def step(self, what: str) -> AbstractContextManager[None]:
        """What is being done before there is something to watch."""

    def note(self, line: str) -> None:
        """A line of a program that does it."""

    def watch(self, about: About) -> None:
        """From now on there is something to watch."""

    def update(self, glance: Glance) -> None:
        """It has changed."""

    def end(self) -> None:
        """From now on the daemon is being ended."""


def show() -> Show:
    """The one that suits standard output."""
    console = Console(highlight=False, markup=False)
    if sys.stdout.isatty() and not console.is_dumb_terminal:
        return LiveShow(console)
    return PlainShow()


def say(line: str = "") -> None:
    """A line at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def outcome(fire: Fire, status: str | None) -> str:
    """A fire in one line: its run, or why there is none."""
    if fire.run_id:
        return f"{fire.run_name}  {fire.run_id}  {status or 'unknown to the server'}"
    reason = f"{fire.reason.value}: " if fire.reason else ""
    return f"{fire.run_name or fire.schedule}  {fire.state.value}  {reason}{fire.message or ''}".rstrip(": ")


class PlainShow:
    """A line for each step, and one for each fire when it is decided."""

    def __init__(self) -> None:
        self._done = 0
        self._since = clock.now()
        self._said: set[UUID] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be put back."""

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        since = clock.monotonic()
        self._done += 1
        say(f"[{self._done}/{STEPS}] {what}")
        yield
        say(f"      ready after {clock.monotonic() - since:.1f} s")

    def note(self, line: str) -> None:
        say(f"      {line}")

    def watch(self, about: About) -> None:
        for what, how in about.lines():
            say(f"{what + ':':9}{how}")
        say("\nfire time, run name, run id, status on the server:")

    def update(self, glance: Glance) -> None:
        for seen in reversed(glance.fires if glance.answered else []):
            fire = seen.fire
            old = fire.decided_at is not None and fire.decided_at < self._since  # of a demo in this folder before
            if fire.final and not old and fire.key not in self._said:
                self._said.add(fire.key)
                say(f"{instant_text(fire.fire_time)}  {outcome(fire, seen.status)}")

    def end(self) -> None:
        say("ending: the daemon finishes the attempts in hand, then the server stops")


@dataclass(slots=True)
class _Step:
    what: str
    since: float
    until: float | None = None

    def seconds(self) -> str:
        return f"{(self.until or clock.monotonic()) - self.since:5.1f} s"


class LiveShow:
    """Tables, drawn anew a few times a second by a thread of their own: attributes are replaced, never changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: list[_Step] = []
        self._notes: deque[str] = deque(maxlen=NOTES)
        self._spinner = Spinner("dots")
        self._about: About | None = None
        self._glance: Glance | None = None
        self._last: dict[str, Any] | None = None  # the daemon's last status, once it is being ended
        self._hint = "Ctrl-C ends all of it."
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        step = _Step(what, clock.monotonic())
        self._steps = [*self._steps, step]
        yield
        step.until = clock.monotonic()
        self._notes = deque(maxlen=NOTES)

    def note(self, line: str) -> None:
        self._notes = deque([*self._notes, line], maxlen=NOTES)

    def watch(self, about: About) -> None:
        self._about = about

    def update(self, glance: Glance) -> None:
        self._glance = replace(glance, status=self._last) if self._last else glance

    def end(self) -> None:
        self._last = self._glance.status if self._glance else None
        self._hint = "Ending: the daemon finishes the attempts in hand, then the server stops."

    def _draw(self) -> RenderableType:
        if self._about is None or self._glance is None:
            return self._draw_steps()
        room = max(3, self._console.height - FRAME)
        parts: list[RenderableType] = [
            Text(f"zendaemon demo, ZenML {self._about.version}", style="bold"),
            Text(f"Status page: {self._about.daemon.page()}", style="bold"),
            *_health(self._glance),
            Text(),
            _schedules(self._glance, clock.now()),
            Text(),
            _fires(self._glance.fires[:room]),
            Text(),
            _try(self._about),
            Text(self._hint, style="dim"),
        ]
        return Group(*parts)

    def _draw_steps(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for number, step in enumerate(self._steps, 1):
            mark = Text("✓", style="green") if step.until else self._spinner
            table.add_row(mark, f"{number}/{STEPS}", step.what, Text(step.seconds(), style="cyan"))
        notes = (Text(f"  {line}", style="dim", overflow="ellipsis", no_wrap=True) for line in self._notes)
        return Group(table, *notes)


def _health(glance: Glance) -> Iterator[Text]:
    if glance.status is None:
        yield Text("the daemon does not answer", style="red")
        return
    if not glance.status["server"]["available"]:
        yield Text(f"server unavailable since {glance.status['server']['unavailable_since']}", style="red")
    if reload := glance.status["reload"]:
        yield Text(
            f"last reload: {reload['at']} {'applied' if reload['applied'] else 'REFUSED'}",
            style="green" if reload["applied"] else "red",
        )
        yield from (Text(f"  {problem}", style="red") for problem in reload["problems"])


def _schedules(glance: Glance, now: datetime) -> Table:
    table = _table("schedule", "next fire (UTC)", "in", "target")
    for schedule in glance.status["schedules"] if glance.status else []:
        when, left = schedule["next_fire_time"], ""
        if when:
            seconds = max(0, round((datetime.fromisoformat(when) - now).total_seconds()))
            left = f"{seconds} s" if seconds < 3600 else f"{seconds // 3600} h {seconds % 3600 // 60} min"
        unresolved = f" UNRESOLVED: {schedule['unresolved']}" if schedule["unresolved"] else ""
        table.add_row(schedule["schedule"], when or "none", left, schedule["target"] + unresolved)
    return table


def _fires(fires: Sequence[Seen]) -> Table:
    table = _table("run", Column("run id", no_wrap=True), "on the server", "late")
    for seen in fires:
        fire, status = seen.fire, seen.status
        late = "" if fire.lateness_seconds is None else f"{fire.lateness_seconds * 1000:.0f} ms"
        if fire.run_id:
            told = Text(status or "unknown", style=COLOURS.get(status or "", ""))
        else:
            told = Text(": ".join(filter(None, [fire.state.value, fire.reason, fire.message])), style="yellow")
        table.add_row(fire.run_name or f"{fire.schedule} {instant_text(fire.fire_time)}", fire.run_id, told, late)
    return table


def _table(*columns: str | Column) -> Table:
    return Table(*columns, box=None, padding=(0, 1, 0, 0), header_style="bold")


def _try(about: About) -> Table:
    table = Table.grid(padding=(0, 2))
    for what, how in about.lines():
        table.add_row(Text(what, style="bold"), Text(how, overflow="fold"))
    return table
