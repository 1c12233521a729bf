"""cronsim and croniter beside Cron: what it is fair to ask them, and in what they are known to differ.

From tests/, `python -m unit.cron_peers 100000` counts the differences in so many random questions, with examples.
"""

from __future__ import annotations

import gc
import random
import re
import signal
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim
from unit.cron_reference import DAYS, MONTHS, Reference, random_expression

from zendaemon.core import dst
from zendaemon.core.cron import Cron
from zendaemon.core.errors import CronError
from zendaemon.core.fields import values

if TYPE_CHECKING:
    from collections.abc import Callable

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "Europe/Dublin",
    "Africa/Casablanca", "Pacific/Apia", "Africa/Cairo", "Asia/Beirut", "America/St_Johns", "Antarctica/Troll",
    "Antarctica/Casey", "America/Havana", "America/Asuncion", "Asia/Tehran", "Atlantic/Azores", "Asia/Pyongyang",
    "America/Caracas", "Asia/Gaza", "America/Sao_Paulo", "Asia/Kolkata",
)  # fmt: skip
# Around these days, clocks changed in one of the zones above.
CHANGES = (
    "2026-03-29 01:00", "2026-10-25 01:00", "2026-03-08 07:00", "2026-11-01 06:00", "2026-04-04 15:00",
    "2026-10-03 15:30", "2026-09-26 14:00", "2011-12-30 10:00", "2026-04-23 22:00", "2026-10-29 21:00",
    "2026-03-28 22:00", "2026-10-24 21:00", "2006-10-29 02:31", "2006-04-02 03:31", "2025-02-23 02:00",
    "2025-04-06 02:00", "2020-10-03 16:01", "2010-03-04 15:00", "2015-08-14 15:00", "2018-05-04 15:00",
    "2026-03-08 05:00", "2016-05-01 07:00", "2007-12-09 07:00", "2021-03-21 20:30", "2018-11-04 03:00",
)  # fmt: skip
HOURS = ("0-4", "1", "2", "3", "0", "23", "1-3", "*", "*/2", "2,3", "0,23", "0-23")  # in which clocks change
DAY = timedelta(days=1)
LARGE = timedelta(hours=3)
PATIENCE = 0.3  # seconds of this process: cronsim looks for some times for ever


def by_cronsim(expression: str, asked: datetime) -> datetime:
    return next(CronSim(expression, asked)).astimezone(UTC)


def by_croniter(expression: str, asked: datetime) -> datetime:
    found: datetime = croniter(expression, asked, implement_cron_bug=True).get_next(datetime)
    return found.astimezone(UTC)


