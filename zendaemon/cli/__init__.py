"""The commands: one file each, and the only place where objects are wired together."""

from __future__ import annotations

import sys

import typer

from zendaemon.cli import check, demo, fire, history, next_, pause, reload, resolve, resume, run, status, version
from zendaemon.cli.output import complain
from zendaemon.core.errors import SettingsError, ZendaemonError

app = typer.Typer(
    name="zendaemon",
    help="Every scheduled instant becomes exactly one ZenML run, on time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.command)
app.command("check")(check.command)
app.command("next")(next_.command)
app.command("fire")(fire.command)
app.command("status")(status.command)
app.command("history")(history.command)
app.command("pause")(pause.command)
app.command("resume")(resume.command)
app.command("reload")(reload.command)
app.command("resolve")(resolve.command)
app.command("demo")(demo.command)
app.command("version")(version.command)


def main() -> None:
    """The console script. Exit status: 0 fine, 1 the answer is no, 2 wrong usage."""
    try:
        app()
    except SettingsError as error:
        complain(error)
        sys.exit(2)
    except ZendaemonError as error:
        complain(error)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
