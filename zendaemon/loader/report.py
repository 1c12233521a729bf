"""The problems of one file, as they are found."""

from __future__ import annotations

from dataclasses import dataclass, field

from zendaemon.core.errors import Problem

MAX_PROBLEMS = 1000

Position = tuple[int, int]
START: Position = (1, 1)


class Stop(Exception):
    """The rest of the file cannot be read, or is not worth reading; the problem has been added."""


@dataclass(slots=True)
class Report:
    """Collects problems; the same one at the same place counts once. Raises Stop when there are too many."""

    file: str
    found: set[Problem] = field(default_factory=set)

    def add(self, position: Position, message: str, remedy: str = "") -> None:
        self.found.add(Problem(self.file, *position, message, remedy))
        if len(self.found) >= MAX_PROBLEMS:
            text = f"{MAX_PROBLEMS} problems so far; the rest of the file was not looked at"
            self.found.add(Problem(self.file, *position, text, "mend these first"))
            raise Stop

    def places(self) -> frozenset[Position]:
        return frozenset((problem.line, problem.column) for problem in self.found)


def printable(text: str) -> str:
    """`text` with everything that could break a line or a terminal escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )


def shown(value: object) -> str:
    """A value as a message quotes it, in YAML's words."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str():
            return repr(value if len(value) <= 60 else value[:59] + "…")
        case _:
            return str(value)[:60]