def within_patience(ask: Callable[[str, datetime], datetime], expression: str, asked: datetime) -> datetime | None:
    """The answer, None when there is none in time."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, give_up)
    gc.disable()  # an exception raised in one of its callbacks would be lost
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        return ask(expression, asked)
    except TimeoutError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        gc.enable()


def cronsim_knows(expression: str) -> bool:
    """Whether it is fair to ask: cronsim 2.8 reads `30-30/5` as `30/5`, and knows neither 15W nor names with L."""
    for text in expression.upper().split():
        for item in text.split(","):
            base, _, step = item.partition("/")
            one_value = base != "*" and len({number(end) for end in base.split("-")}) == 1
            if (step and one_value) or re.fullmatch(r"[0-9]+W|[A-Z]{3}L", item):
                return False
    return True


def croniter_knows(expression: str) -> bool:
    """Whether it is fair to ask: croniter 7.0 reads `5-5` as `*`, and a day field with any star in it as one."""
    if re.search(r"[LW#]", re.sub("JUL|WED", "", expression.upper())):
        return False
    fields = expression.upper().split()
    ranges = [item.partition("/")[0].split("-") for text in fields for item in text.split(",")]
    one_value = any(len(ends) == 2 and number(ends[0]) == number(ends[1]) for ends in ranges)
    return not one_value and not any(",*" in text for text in (fields[2], fields[4]))


def number(text: str) -> str:
    """A value with its name, if it has one, replaced; Sunday stays apart from 7."""
    for names, low in ((MONTHS, 1), (DAYS, 0)):
        if text in names.split():
            return str(names.split().index(text) + low)
    return text


PEERS: dict[str, tuple[Callable[[str, datetime], datetime], Callable[[str], bool]]] = {
    "cronsim": (by_cronsim, cronsim_knows),
    "croniter": (by_croniter, croniter_knows),
}
Difference = tuple[str, str, str, str]  # peer, kind of rule, kind of change, and how its answer is to ours
TWICE = "fires a fixed rule on both passes of a repeated hour"
AGAIN = "asked on the second pass, answers with a time of the first"
ALWAYS = "makes up for a change of three hours or more"
BOTH = "makes up for the skipped times of wildcard rules"
SLOW = "looks for seconds past a day that a zone has skipped"
ODD = "loses or moves wildcard fires where a change skips midnight, or is not of whole hours, or not at the full hour"
KNOWN: dict[Difference, str] = {
    ("croniter", "fixed", "back", "earlier"): TWICE,
    ("croniter", "fixed", "forward", "later"): "does not make up for skipped times where the next hour has its own",
    ("croniter", "fixed", "forward, large", "earlier"): ALWAYS,
    ("croniter", "wildcard", "forward", "earlier"): BOTH,
    ("croniter", "wildcard", "back", "later"): "loses wildcard fires of the second pass where that is half an hour",
    ("croniter", "wildcard", "forward, large", "earlier"): ALWAYS,
    ("croniter", "fixed", "on the way", "never"): SLOW,
    ("croniter", "wildcard", "on the way", "never"): SLOW,
    ("cronsim", "fixed", "back", "not after the question"): AGAIN,
    ("cronsim", "wildcard", "back", "not after the question"): AGAIN,
    ("cronsim", "fixed", "forward, large", "earlier"): ALWAYS,
    ("cronsim", "wildcard", "back", "later"): ODD,
    ("cronsim", "wildcard", "forward", "later"): ODD,
    ("cronsim", "wildcard", "forward, large", "later"): ODD,
    ("cronsim", "wildcard", "forward, large", "earlier"): ODD,
    ("cronsim", "wildcard", "forward", "earlier"): ODD,
    ("cronsim", "wildcard", "on the way", "never"): "looks for ever after a change that is not at the full hour",
}


def difference(
    peer: str, expression: str, zone: str, asked: datetime, answers: tuple[datetime, datetime | None]
) -> Difference:
    """Of what kind it is that a peer's answer, the second, is not ours: by the first change less than a day away."""
    ours, theirs = answers
    near = [change for at in (asked, ours, theirs or ours) for change in dst.changes(zone, at - DAY, at + DAY)]
    clock = "none"
    if theirs is None and any(dst.changes(zone, asked - DAY, ours + DAY)):
        clock = "on the way"
    elif near:
        shift = near[0].after - near[0].before
        clock = "forward" if shift > timedelta() else "back"
        clock += "" if -LARGE <= shift < LARGE else ", large"
    how = "later"
    if theirs is None:
        how = "never"
    elif theirs < ours:
        how = "not after the question" if theirs <= asked else "earlier"
    return peer, "wildcard" if values(expression).wildcard else "fixed", clock, how


def question(chance: random.Random) -> tuple[str, str, datetime]:
    """An expression, a zone and an instant, more often than not near changes of the clock."""
    fields = random_expression(chance).split()
    if chance.random() < 0.5:
        fields[1] = chance.choice(HOURS)
        if chance.random() < 0.5:
            fields[2:] = "***"
    asked = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randint(0, 50 * 365 * 86400))
    if chance.random() < 0.75:
        change = datetime.fromisoformat(chance.choice(CHANGES)).replace(tzinfo=UTC)
        asked = change + timedelta(seconds=chance.randint(-18000, 18000))
    return " ".join(fields), chance.choice(ZONES), asked


def count(questions: int, seed: int) -> None:
    """Prints how often each peer was asked, and each kind of difference with its number and its first example.

    In each difference, the main loop is asked who is right.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    asked_of: Counter[str] = Counter()
    counted: Counter[Difference] = Counter()
    examples: dict[Difference, str] = {}
    for _ in range(questions):
        expression, zone, asked = question(chance)
        try:
            ours = Cron(expression, zone).next_after(asked)
        except CronError:
            continue  # never fires
        for peer, (ask, knows) in PEERS.items():
            if not knows(expression):
                continue
            asked_of[peer] += 1
            theirs = within_patience(ask, expression, asked.astimezone(ZoneInfo(zone)))
            if ours is None:  # the end of the calendar
                continue
            if theirs != ours:
                kind = difference(peer, expression, zone, asked, (ours, theirs))
                counted[kind] += 1
                assert Reference(expression, zone).next_after(asked, (ours - asked) / DAY + 1) == ours, (
                    expression,
                    zone,
                )
                shown = " ".join(f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else "-" for at in (asked, ours, theirs))
                examples.setdefault(kind, f"{expression} | {zone} | {shown}")
    print(dict(asked_of))
    for kind, times in sorted(counted.items()):
        print(f"{times:6} {', '.join(kind)}{'' if kind in KNOWN else ' (NEW)'}: {examples[kind]}")


if __name__ == "__main__":
    count(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
