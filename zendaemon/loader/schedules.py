"""The tree of one file to its schedules: names, defaults, and everything that can be wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError

from zendaemon.core.exclusion import referred
from zendaemon.core.near import did_you_mean
from zendaemon.core.schedule import TARGET_KEYS, TRIGGER_KEYS, KeyedError, Schedule
from zendaemon.loader.calendars import good_name, no_name, read_calendars, references_of
from zendaemon.loader.config import check_config, check_run_name, never_fires
from zendaemon.loader.messages import explain
from zendaemon.loader.node import Node
from zendaemon.loader.report import START, Position, Report, Stop, shown
from zendaemon.loader.tree import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pydantic import JsonValue
    from pydantic_core import ErrorDetails

    from zendaemon.loader.calendars import Declared

MAX_EXPANDED = 1_000_000

_SECTIONS = ("schedules", "defaults", "calendars")
_TARGET = (*TARGET_KEYS, "version")
_CALENDAR = {*TRIGGER_KEYS, "timezone", "start_time", "end_time", "exclude"}
_DEEP = ("retry", "on_run_failure", "sla", "config")
_STAND_INS: dict[str, JsonValue] = {
    "cron": "0 0 * * *",
    "every": "1h",
    "at": "2100-01-01",
    "pipeline": "x",
    "version": "1",
    "build": "00000000-0000-0000-0000-000000000000",
    "template": "x",
    "snapshot": "x",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A schedule and the place of its name; that of its `exclude` where it names calendars, which come later."""

    schedule: Schedule
    position: Position
    exclude: Position | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: schedules and calendars by name, and where it names which calendar.

    `whole` unless the rest of it could not be read.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    calendars: Mapping[str, Declared] = field(default_factory=dict)
    references: tuple[tuple[str, Position], ...] = ()
    whole: bool = False


def read_schedules(data: bytes, report: Report, now: datetime) -> Content:
    """The content of a file, of use only when the report, which gets every problem, has none."""
    trial = Report(report.file)
    content = _read(data, trial, now, quick=True)
    return _read(data, report, now, quick=False) if trial.found else content


def _read(data: bytes, report: Report, now: datetime, *, quick: bool) -> Content:
    try:
        root = parse(data, report, quick=quick)
        if root is not None:
            return _File(report, now).read(root)
        if not report.found:
            report.add(START, "the file is empty: `schedules:` is missing", "add schedules, or remove the file")
    except Stop:
        pass
    return Content()


