"""The demo from its first step to its last: start everything, watch, end everything, hold the journal to the server."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from zendaemon import clock
from zendaemon.core.errors import SettingsError, ZendaemonError
from zendaemon.core.fire import instant_text
from zendaemon.demo.daemon import DemoDaemon
from zendaemon.demo.examples import PIPELINES, example_file
from zendaemon.demo.seed import Seeder
from zendaemon.demo.server import Workload, ZenMLServer
from zendaemon.demo.show import About, command_line, say, show
from zendaemon.demo.venv import default_cache, ensure_venv
from zendaemon.demo.watch import glance, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from types import FrameType

    from zendaemon.demo.show import Show
    from zendaemon.demo.watch import Summary

RUN_SECONDS = 4.0
LOOK_SECONDS = 1.0
SEEDED = "seeded"
"""In the server's folder once its database is complete."""


def play(version: str, folder: Path | None, span: timedelta | None) -> int | None:
    """The whole demo. The number of the signal that ended it before there was anything to see, else None.

    Raises ZendaemonError when a part fails, no run was started in the whole span, or the server does not know a run.
    """
    with _signals_end_it() as signals:
        try:
            with _home(folder, version) as home:
                summary = _play(version, home, span)
                _tell(summary)
                if summary.unknown:
                    raise ZendaemonError(f"the ZenML server does not know {len(summary.unknown)} of the journal's runs")
                if not summary.started and not signals:
                    raise ZendaemonError(
                        "no run was started", hint="the daemon's log tells why, or give --for more time"
                    )
        except KeyboardInterrupt:
            return signals[0]
        except httpx.TransportError as error:
            raise ZendaemonError(f"the demo's ZenML server does not answer: {error!r}") from error
    return None


def _play(version: str, home: Path, span: timedelta | None) -> Summary:
    with ExitStack() as parts:
        view = parts.enter_context(show())
        with view.step(f"virtual environment with zenml[server] {version}"):
            python = ensure_venv(version, default_cache(), view.note)
        with view.step(f"ZenML server {version}"):
            folder = home / f"zenml-{version}"
            _discard_half_made(folder)
            server = ZenMLServer(version, python, folder, workload=Workload(run_seconds=RUN_SECONDS))
            parts.enter_context(server)
        with view.step(f"a remote stack, the pipelines {', '.join(PIPELINES)}, and what starts them"):
            seeder = parts.enter_context(Seeder(server))
            _write_examples(home, seeder)
            (folder / SEEDED).touch()
        with view.step("zendaemon"):
            daemon = DemoDaemon(home, server.url, seeder.service_account())
            parts.enter_context(daemon)
        view.watch(About(version=version, url=server.url, folder=home, daemon=daemon))
        with suppress(KeyboardInterrupt):
            _watch(view, server, daemon, seeder, span)
        _ignore_signals()
        view.end()
        daemon.stop()
        view.update(glance(daemon, seeder))
        return summarize(daemon, seeder)


def _watch(view: Show, server: ZenMLServer, daemon: DemoDaemon, seeder: Seeder, span: timedelta | None) -> None:
    end = None if span is None else clock.monotonic() + span.total_seconds()
    while end is None or clock.monotonic() < end:
        if not server.running:
            raise ZendaemonError("the ZenML server ended", hint=f"its log is {server.log}")
        daemon.check()
        view.update(glance(daemon, seeder))
        time.sleep(LOOK_SECONDS)


def _discard_half_made(folder: Path) -> None:
    """Remove a database whose making was cut off: the server would refuse it."""
    if not (folder / SEEDED).exists():
        for file in folder.glob("zen.db*"):
            file.unlink()


def _write_examples(home: Path, seeder: Seeder) -> None:
    """The example schedules; a file from the last time stays as it was edited."""
    text = example_file(seeder, command_line("reload", home))
    file = home / "schedules" / "demo.yaml"
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        file.write_text(text, encoding="utf-8")


def _tell(summary: Summary) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items())) or "no fire came due"
    say(f"\nfires in the journal: {states}")
    say(f"the ZenML server knows {summary.known} of {summary.started} run ids")
    for fire in summary.unknown:
        say(f"  not known: {fire.run_name} {fire.run_id} of {instant_text(fire.fire_time)}")
    if summary.strangers:
        say(f"runs that no fire of the journal started: {', '.join(summary.strangers)}")


@contextmanager
def _home(folder: Path | None, version: str) -> Iterator[Path]:
    """The demo's folder, for this process alone. A temporary one is removed, unless a part failed: it has the logs."""
    if folder is None:
        home = Path(tempfile.mkdtemp(prefix="zendaemon-demo-"))
    else:
        home = folder.absolute()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_version(home, version)
    with _locked(home):
        keep = folder is not None
        try:
            yield home
        except BrokenPipeError:
            raise  # nobody looks any more
        except Exception:
            keep = True
            say(f"{home} has the logs")
            raise
        finally:
            if not keep:
                shutil.rmtree(home, ignore_errors=True)
                say(f"{home} is removed; --folder keeps one")


def _check_version(home: Path, version: str) -> None:
    others = [file.parent.name for file in home.glob("zenml-*/zen.db") if file.parent.name != f"zenml-{version}"]
    if others:
        raise SettingsError(
            f"{home} belongs to a demo with {others[0]}", hint="choose that version with --zenml, or another --folder"
        )


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / "demo.lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"another demo runs in {home}", hint="choose another --folder") from None
        yield


@contextmanager
def _signals_end_it() -> Iterator[list[int]]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, once: the end itself is not interrupted.

    The number of the one that came is put into the list. A SIGHUP that our parent ignores (nohup) stays ignored.
    """
    came: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        _ignore_signals()
        came.append(number)
        if number == signal.SIGHUP:
            _leave_terminal()
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN or number != signal.SIGHUP:
            signal.signal(number, end)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _leave_terminal() -> None:
    """The terminal is gone: what is written from now on goes nowhere, instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
