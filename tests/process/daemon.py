"""The real `zendaemon run` in a process of its own, and a line to its server that can be held, cut and counted."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from zendaemon.control import ask
from zendaemon.core.planning import unfolded
from zendaemon.core.shown import ShownFire
from zendaemon.journal import read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")
Json = dict[str, Any]

ZENDAEMON = Path(sys.executable).with_name("zendaemon")
PATIENCE = 90.0
"""Seconds to wait for what must happen; generous, since the machine may be busy with other tests."""
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


def until(what: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What `what` gives as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} s"
        time.sleep(0.05)
    return found


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def in_seconds(seconds: float) -> str:
    """A whole second at least so far ahead, as schedule files and history have it."""
    return text_of((datetime.now(UTC) + timedelta(seconds=seconds + 1)).replace(microsecond=0))


def text_of(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def run_name(schedule: str, fire_time: str) -> str:
    """What design.md, section 7 says that the run of a fire is called."""
    return f"{schedule}-{instant(fire_time):%Y%m%dT%H%M%SZ}"


def model(model_type: str) -> Json:
    """A config that overrides the parameter of the demo's pipeline."""
    return {"steps": {"model_trainer": {"parameters": {"model_type": model_type}}}}


def every_second(rows: Iterable[Json]) -> list[str]:
    """All whole seconds from the first to the last fire time."""
    times = sorted(instant(row["fire_time"]) for row in rows)
    count = round((times[-1] - times[0]).total_seconds()) + 1
    return [text_of(times[0] + timedelta(seconds=second)) for second in range(count)]