class _File:
    def __init__(self, report: Report, now: datetime) -> None:
        self.report = report
        self.now = now
        self.settled: frozenset[Position] = frozenset()

    def read(self, root: Node) -> Content:
        self.settled = self.report.places()
        sections = self.sections(root)
        if sections is None:
            return Content()
        schedules, defaults, declared = sections
        calendars = read_calendars(declared, self.add)
        self.bound(schedules, defaults)
        if defaults.items:
            self.check_defaults(defaults)
            self.settled = self.report.places()
        entries = [self.entry(name, node, schedules.keys[name], defaults) for name, node in schedules.mapping().items()]
        references = (named for node in (defaults, *schedules.mapping().values()) for named in references_of(node))
        by_name = {entry.schedule.name: entry for entry in entries if entry}
        return Content(by_name, calendars, tuple(references), whole=True)

    def sections(self, root: Node) -> tuple[Node, Node, Node] | None:
        """The nodes of `schedules`, `defaults` and `calendars`, each of which may be left empty.

        None without schedules and calendars.
        """
        if not isinstance(root.items, dict):
            what = "the file is empty" if root.value is None else f"the file holds {shown(root.value)}"
            self.add(root.position, f"{what}: `schedules:` is missing", "write schedules below a key `schedules:`")
            return None
        for key, position in root.keys.items():
            if key not in _SECTIONS:
                remedy = did_you_mean(key, _SECTIONS) or self.misplaced(key)
                self.add(position, f"unknown key {shown(key)} at the top of the file", remedy)
        if "schedules" not in root.keys and "calendars" not in root.keys:
            self.add(root.position, "`schedules:` is missing", "write the schedules below it, each under its name")
            return None
        schedules, defaults, calendars = (self.section(root, key) for key in _SECTIONS)
        return schedules, defaults, calendars

    def misplaced(self, key: str) -> str:
        known = key in Schedule.model_fields
        return "put it into `defaults:` or a schedule" if known else f"the file has {', '.join(_SECTIONS)} only"

    def section(self, root: Node, key: str) -> Node:
        node = root.child(key)
        if node is not None and isinstance(node.items, dict):
            return node
        position = node.position if node else START
        if node is not None and node.value is not None:
            wanted = "keys to values" if key == "defaults" else f"names to {key}"
            self.add(position, f"{key} must be a mapping of {wanted}, not {shown(node.value)}", "")
        return Node(position, {}, {})

    def bound(self, schedules: Node, defaults: Node) -> None:
        """Defaults are written into every schedule, so that a small file could grow without bound."""
        if schedules.size + len(schedules.mapping()) * defaults.size > MAX_EXPANDED:
            text = f"more than {MAX_EXPANDED:,} values, defaults written out"
            self.report.add(defaults.position, text, "split the file, or use shorter defaults")
            raise Stop

    def check_defaults(self, defaults: Node) -> None:
        """Validates the defaults as a schedule with whatever is missing, so that each wrong one shows once, here."""
        data = _values(defaults)
        if not data.keys() & set(TRIGGER_KEYS):
            data["every"] = _STAND_INS["every"]
        if not data.keys() & set(TARGET_KEYS):
            data["pipeline" if "version" in data else "template"] = "x"
        elif not data.keys() & set(_TARGET) - {"pipeline"}:
            data["version"] = "1"
        self.check_keys(defaults, "defaults")
        schedule = self.validate({**data, "name": "defaults"}, defaults, "defaults", defaults.position)[0]
        config = defaults.child("config")
        if config and schedule:
            check_config(config, schedule, self.now, self.add)

    def entry(self, name: str, own: Node, at: Position, defaults: Node) -> Entry | None:
        if own.value is None:
            if own.position in self.settled:
                return None
            own = Node(own.position, {}, {})
        if not isinstance(own.items, dict):
            self.add(
                own.position, f"schedule {shown(name)} must be a mapping, not {shown(own.value)}", "indent its keys"
            )
            return None
        subject = f"schedule {shown(name)}"
        good = self.name(name, at)
        self.check_keys(own, subject)
        node = overlay(defaults, own)
        schedule, wrong = self.validate({**_values(node), "name": good}, node, subject, at)
        if schedule is None:
            return None
        if config := node.child("config"):
            check_config(config, schedule, self.now, self.add)
        self.check_fires(node, schedule, wrong, at)
        exclude = node.child("exclude") if not wrong & _CALENDAR and any(map(referred, schedule.exclude)) else None
        return Entry(schedule, at, exclude.position if exclude else None) if good == name else None

    def name(self, name: str, at: Position) -> str:
        """The name, or a good one that stands for a bad one while the rest is checked."""
        good = good_name(name)
        if not good or good != name:
            self.add(at, *no_name(name, good or "nightly-training, for example"))
        return good or "x"

    def check_keys(self, node: Node, subject: str) -> None:
        if "name" in node.keys:
            remedy = "the key above is the name" if subject != "defaults" else "a schedule's key is its name"
            self.add(node.keys["name"], f"{subject} has a `name`; remove it", remedy)

    def validate(
        self, data: dict[str, JsonValue], node: Node, subject: str, at: Position
    ) -> tuple[Schedule | None, set[str]]:
        """The schedule and the keys that are wrong: these are reported and stood in for, so that the rest is seen."""
        wrong: set[str] = set()
        for _ in range(len(_STAND_INS)):
            try:
                return Schedule.model_validate(data), wrong
            except ValidationError as invalid:
                errors = invalid.errors(include_url=False)
            for error in errors:
                self.add(_place(error, node, at), *explain(error, subject))
                keys = _concerned(error)
                wrong.update(keys)
                _mend(data, keys, clash=len(keys) > 1)
        return None, wrong

    def check_fires(self, node: Node, schedule: Schedule, wrong: set[str], at: Position) -> None:
        """What takes a whole trigger to tell, for a schedule whose trigger is as written."""
        if not wrong & _CALENDAR and (never := never_fires(schedule, self.now)):
            key, message = never
            child = node.child(key)
            self.add(child.position if child else at, message, "mend the trigger, or its bounds")
        config = node.child("config")
        name = config.child("run_name") if config else None
        if name is not None and name.value is not None and not wrong & {*TRIGGER_KEYS, "config"}:
            check_run_name(name, schedule, self.now, self.add)

    def add(self, position: Position, message: str, remedy: str) -> None:
        """Adds a problem, unless something else is already wrong with what stands there."""
        if position not in self.settled:
            self.report.add(position, message, remedy)


