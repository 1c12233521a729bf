"""Schedule files to a ScheduleSet, or every problem of every file with its place.

find -> read -> parse -> validate -> ScheduleSet          (files, text, tree, schedules with messages and config)
                            `-> calendars and the iCalendar files that they name            (calendars, ics, event)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from zendaemon.core.errors import Invalid, Problem
from zendaemon.core.schedule import Place, ScheduleSet
from zendaemon.loader.calendars import Calendars
from zendaemon.loader.config import never_fires, shared_run_names
from zendaemon.loader.dependencies import check_dependencies
from zendaemon.loader.files import find, read, roots_of, unreadable
from zendaemon.loader.report import Report
from zendaemon.loader.schedules import read_schedules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from zendaemon.core.exclusion import Calendar
    from zendaemon.core.schedule import Schedule
    from zendaemon.loader.calendars import CalendarFile
    from zendaemon.loader.files import Found
    from zendaemon.loader.schedules import Content

__all__ = ["Loaded", "load"]


@dataclass(frozen=True, slots=True)
class _File:
    """A file without problems: the hash of its bytes, and what they hold."""

    digest: bytes
    content: Content


@dataclass(frozen=True, slots=True)
class Loaded:
    """A schedule set, with what the next load needs so that files whose bytes did not change are not parsed again."""

    set: ScheduleSet
    files: Mapping[str, _File] = field(default_factory=dict, repr=False)
    calendar_files: Mapping[str, CalendarFile] = field(default_factory=dict, repr=False)


def load(paths: Path | Sequence[Path], *, now: datetime, previous: Loaded | None = None) -> Loaded:
    """The schedules of some files and folders. Raises Invalid with every problem of every file.

    `now` only chooses the fire times that templates and run names are tried with.
    """
    paths = [paths] if isinstance(paths, Path) else paths
    found = find(paths)
    problems = set(found.problems)
    files = _read(found, now, previous, problems)
    before = previous.calendar_files if previous else {}
    calendars = Calendars(now, roots_of(paths), problems, before)
    for path, name in found.files.items():
        if name in files:
            calendars.take(path, name, files[name].content.calendars)
    if files.keys() == set(found.files.values()) and all(file.content.whole for file in files.values()):
        for name, file in files.items():
            calendars.check(name, file.content.references)
    schedules = _gather(files, calendars.known, now, problems)
    for one, other, run_name in shared_run_names(schedules.enabled(), now):
        place = files[schedules.places[other].file].content.entries[other].position
        message = f"{other!r} and {one!r} have fires with the same run name {run_name!r}: the second would get no run"
        remedy = "put {{ schedule }} into run_name, and the whole fire time"
        problems.add(Problem(schedules.places[other].file, *place, message, remedy))
    if not problems:  # else a name may only seem to be missing
        problems.update(check_dependencies(schedules))
    if problems:
        raise Invalid(sorted(problems))
    return Loaded(schedules, files, calendars.files)


def _read(found: Found, now: datetime, previous: Loaded | None, problems: set[Problem]) -> dict[str, _File]:
    """What the files hold that can be read at all; those whose bytes did not change are not parsed again."""
    known = previous.files if previous else {}
    files: dict[str, _File] = {}
    for path, name in found.files.items():
        try:
            data = read(path)
        except OSError as error:
            problems.add(unreadable(name, error))
            continue
        digest = sha256(data).digest()
        before = known.get(name)
        if before and before.digest == digest:
            files[name] = before
            continue
        report = Report(name)
        files[name] = _File(digest, read_schedules(data, report, now))
        problems |= report.found
    return files


def _gather(
    files: Mapping[str, _File], calendars: Mapping[str, Calendar], now: datetime, problems: set[Problem]
) -> ScheduleSet:
    """All files as one set; a name that an earlier file has is a problem of the later one."""
    schedules: dict[str, Schedule] = {}
    places: dict[str, Place] = {}
    for file, read_file in files.items():
        for name, entry in read_file.content.entries.items():
            line, column = entry.position
            if first := places.get(name):
                message = f"schedule {name!r} is also in {first.file}:{first.line}"
                problems.add(Problem(file, line, column, message, "names are unique over all files; rename one"))
                continue
            schedules[name], places[name] = entry.schedule, Place(file, line)
            if entry.exclude is None:
                continue
            schedules[name] = schedule = entry.schedule.with_calendars(calendars)
            if never := never_fires(schedule, now):
                problems.add(Problem(file, *entry.exclude, never[1], "mend the trigger, or its bounds"))
    return ScheduleSet(schedules, places)