class Daemon:
    """A daemon with folders of its own; a context manager that starts it, and at its end leaves no process.

    `settings` become its ZENDAEMON_* variables; nothing else of our environment does. `lines` are its log.
    """

    def __init__(self, folder: Path, server_url: str | None, **settings: object) -> None:
        self.folder = folder
        self.schedules, self.state = folder / "schedules", folder / "state"
        self.schedules.mkdir(parents=True, exist_ok=True)
        known = {"schedules": self.schedules, "state": self.state, "server_url": server_url, "username": "default"}
        self.settings = {**known, "http": "off", **settings}  # many daemons side by side would want one port
        self.prefix: list[str] = []
        """What runs its commands, such as one that enters a namespace."""
        self.lines: list[Json] = []
        self.stray: list[str] = []
        """What is on stderr and no JSON: complaints and tracebacks."""
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        ours = {f"ZENDAEMON_{name.upper()}": str(value) for name, value in settings.items() if value is not None}
        return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(self.folder), **ours}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def write(self, schedules: Mapping[str, Json], file: str = "schedules.yaml") -> Path:
        """Put schedules into a file; nothing is reloaded."""
        return self.write_text(json.dumps({"schedules": schedules}, indent=2), file)

    def write_text(self, text: str, file: str = "schedules.yaml") -> Path:
        path, new = self.schedules / file, self.folder / "new"
        new.write_text(text, encoding="utf-8")
        return new.replace(path)

    def start(self, *, ready: bool = True) -> Self:
        """Start, also again after an end; `ready` waits until the schedules are in force."""
        assert not self.running
        self.lines, self.stray = [], []
        self._process = subprocess.Popen(
            [*self.prefix, ZENDAEMON, "run"],
            cwd=self.folder,
            env=self._environment(self.settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stderr, self.lines, self.stray), daemon=True
        )
        self._reader.start()
        if ready:
            self.wait_for("daemon.ready")
        return self

    @staticmethod
    def _read(stderr: Iterable[str], lines: list[Json], stray: list[str]) -> None:
        for line in stderr:
            try:
                lines.append(json.loads(line))
            except ValueError:
                stray.append(line)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self, seconds: float = PATIENCE) -> int:
        """The exit status, once the daemon has ended by itself; negative for the signal that ended it."""
        assert self._process is not None
        status = self._process.wait(seconds)
        assert self._reader is not None
        self._reader.join(seconds)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End politely; the exit status."""
        self.send(number)
        return self.ended()

    def finish(self) -> None:
        """Remove all schedules, let every fire that is due till then get its end, and stop."""
        for path in self.schedules.rglob("*.yaml"):
            path.unlink()
        count = len(self.events("reload.applied"))
        self.send(signal.SIGHUP)
        self.wait_for("reload.applied", count=count + 1)
        until(lambda: not self.open_claims())
        assert self.stop() == 0

    def kill(self) -> None:
        """End as a crash would (kill -9); also when it is stopped or gone already."""
        if self._process is not None and self._process.stderr and not self._process.stderr.closed:
            self._process.kill()
            self.ended()

    def events(self, event: str, **fields: object) -> list[Json]:
        """The lines of the log of this event with these fields, oldest first."""
        return [
            line
            for line in list(self.lines)
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]

    def wait_for(self, event: str, *, count: int = 1, seconds: float = PATIENCE, **fields: object) -> Json:
        """The line of the log, once there are so many like it."""
        deadline = time.monotonic() + seconds
        while len(found := self.events(event, **fields)) < count:
            assert time.monotonic() < deadline, f"no {event} {fields} after {seconds} s in\n{self.log()}"
            if not self.running and len(self.events(event, **fields)) < count:
                self.ended()  # what it said last may still be on its way
                assert len(self.events(event, **fields)) >= count, f"no {event} {fields}, but the end:\n{self.log()}"
            time.sleep(0.03)
        return found[count - 1]

    def log(self) -> str:
        return "\n".join([*(json.dumps(line) for line in list(self.lines)), *self.stray])

    def history(self, name: str | None = None) -> list[Json]:
        """What `zendaemon history --json` shows, but oldest first."""
        if self.prefix:  # its files may be where only its commands can see them
            shown = self.command("history", *([name] if name else []), "--json", "--limit", "1000000")
            return [json.loads(line) for line in shown.stdout.splitlines()][::-1]
        rows = read_history(f"sqlite:///{self.state / 'journal.db'}", name)
        return [ShownFire.of(fire).model_dump(mode="json") for fire in unfolded(rows)][::-1]

    def started(self, name: str | None = None) -> list[Json]:
        return [row for row in self.history(name) if row["state"] == "started"]

    def open_claims(self) -> list[Json]:
        return [row for row in self.history() if row["state"] == "claimed"]

    def status(self) -> Json:
        """What `zendaemon status --json` shows."""
        return ask(self.state, "status")

    def command(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Any command of zendaemon with the daemon's own environment, changed by `settings`."""
        return subprocess.run(
            [*self.prefix, ZENDAEMON, *arguments],
            cwd=self.folder,
            env=self._environment({**self.settings, **settings}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def reload(self) -> subprocess.CompletedProcess[str]:
        return self.command("reload")


class Deed(Enum):
    """What a line does with a request."""

    PASS = auto()
    HOLD = auto()
    """The server does not get it before `release`; whoever sent it gets no answer."""
    WITHHOLD = auto()
    """The server gets it and answers; the answer goes nowhere."""
    CUT = auto()
    """The server gets it and answers; the sender sees a reset in place of the answer."""
    DROP = auto()
    """The server does not get it; the sender sees a reset."""
    REFUSE = auto()
    """The server does not get it; the sender is told 503."""
    SLOW = auto()
    """The server's answer comes two seconds late."""


@dataclass(slots=True)
class Call:
    """A request that came by. `status` is the server's own answer, None where there was none."""

    method: str
    path: str
    deed: Deed
    status: int | None = None

    @property
    def is_start(self) -> bool:
        return self.method == "POST" and self.path.endswith("/runs")


class Line:
    """A port that leads to a server; a context manager. `rule` decides about each request by method and path."""

    def __init__(self, port: int) -> None:
        self.calls: list[Call] = []
        self.rule: Callable[[str, str], Deed] = passing
        self.reached = threading.Event()
        """Set once a request is held, or its answer withheld."""
        self._upstream = port
        self._released = threading.Event()
        self._closed = threading.Event()
        handler = type("Handler", (_Handler,), {"line": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def starts(self) -> list[Call]:
        return [call for call in self.calls if call.is_start]

    def release(self) -> None:
        """Let the server have, late, what was held."""
        self._released.set()

    def deal(self, call: Call, send: Callable[[], HTTPConnection]) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """The answer to give, None for a reset."""
        if call.deed is Deed.REFUSE:
            return 503, [("Content-Type", "text/html")], b"<html><title>Down</title></html>"
        if call.deed is Deed.DROP:
            return None
        if call.deed is Deed.HOLD:
            self.reached.set()
            self._released.wait()
            if self._closed.is_set():
                return None
        connection = send()
        try:
            response = connection.getresponse()
            call.status = response.status
            answer = (response.status, response.getheaders(), response.read())
        finally:
            connection.close()
        if call.deed is Deed.WITHHOLD:
            self.reached.set()
            self._closed.wait()
        elif call.deed is Deed.SLOW:
            self.reached.set()
            time.sleep(2)
        return answer if call.deed in (Deed.PASS, Deed.SLOW) else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Whoever was at the other end is dead; that is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    line: Line

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        call = Call(self.command, path, self.line.rule(self.command, path))
        self.line.calls.append(call)

        def send() -> HTTPConnection:
            connection = HTTPConnection("127.0.0.1", self.line._upstream, timeout=120)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body or None, headers)
            return connection

        answer = None
        with suppress(OSError, HTTPException):
            answer = self.line.deal(call, send)
        if answer is None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        status, headers, content = answer
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names of the standard library

    def log_message(self, *_: object) -> None:
        pass


def passing(_method: str, _path: str) -> Deed:
    return Deed.PASS


def starts(deed: Deed, *, times: int | None = None) -> Callable[[str, str], Deed]:
    """Do this to the starts, or the first `times` of them, and let all else pass."""
    left = [deed] * (times or 0)
    lock = threading.Lock()

    def rule(method: str, path: str) -> Deed:
        if method != "POST" or not path.endswith("/runs"):
            return Deed.PASS
        if times is None:
            return deed
        with lock:
            return left.pop() if left else Deed.PASS

    return rule


def questions(deed: Deed) -> Callable[[str, str], Deed]:
    """Do this to every GET, and let starts and logins pass."""
    return lambda method, _: deed if method == "GET" else Deed.PASS


def same_runs(rows: Iterable[Json], runs: Iterable[Json]) -> None:
    """Assert that started fires and the server's runs match one to one, by id and by name, and names are the fires'."""
    rows, runs = list(rows), list(runs)
    assert {row["run_id"]: row["run_name"] for row in rows} == {run["id"]: run["name"] for run in runs}
    assert len(rows) == len(runs), "a run for two fires, or two for one"
    for row in rows:
        assert row["run_name"] == run_name(row["schedule"], row["fire_time"])
