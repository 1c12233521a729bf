"""`zendaemon version`."""

from __future__ import annotations

import platform
import re
import sys
import zoneinfo
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from zendaemon import __version__
from zendaemon.cli.output import JsonOption, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROBE = "Europe/London"  # every collection of zones has it
_VERSION = re.compile(r"\d{4}[a-z]+")


def command(as_json: JsonOption = False) -> None:
    """Show the versions of zendaemon, Python and the time zone data in use, and where these are from."""
    number, source = zone_data(zoneinfo.TZPATH)
    shown = {"zendaemon": __version__, "python": platform.python_version(), "tzdata": number, "tzdata_source": source}
    if as_json:
        print_json(shown)
    else:
        lines = [f"zendaemon {__version__}", f"python {shown['python']}", f"tzdata {number or 'unknown'} ({source})"]
        sys.stdout.write("\n".join(lines) + "\n")


def zone_data(folders: Iterable[str]) -> tuple[str | None, str]:
    """The version of the zone data and where they are: the first place that Python looks at and that has any.

    That is one of `folders`, the system's, which may not tell its version, else the package tzdata.
    """
    for folder in map(Path, folders):
        if (folder / _PROBE).is_file():
            return _version_in(folder), str(folder)
    package = import_module("tzdata")  # without types of its own
    return str(package.IANA_VERSION), "package tzdata"


def _version_in(folder: Path) -> str | None:
    """Debian and most others have tzdata.zi, whose first line tells; macOS and BSD have a file +VERSION."""
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with (folder / name).open(encoding="utf-8", errors="replace") as file:
                found = _VERSION.search(file.readline(200))
        except OSError:
            continue
        if found:
            return found[0]
    return None
