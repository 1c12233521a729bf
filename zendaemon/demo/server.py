"""A real ZenML server as a child process, with folders, a database and a port of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

import httpx

from zendaemon.core.errors import ZendaemonError
from zendaemon.demo.venv import release

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVER_SIDE = Path(__file__).with_name("server_side")
# Below the range from which Linux takes ports for outgoing connections: while the server is down nobody gets its port
# by chance, and a client that keeps trying cannot connect to itself.
PORTS = range(20_000, 30_000)
START_SECONDS = 180.0
STOP_SECONDS = 6.0
LOG_TAIL = 30


@dataclass(frozen=True, slots=True)
class Workload:
    """What the server's workload manager and orchestrator do; may be changed while the server runs."""

    hold_seconds: float = 0.0
    """How long a start keeps its slot."""
    fail_starts: bool = False
    """Accept every start and let the run fail."""
    run_seconds: float | None = None
    """How long a run is `running` before it is `completed`; None leaves it `initializing`."""
    stop_seconds: float | None = 0.0
    """How long a run's steps go on once it is stopped (from 0.85 on); None: that fails, and leaves it `stopping`."""


class ServerOptions(TypedDict, total=False):
    """How a server differs from the usual one."""

    port: int
    """Default: a free one."""
    runnable: bool
    """False leaves the workload manager out, as a plain installation does: the routes that start runs are missing."""
    workload: Workload
    start_slots: int
    """How many starts may be in hand at once; by default 2 from 0.85 on, before without limit."""
    environment: Mapping[str, str]
    """Added to the server's own."""


class ZenMLServer:
    """A ZenML server that lives as long as this process, at most; a context manager.

    `python` is that of an environment made by `ensure_venv`. A server in a `folder` that was used before finds its
    database there.
    """

    def __init__(self, version: str, python: Path, folder: Path, **options: Unpack[ServerOptions]) -> None:
        self.version = version
        self.folder = folder.absolute()
        self.log = self.folder / "server.log"
        self.port = options.get("port") or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.python = python
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.behave(options.get("workload", Workload()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id, and that of the server's process group."""
        if self._process is None:
            raise ZendaemonError(f"the ZenML server {self.version} in {self.folder} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def behave(self, workload: Workload) -> None:
        """Change what happens to starts from now on."""
        new = self._workload_file.with_suffix(".new")
        new.write_text(json.dumps(asdict(workload)), encoding="utf-8")
        new.replace(self._workload_file)

    @contextmanager
    def behaving(self, workload: Workload) -> Iterator[None]:
        """Change what happens to starts for a while."""
        before = self._workload_file.read_text(encoding="utf-8")
        self.behave(workload)
        try:
            yield
        finally:
            self.behave(Workload(**json.loads(before)))

    def start(self) -> None:
        """Start, and wait until the server answers. The first start in a folder creates the database."""
        if self.running:
            return
        with self.log.open("ab") as log, _bound(self.port) as listener:
            self._process = subprocess.Popen(
                [self.python, "-m", "zendaemon_serve", str(listener.fileno())],
                cwd=self.folder,
                env=self._clean_environment(),
                stdin=subprocess.PIPE,  # never written to: it closes when we die, and the server ends
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        with ExitStack() as undo:
            undo.callback(self.kill)
            self._wait_until_healthy()
            undo.pop_all()

    def stop(self) -> None:
        """End the server, first politely, and wait until no process of it is left."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the server as a crash would: nothing is finished or flushed."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # the group is gone with its last process
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None

    def restart(self) -> None:
        """Stop, and start again on the same port and database."""
        self.stop()
        self.start()

    @property
    def _workload_file(self) -> Path:
        return self.folder / "workload.json"

    def _clean_environment(self) -> dict[str, str]:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "PYTHONPATH": str(SERVER_SIDE),
            "PYTHONDONTWRITEBYTECODE": "1",  # our own folder may be read-only
            "PYTHONUNBUFFERED": "1",
            "ZENML_CONFIG_PATH": str(self.folder / "config"),
            "ZENML_LOCAL_STORES_PATH": str(self.folder / "stores"),
            "ZENML_STORE_TYPE": "sql",
            "ZENML_STORE_URL": f"sqlite:///{self.folder / 'zen.db'}",
            "ZENML_SERVER": "true",
            "ZENML_SERVER_DEPLOYMENT_TYPE": "other",
            "ZENML_SERVER_AUTO_ACTIVATE": "True",
            "ZENML_SERVER_SERVER_URL": self.url,
            "ZENML_SERVER_JWT_SECRET_KEY": "zendaemon-demo-server-jwt-secret",
            "ZENML_ANALYTICS_OPT_IN": "false",
        }
        if self._options.get("runnable", True):
            source = "zendaemon_workload.DemoWorkloadManager"
            environment["ZENML_SERVER_WORKLOAD_MANAGER_IMPLEMENTATION_SOURCE"] = source
            environment["ZENDAEMON_DEMO_WORKLOAD"] = str(self._workload_file)
        if slots := self._options.get("start_slots"):
            kind = "TEMPLATE" if release(self.version) < (0, 90) else "SNAPSHOT"
            environment[f"ZENML_SERVER_MAX_CONCURRENT_{kind}_RUNS"] = str(slots)
        return {**environment, **self._options.get("environment", {})}

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client(base_url=self.url, timeout=5, trust_env=False) as client:
            while time.monotonic() < deadline:
                if not self.running:
                    raise self._start_error("ended at once")
                with suppress(httpx.TransportError):
                    if client.get("/health").is_success:
                        return
                time.sleep(0.1)
        raise self._start_error(f"does not answer after {START_SECONDS:.0f} s")

    def _start_error(self, what: str) -> ZendaemonError:
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:]
        return ZendaemonError(
            "\n".join([f"the ZenML server {self.version} {what}; the end of its log:", *tail]),
            hint=f"the whole log is in {self.log}",
        )


def _free_port() -> int:
    for port in random.sample(PORTS, k=100):
        with suppress(ZendaemonError), _bound(port):
            return port
    raise ZendaemonError("no free port found on 127.0.0.1")


@contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    """A socket on this port that does not listen yet: until the server does, connections are refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise ZendaemonError(
                f"port {port} on 127.0.0.1 cannot be used: {error.strerror}", hint="choose another port"
            ) from error
        yield listener
