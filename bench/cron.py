"""How long `next_after` takes: ours beside cronsim, croniter and APScheduler, and the worst expression there is.

`python bench/cron.py [seconds of search]`. "Anywhere" asks from instants all over a year, as a daemon with many
schedules does: cronsim and croniter keep the instant, so that there the expression is read anew for each question.
"On" goes from one fire to the next, where they need not: the question that suits them best.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from unit.cron_reference import random_expression

from zendaemon.core.cron import Cron
from zendaemon.core.errors import CronError

if TYPE_CHECKING:
    from collections.abc import Callable

BERLIN = "Europe/Berlin"
START = datetime(2026, 1, 1, tzinfo=UTC)
INSTANTS = [START + timedelta(minutes=7919 * n, seconds=n) for n in range(64)]
COMMON = (
    "* * * * *", "*/5 * * * *", "0 * * * *", "30 2 * * *", "0 2 * * 1-5", "*/15 9-17 * * mon-fri", "0 0 1 * *",
    "5 4 * * sun", "0 0 1 1 *", "30 4 1,15 * *",
)  # fmt: skip
RARE = ("0 0 29 2 *", "0 0 31 12 *", "0 0 29 2 */7", "0 0 * 2 5#5", "30 2 29 2 */7", "*/5 2 29 2 *", "0 0 31W 5 *")
ZONES = (
    "UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "Africa/Casablanca", "Africa/Cairo",
    "Asia/Beirut", "Pacific/Apia", "Antarctica/Casey", "America/St_Johns", "Antarctica/Troll", "Europe/Dublin",
)  # fmt: skip
LIMIT = 5000.0
"""Microseconds that no expression may take."""


class Ours:
    """A library in the two ways of asking: for the first fire after an instant, and for the next fire and the next."""

    def __init__(self, expression: str, zone: str) -> None:
        self.ask: Callable[[datetime], datetime] = Cron(expression, zone).next_after  # type: ignore[assignment]
        self.at = START

    def on(self) -> None:
        self.at = self.ask(self.at)


class Cronsim:
    def __init__(self, expression: str, zone: str) -> None:
        tz = ZoneInfo(zone)
        self.on = CronSim(expression, START.astimezone(tz)).__next__
        self.ask = lambda instant: next(CronSim(expression, instant.astimezone(tz)))


class Croniter:
    def __init__(self, expression: str, zone: str) -> None:
        tz = ZoneInfo(zone)
        self.on = croniter(expression, START.astimezone(tz)).get_next
        self.ask = lambda instant: croniter(expression, instant.astimezone(tz)).get_next(datetime)


class Apscheduler:
    def __init__(self, expression: str, zone: str) -> None:
        self.trigger = CronTrigger.from_crontab(expression, zone)
        self.at = START

    def ask(self, instant: datetime) -> object:
        return self.trigger.get_next_fire_time(None, instant)

    def on(self) -> None:
        self.at = self.trigger.get_next_fire_time(self.at, self.at)


PEERS = (Cronsim, Croniter, Apscheduler)


def microseconds(step: Callable[[], object], times: int, rounds: int = 5) -> float:
    """The quickest round's time for one step, in this process's own time: the machine may have other work."""
    step()
    taken = []
    for _ in range(rounds):
        begun = time.process_time_ns()
        for _ in range(times):
            step()
        taken.append(time.process_time_ns() - begun)
    return min(taken) / times / 1000


def measured(library: type, expression: str, zone: str, way: str, rounds: int) -> float | None:
    """None where the library refuses the expression."""
    try:
        asked = library(expression, zone)
        if way == "on":
            return microseconds(asked.on, 64, rounds)
        return microseconds(lambda: [asked.ask(instant) for instant in INSTANTS], 1, rounds) / len(INSTANTS)
    except Exception:  # noqa: BLE001 - each library has errors of its own
        return None


def table(title: str, expressions: tuple[str, ...], way: str, rounds: int) -> bool:
    """Prints a row for each; whether ours was ahead of all in each."""
    ahead = True
    print(f"\n{title:44}{'ours':>9}{'cronsim':>16}{'croniter':>16}{'APScheduler':>16}")
    for expression in expressions:
        for zone in ("UTC", BERLIN):
            own = measured(Ours, expression, zone, way, rounds)
            assert own is not None
            cells = [measured(peer, expression, zone, way, rounds) for peer in PEERS]
            shown = ("-" if cell is None else f"{cell:.1f} ({cell / own:.1f}x)" for cell in cells)
            print(f"{expression:30}{zone:14}{own:9.1f}" + "".join(f"{text:>16}" for text in shown))
            ahead = ahead and all(cell is None or cell > own for cell in cells)
    return ahead


def candidates(seconds: float) -> dict[tuple[str, str], datetime]:
    """Expressions that may be slow, each with an instant: those that seldom or never fire, and random ones."""
    chance, found = random.Random(4), {}  # noqa: S311 - no secret
    days = (
        "29 2 */7",
        "* 2 0#5",
        "29 2 *",
        "L 2 5L",
        "29W 2 */7",
        "30 3 */6",
        "29 3 */7",
        "* 3 sunL",
        "1 1 *",
        "31W 5 *",
    )
    clocks = ("*/5 2", "30 2", "*/7 0", "59 23", "* 1", "0-59 *", "0,30 */2", "*/60 3")
    starts = [datetime(year, 3, 1, tzinfo=UTC) for year in (1896, 1999, 2024, 2088, 2096)]
    for zone in ZONES:
        for day in days:
            for clock in clocks:
                found[f"{clock} {day}", zone] = chance.choice(starts)
    end = time.process_time() + seconds
    while time.process_time() < end:
        found[random_expression(chance), chance.choice(ZONES)] = START + timedelta(
            hours=chance.randint(-(10**6), 10**6)
        )
    return found


def worst(seconds: float) -> float:
    """Prints the slowest expressions of a search, and returns the slowest's microseconds."""
    quick = []
    everything = candidates(seconds)
    for (expression, zone), instant in everything.items():
        try:
            cron = Cron(expression, zone)
        except CronError:
            continue
        begun = time.process_time_ns()
        cron.next_after(instant)
        quick.append((time.process_time_ns() - begun, expression, zone, instant))
    quick.sort(reverse=True)
    slow = [
        (microseconds(partial(Cron(text, zone).next_after, at), 1), text, zone, at) for _, text, zone, at in quick[:40]
    ]
    slow.sort(reverse=True)
    first = f"{quick[0][1]} in {quick[0][2]}, {quick[0][0] / 1000:.0f}"
    print(f"\nThe slowest of {len(quick)} expressions (the slowest of all first calls: {first})")
    for taken, expression, zone, instant in slow[:8]:
        print(f"{expression:30}{zone:22}{taken:9.1f}  after {instant:%Y-%m-%d}")
    return slow[0][0]


def main() -> int:
    print("Microseconds for one next_after, and how many times ours")
    ahead = table("common, anywhere", COMMON, "anywhere", 5)
    ahead = table("common, on", COMMON, "on", 5) and ahead
    table("rare, anywhere", RARE, "anywhere", 1)
    slowest = worst(float(sys.argv[1]) if len(sys.argv) > 1 else 5)
    print(f"\nahead of all three on every common one: {'yes' if ahead else 'NO'}")
    print(f"no expression above {LIMIT / 1000:.0f} ms: {'yes' if slowest < LIMIT else 'NO'}, {slowest / 1000:.2f} ms")
    return 0 if ahead and slowest < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
