"""Named calendars: the section `calendars` of a file, and what the names in `exclude` lead to over all files."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from zendaemon.core.errors import Problem
from zendaemon.core.exclusion import REFERENCE, Calendar, parse_days, referred
from zendaemon.core.near import did_you_mean
from zendaemon.core.schedule import MAX_RULES
from zendaemon.core.shape import check_zone
from zendaemon.core.trigger import to_utc
from zendaemon.loader.files import beside, find_beside, name_of, read, reason
from zendaemon.loader.ics import Covered, expansion, read_calendar
from zendaemon.loader.report import Report, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import date, datetime

    from zendaemon.core.exclusion import Days
    from zendaemon.loader.node import Node
    from zendaemon.loader.report import Position

    Add = Callable[[Position, str, str], None]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_KEYS = ("ics", "timezone")
MAX_FILES = 100
_SHAPE = "write a list of days, or {ics: holidays.ics}"


@dataclass(frozen=True, slots=True)
class Declared:
    """A calendar as its file has it: days, or the name of an iCalendar file. None of both when that was wrong."""

    position: Position
    days: tuple[Days, ...] = ()
    ics: str | None = None
    ics_position: Position = (0, 0)
    timezone: str | None = None


def good_name(name: str) -> str:
    """The name, one that is like it where it is none, or an empty text."""
    if _NAME.fullmatch(name):
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("._-")[:100]


def no_name(name: str, instead: str) -> tuple[str, str]:
    text = "is no name: 1 to 100 of a-z, 0-9, dot, dash and underscore, the first a letter or digit"
    return f"{shown(name)} {text}", f"call it {instead}"


def references_of(node: Node) -> Iterator[tuple[str, Position]]:
    """The calendars that the `exclude` of a schedule or of the defaults names, good or bad as the rest of it may be."""
    exclude = node.child("exclude")
    rules = exclude.items if exclude and isinstance(exclude.items, list) else [exclude]
    for rule in rules:
        if rule and isinstance(rule.value, str) and (name := referred(rule.value)):
            yield name, rule.position


def read_calendars(section: Node, add: Add) -> dict[str, Declared]:
    """The calendars of a file by name. A bad one is there too, so that its name is known."""
    found = {}
    for name, node in section.mapping().items():
        good = good_name(name)
        if not good or good != name:
            add(section.keys[name], *no_name(name, good or "holidays, for example"))
        found[name] = _declared(name, node, section.keys[name], add)
    return found


def _declared(name: str, node: Node, at: Position, add: Add) -> Declared:
    if isinstance(node.items, dict):
        return _from_file(name, node, at, add)
    items = node.items if node.items is not None else [node]
    if node.value is None or len(items) > MAX_RULES:
        what = "is empty" if node.value is None else f"has more than {MAX_RULES:,} entries"
        add(node.position, f"calendar {shown(name)} {what}", _SHAPE if node.value is None else "use ranges of days")
        return Declared(at)
    days = [_days(item, add) for item in items]
    return Declared(at, tuple(each for each in days if each))


def _days(node: Node, add: Add) -> Days | None:
    if not isinstance(node.value, str):
        add(node.position, f"a calendar has days, not {shown(node.value)}", "write 2026-12-24 or 2026-12-24/2027-01-02")
        return None
    try:
        found = parse_days(node.value)
    except ValueError as error:
        message, _, remedy = str(error).partition("; ")
        add(node.position, message, remedy.removesuffix(", or a cron expression"))
        return None
    if found is None:
        remedy = "write 2026-12-24 or 2026-12-24/2027-01-02; cron expressions stand in `exclude`"
        add(node.position, f"{shown(node.value)} is no day", remedy)
    return found


def _from_file(name: str, node: Node, at: Position, add: Add) -> Declared:
    for key, position in node.keys.items():
        if key not in _KEYS:
            add(
                position,
                f"unknown key {shown(key)} in a calendar",
                did_you_mean(key, _KEYS) or "it takes ics, timezone",
            )
    zone, ics = node.child("timezone"), node.child("ics")
    timezone = zone.value if zone else None
    if zone and not isinstance(timezone, str):
        add(zone.position, f"timezone must be a text, not {shown(timezone)}", "use an IANA name such as Europe/Berlin")
    elif zone:
        try:
            check_zone(str(timezone))
        except ValueError as error:
            message, _, remedy = str(error).partition("; ")
            add(zone.position, f"timezone: {message}", remedy)
            timezone = None
    if ics is None:
        add(at, f"calendar {shown(name)} has no ics", _SHAPE)
        return Declared(at)
    if not isinstance(ics.value, str) or not ics.value.endswith(".ics") or ics.value.startswith("/"):
        text = f"ics must be an .ics file beside this one, not {shown(ics.value)}"
        add(ics.position, text, "give its path relative to this file, such as holidays.ics")
        return Declared(at)
    return Declared(at, (), ics.value, ics.position, timezone if isinstance(timezone, str) else None)


@dataclass(frozen=True, slots=True)
class CalendarFile:
    """An iCalendar file without problems: the hash of its bytes, for when it was expanded, and what it covers."""

    digest: bytes
    expansion: tuple[date, date]
    covered: Covered


@dataclass(slots=True)
class Calendars:
    """The calendars of all schedule files, gathered one by one. Files that did not change are not read again."""

    now: datetime
    roots: frozenset[str]
    problems: set[Problem]
    before: Mapping[str, CalendarFile]
    known: dict[str, Calendar] = field(default_factory=dict)
    files: dict[str, CalendarFile] = field(default_factory=dict)
    places: dict[str, tuple[str, Position]] = field(default_factory=dict)
    done: dict[str, Covered] = field(default_factory=dict)
    left: int = MAX_FILES

    def take(self, path: str, file: str, declared: Mapping[str, Declared]) -> None:
        """Takes the calendars of the schedule file at `path`, which messages call `file`."""
        for name, calendar in declared.items():
            if first := self.places.get(name):
                self.twice(name, first, (file, calendar.position))
                continue
            self.places[name] = file, calendar.position
            covered = self.covered(path, file, calendar) if calendar.ics else Covered(calendar.days)
            instants, local = covered.instants, covered.local
            if zone := calendar.timezone:
                instants += tuple((to_utc(begin, zone), to_utc(end, zone)) for begin, end in local)
                local = ()
            self.known[name] = Calendar(name, covered.days, instants, local)

    def twice(self, name: str, first: tuple[str, Position], second: tuple[str, Position]) -> None:
        """A problem at both places: neither of them is the right one."""
        for (file, position), (other, there) in ((first, second), (second, first)):
            message = f"calendar {name!r} is also in {other}:{there[0]}"
            self.problems.add(Problem(file, *position, message, "names are unique over all files; rename one"))

    def covered(self, path: str, file: str, calendar: Declared) -> Covered:
        """What the iCalendar file of a calendar covers."""
        ics = calendar.ics or ""
        self.left -= 1
        if self.left < 0:
            message = f"more than {MAX_FILES} calendars from iCalendar files"
            self.problems.add(Problem(file, *calendar.ics_position, message, "put several into one file"))
            return Covered()
        name, span = name_of(beside(ics, path)), expansion(self.now)
        try:
            real = find_beside(ics, path, self.roots)
            if real in self.done:
                return self.done[real]
            data = read(real)
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else "no path that a file can have"
            message = f"{shown(ics)} cannot be read: {why}"
            remedy = "name an .ics file in the schedules folder, relative to this file"
            self.problems.add(Problem(file, *calendar.ics_position, message, remedy))
            return Covered()
        digest = sha256(data).digest()
        found = self.before.get(name)
        if found is None or (found.digest, found.expansion) != (digest, span):
            report = Report(name)
            found = CalendarFile(digest, span, read_calendar(data, report, self.now))
            self.problems |= report.found
        self.files[name] = found
        self.done[real] = found.covered
        return found.covered

    def check(self, file: str, references: Iterable[tuple[str, Position]]) -> None:
        """Adds a problem for each name that no file has."""
        for name, position in references:
            if name not in self.places:
                near = did_you_mean(name, self.places).replace("did you mean ", f"did you mean {REFERENCE}")
                remedy = near or "define it below `calendars:`, or check all files together"
                self.problems.add(Problem(file, *position, f"exclude: unknown calendar {name!r}", remedy))
