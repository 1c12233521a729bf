"""Which files are schedule files, and their bytes: every surprise of a file system is a problem line."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from zendaemon.core.errors import Problem
from zendaemon.loader.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

MAX_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 100_000
SUFFIXES = (".yaml", ".yml")

_Identity = tuple[int, int]
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@dataclass(slots=True)
class Found:
    """The schedule files below some paths, sorted, by the names that messages give them."""

    files: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def name_of(path: str | os.PathLike[str]) -> str:
    """The path as messages show it: printable whatever bytes the file system holds."""
    return printable(os.fsencode(path).decode("utf-8", "backslashreplace"))


def find(paths: Sequence[Path]) -> Found:
    """Every `*.yaml` and `*.yml` below the folders in `paths`, at any depth, and the files in it whatever their names.

    Hidden files and folders are passed over, symlinks are followed, nothing is found twice.
    """
    walk = _Walk()
    for path in dict.fromkeys(os.fspath(path) for path in paths):
        walk.start(path)
    return Found(dict(sorted(walk.found.files.items())), list(dict.fromkeys(walk.found.problems)))


class _Walk:
    def __init__(self) -> None:
        self.found = Found()
        self.entries = 0
        self.seen: dict[_Identity, str] = {}

    def start(self, path: str) -> None:
        info = self.look(path)
        if info is None:
            return
        if stat.S_ISDIR(info.st_mode):
            self.folders(path, info)
        else:
            self.file(path, info)

    def folders(self, path: str, info: os.stat_result) -> None:
        """Walks the tree with a stack of its own, so that no depth of folders is too deep."""
        stack = [(path, _identity(info), frozenset(_ancestors(path)))]
        while stack:
            folder, identity, above = stack.pop()
            if identity in above:
                self.problem(folder, "a symlink loop: it leads back to a folder above it", "remove the link")
                continue
            if not self.first(folder, identity):
                continue
            below = above | {identity}
            inner = []
            for child, child_info in self.children(folder):
                if stat.S_ISDIR(child_info.st_mode):
                    inner.append((child, _identity(child_info), below))
                elif child.endswith(SUFFIXES):
                    self.file(child, child_info)
            stack += reversed(inner)

    def children(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        room = MAX_ENTRIES - self.entries
        if room < 0:
            return
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, room + 1)]
        except OSError as error:
            self.problem(folder, f"the folder cannot be read: {reason(error)}", _remedy(error))
            return
        self.entries += len(names)
        if self.entries > MAX_ENTRIES:
            text = f"more than {MAX_ENTRIES:,} files and folders; the rest was not looked at"
            self.problem(folder, text, "keep schedules in a folder of their own")
            return
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = os.path.join(folder, name)  # noqa: PTH118 - names may be no text; os takes any bytes
            info = self.look(path, quiet=not name.endswith(SUFFIXES))
            if info is not None:
                yield path, info

    def file(self, path: str, info: os.stat_result) -> None:
        if not stat.S_ISREG(info.st_mode):
            kind = _KINDS.get(stat.S_IFMT(info.st_mode), "something else")
            self.problem(path, f"is {kind}, not a file", "remove it, or give it another suffix")
        elif self.first(path, _identity(info)):
            self.found.files[path] = name_of(path)

    def first(self, path: str, identity: _Identity) -> bool:
        """Whether nothing before led to the same file or folder; a second path to it is a problem."""
        before = self.seen.setdefault(identity, path)
        if before is path:
            return True
        if os.path.abspath(before) != os.path.abspath(path):  # noqa: PTH100 - must not follow links
            text = f"leads to the same as {name_of(before)}, so it would be loaded twice"
            self.problem(path, text, "remove one of them")
        return False

    def look(self, path: str, *, quiet: bool = False) -> os.stat_result | None:
        """What the path leads to. `quiet` passes over what need not be a schedule file."""
        try:
            return os.stat(path)  # noqa: PTH116 - as in `children`
        except OSError as error:
            loop = error.errno == errno.ELOOP
            if quiet and not loop:
                return None
            if loop:
                self.problem(path, "a symlink loop", "remove the link")
            elif os.path.islink(path):  # noqa: PTH114
                target = name_of(os.readlink(path))  # noqa: PTH115
                self.problem(path, f"a broken symlink to {target}: {reason(error)}", "mend or remove the link")
            else:
                self.problem(path, f"cannot be read: {reason(error)}", _remedy(error))
            return None

    def problem(self, path: str, message: str, remedy: str) -> None:
        self.found.problems.append(Problem(name_of(path), 0, 0, message, remedy))


def read(path: str) -> bytes:
    """The bytes of a regular file, at most one more than MAX_BYTES. Raises OSError; never waits for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file any more")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def find_beside(name: str, path: str, roots: Iterable[str]) -> str:
    """The path, without links, of the file that a schedule file at `path` names. Raises OSError.

    Only files below `roots`, whatever links lead there: schedule files may come from people who must not read the rest.
    """
    real = os.path.realpath(beside(name, path))
    if not any(os.path.join(root, "") == os.path.join(real, "")[: len(root) + 1] for root in roots):  # noqa: PTH118
        raise OSError(errno.EACCES, "leads out of the schedules folder")
    info = os.stat(real)  # noqa: PTH116
    if not stat.S_ISREG(info.st_mode):
        raise OSError(errno.EINVAL, f"is {_KINDS.get(stat.S_IFMT(info.st_mode), 'something else')}, not a file")
    return real


def beside(name: str, path: str) -> str:
    """The path of what the file at `path` names, relative to itself."""
    return os.path.join(os.path.dirname(path), name)  # noqa: PTH118, PTH120


def roots_of(paths: Iterable[str | os.PathLike[str]]) -> frozenset[str]:
    """The folders among `paths`, and those of the files among them, without links."""
    folders = (path if os.path.isdir(path) else os.path.dirname(path) for path in paths)  # noqa: PTH112, PTH120
    return frozenset(os.path.realpath(os.fspath(folder) or ".").rstrip("/") for folder in folders)


def reason(error: OSError) -> str:
    """What the system says, in lower case, without the path that the message names already."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def unreadable(file: str, error: OSError) -> Problem:
    return Problem(file, 0, 0, f"cannot be read: {reason(error)}", _remedy(error))


def _remedy(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "let the daemon's user read it"
    return "check the path" if error.errno in (errno.ENOENT, errno.ENOTDIR) else "check the file system"


def _identity(info: os.stat_result) -> _Identity:
    return info.st_dev, info.st_ino


def _ancestors(path: str) -> Iterator[_Identity]:
    """The folders above `path`: a link to one of them would lead into the walk again."""
    folder = os.path.realpath(path)
    while (parent := os.path.dirname(folder)) != folder:  # noqa: PTH120
        folder = parent
        try:
            yield _identity(os.stat(folder))  # noqa: PTH116
        except OSError:
            return
