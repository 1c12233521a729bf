"""The commands: one file each, and the only place where objects are wired together."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import typer

from zendaemon.cli.output import complain
from zendaemon.core.errors import SettingsError, ZendaemonError

COMMANDS = (
    "run", "check", "next", "fire", "status", "history", "pause", "resume", "reload", "resolve", "notify", "demo",
    "version",
)  # fmt: skip
_NOT_OF_A_DAEMON = ("greenlet", "httpx._main", "rich")
"""What libraries import where it is installed, for uses that a daemon has not: 6 MB, and a tenth of its imports."""


def made(names: tuple[str, ...]) -> typer.Typer:
    """The program with these commands; those of a module that Python has a word for end in an underscore."""
    program = typer.Typer(
        name="zendaemon",
        help="Every scheduled instant becomes exactly one ZenML run, on time.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    program.callback()(lambda: None)  # or a single command would have no name
    for name in names:
        program.command(name)(_module(name).command)
    return program


def _module(name: str) -> Any:  # noqa: ANN401 - a module has no type of its own
    path = f"zendaemon.cli.{'next_' if name == 'next' else name}"
    absent = [module for module in _NOT_OF_A_DAEMON if name == "run" and module not in sys.modules]
    sys.modules.update(dict.fromkeys(absent, cast("ModuleType", None)))  # as though there were none
    try:
        return import_module(path)
    finally:
        for module in absent:
            del sys.modules[module]


def __getattr__(name: str) -> typer.Typer:
    """`app`: all commands, for those who want to look at them."""
    if name == "app":
        return made(COMMANDS)
    raise AttributeError(name)


def main() -> None:
    """The console script. Exit status: 0 fine, 1 the answer is no, 2 wrong usage."""
    asked = tuple(name for name in COMMANDS if name == next(iter(sys.argv[1:]), None))
    try:
        made(asked or COMMANDS)()  # to import what other commands need takes half a second
    except SettingsError as error:
        complain(error)
        sys.exit(2)
    except ZendaemonError as error:
        complain(error)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