def _values(node: Node) -> dict[str, JsonValue]:
    return {key: child.value for key, child in node.mapping().items() if key != "name"}


def _place(error: ErrorDetails, node: Node, at: Position) -> Position:
    """Where an error shows: at the key for an unknown key or a clash of keys, else at the value."""
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, KeyedError):
        return node.keys.get(cause.key, at)
    place = at
    for part in error["loc"]:
        if error["type"] == "extra_forbidden" and part == error["loc"][-1]:
            return node.keys.get(str(part), place)
        child = node.child(part)
        if child is None:
            break
        node, place = child, child.position
    return place


def _concerned(error: ErrorDetails) -> tuple[str, ...]:
    """The keys of a schedule that an error is about: one, or the several of a clash."""
    cause = error.get("ctx", {}).get("error")
    return cause.about if isinstance(cause, KeyedError) else tuple(str(part) for part in error["loc"][:1])


def _mend(data: dict[str, JsonValue], keys: tuple[str, ...], *, clash: bool) -> None:
    """Stand-ins for what is wrong, so that another look finds what pydantic had not come to."""
    for key in keys:
        data.pop(key, None)
    instead = [key for key in keys if key in _STAND_INS and (not clash or key in ("every", "template"))]
    data.update({key: _STAND_INS[key] for key in instead})


def overlay(below: Node, above: Node) -> Node:
    """`above` with the defaults of `below`: its own trigger and target replace theirs whole, `_DEEP` merge."""
    if not below.items:
        return above
    given = {key for key, child in above.mapping().items() if child.value is not None}
    dropped: set[str] = set()
    if given & set(TRIGGER_KEYS):
        dropped |= set(TRIGGER_KEYS)
    if given & {"build", "template", "snapshot"}:
        dropped |= set(_TARGET)
    elif "version" in given or ("pipeline" in given and "version" in below.keys):
        dropped |= {"build", "template", "snapshot"}
    return _merged(below, above, dropped, deep=_DEEP)


def _merged(below: Node, above: Node, dropped: Iterable[str] = (), deep: tuple[str, ...] | None = None) -> Node:
    """Mappings merge, all else replaces; with `deep` only the mappings under these keys."""
    items = {key: child for key, child in below.mapping().items() if key not in dropped}
    for key, child in above.mapping().items():
        under = items.get(key)
        both = under is not None and isinstance(under.items, dict) and isinstance(child.items, dict)
        items[key] = _merged(under, child) if both and under and (deep is None or key in deep) else child
    keys = {key: above.keys.get(key) or below.keys[key] for key in items}
    return Node(above.position, {key: child.value for key, child in items.items()}, items, keys)
