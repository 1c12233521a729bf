"""`zendaemon version`."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

from zendaemon import __version__
from zendaemon.cli.output import JsonOption, print_json


def command(as_json: JsonOption = False) -> None:
    """Show the versions of zendaemon, Python and the time zone data at hand."""
    shown = {"zendaemon": __version__, "python": platform.python_version(), "tzdata": version("tzdata")}
    if as_json:
        print_json(shown)
    else:
        sys.stdout.write("\n".join(f"{name} {number}" for name, number in shown.items()) + "\n")
