"""Schedule files to a ScheduleSet, or every problem of every file with its place.

find -> read -> parse -> validate -> ScheduleSet          (files, text, tree, schedules with messages and config)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from zendaemon.core.errors import Invalid, Problem
from zendaemon.core.schedule import Place, ScheduleSet
from zendaemon.loader.config import shared_run_names
from zendaemon.loader.files import find, read, unreadable
from zendaemon.loader.report import Report
from zendaemon.loader.schedules import read_schedules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from zendaemon.core.schedule import Schedule
    from zendaemon.loader.schedules import Entry

__all__ = ["Loaded", "load"]


@dataclass(frozen=True, slots=True)
class _File:
    """A file without problems: the hash of its bytes, and what they hold."""

    digest: bytes
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A schedule set, with what the next load needs so that files whose bytes did not change are not parsed again."""

    set: ScheduleSet
    files: Mapping[str, _File] = field(default_factory=dict, repr=False)


def load(paths: Path | Sequence[Path], *, now: datetime, previous: Loaded | None = None) -> Loaded:
    """The schedules of some files and folders. Raises Invalid with every problem of every file.

    `now` only chooses the fire times that templates and run names are tried with.
    """
    found = find([paths] if isinstance(paths, Path) else paths)
    problems = set(found.problems)
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
    schedules = _gather(files, problems)
    for one, other, run_name in shared_run_names(schedules.enabled(), now):
        place = files[schedules.places[other].file].entries[other].position
        message = f"{other!r} and {one!r} have fires with the same run name {run_name!r}: the second would get no run"
        remedy = "put {{ schedule }} into run_name, and the whole fire time"
        problems.add(Problem(schedules.places[other].file, *place, message, remedy))
    if problems:
        raise Invalid(sorted(problems))
    return Loaded(schedules, files)


def _gather(files: Mapping[str, _File], problems: set[Problem]) -> ScheduleSet:
    """All files as one set; a name that an earlier file has is a problem of the later one."""
    schedules: dict[str, Schedule] = {}
    places: dict[str, Place] = {}
    for file, content in files.items():
        for name, entry in content.entries.items():
            line, column = entry.position
            if first := places.get(name):
                message = f"schedule {name!r} is also in {first.file}:{first.line}"
                problems.add(Problem(file, line, column, message, "names are unique over all files; rename one"))
                continue
            schedules[name], places[name] = entry.schedule, Place(file, line)
    return ScheduleSet(schedules, places)
