"""The real daemon as a child process, on a folder of its own."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from zendaemon.control import NotRunning, ask
from zendaemon.core.errors import ZendaemonError
from zendaemon.demo.venv import TETHERED

if TYPE_CHECKING:
    from pathlib import Path

READY_SECONDS = 60.0
DRAIN_SECONDS = 5.0
STOP_SECONDS = DRAIN_SECONDS + 10.0
LOG_TAIL = 15
_OF_A_SERVICE = {"STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}


class DemoDaemon:
    """`zendaemon run` for the schedules below `folder`; lives as long as this process, at most; a context manager."""

    def __init__(self, folder: Path, server_url: str, api_key: str) -> None:
        self.schedules = folder / "schedules"
        self.state = folder / "state"
        self.log = folder / "daemon.log"
        self.journal_url = f"sqlite:///{self.state / 'journal.db'}"
        self._server_url = server_url
        self._api_key_file = folder / "api-key"
        self.token_file = folder / "http-token"
        """What the status page asks for before it changes something."""
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0
        self._page: str | None = None
        write_secret(self._api_key_file, api_key)
        write_secret(self.token_file, secrets.token_hex(16))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ZendaemonError("the daemon is not running")
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until the schedules are in force."""
        with self.log.open("ab") as log:
            self._log_begins, self._page = log.tell(), None
            self._process = subprocess.Popen(
                [sys.executable, str(TETHERED), "zendaemon", "run"],
                env=self._environment(),
                stdin=subprocess.PIPE,  # never written to: it closes when we die, and the daemon ends
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours: we end the daemon before the server
            )
        deadline = time.monotonic() + READY_SECONDS
        while self.status() is None or self.page() is None:
            self.check()
            if time.monotonic() > deadline:
                raise self._error(f"is not ready after {READY_SECONDS:.0f} s")
            time.sleep(0.1)

    def stop(self) -> None:
        """Let it finish the attempts in hand, and wait until no process of it is left."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):  # the group is gone with its last process
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None

    def check(self) -> None:
        """Raises ZendaemonError with the end of the log when the daemon is not there any more."""
        if self._process is None or self._process.poll() is not None:
            raise self._error("ended")

    def status(self) -> dict[str, Any] | None:
        """What `zendaemon status` shows; None when the daemon does not answer yet, or not in time."""
        try:
            return ask(self.state, "status", timeout=5)
        except (NotRunning, ZendaemonError):
            return None

    def page(self) -> str | None:
        """The address of the status page; None before it is served."""
        if self._page is None:
            with self.log.open("rb") as log:
                log.seek(self._log_begins)
                said = re.findall(rb'"url": "(http:[^"]+)", "event": "http.listening"', log.read())
            self._page = said[-1].decode() if said else None
        return self._page

    def _environment(self) -> dict[str, str]:
        """Nothing of the user's own settings: they may lead to a server that is no toy."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ZENDAEMON_", "ZENML_")) and name not in _OF_A_SERVICE
        }
        return ours | {
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "ZENDAEMON_SCHEDULES": str(self.schedules),
            "ZENDAEMON_STATE": str(self.state),
            "ZENDAEMON_SERVER_URL": self._server_url,
            "ZENDAEMON_API_KEY_FILE": str(self._api_key_file),
            "ZENDAEMON_HTTP": "127.0.0.1:0",  # a free port, since others may be served on the usual one
            "ZENDAEMON_HTTP_TOKEN_FILE": str(self.token_file),
            "ZENDAEMON_DRAIN_TIMEOUT": f"{DRAIN_SECONDS:.0f}s",
        }

    def _error(self, what: str) -> ZendaemonError:
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:]
        return ZendaemonError(
            "\n".join([f"the daemon {what}; the end of its log:", *tail]), hint=f"the whole log is in {self.log}"
        )


def write_secret(path: Path, text: str) -> None:
    """A new file that only its owner may read, from its first moment on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text + "\n")
