"""A virtual environment for each version of the ZenML server: its pins conflict with ours."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from zendaemon.core.errors import ZendaemonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TETHERED = Path(__file__).with_name("tethered.py")
LAST_LINES = 15
NEWEST_PYTHON = {(0, 62): 11, (0, 85): 12}  # the newest Python 3.x of the versions up to this one
SETUPTOOLS_OLD = (0, 85)  # versions up to this one import pkg_resources


def release(version: str) -> tuple[int, int]:
    """`0.62.0` as (0, 62): what tells the generations of ZenML apart."""
    if not (parts := re.fullmatch(r"(\d+)\.(\d+)(\.[0-9a-z.]+)?", version)):
        raise ZendaemonError(f"{version!r} is no version of ZenML", hint="write it in full, for example 0.98.0")
    return int(parts[1]), int(parts[2])


def default_cache() -> Path:
    """`$ZENDAEMON_DEMO_CACHE`, else `zendaemon` in the user's cache folder."""
    if own := os.environ.get("ZENDAEMON_DEMO_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zendaemon"


def ensure_venv(version: str, cache: Path, progress: Callable[[str], None]) -> Path:
    """The Python that can run this version of the ZenML server, installed on first use.

    A marker that is written last tells a finished environment from a half-made one, which is made anew. Processes
    that ask at the same time wait for the one that installs.
    """
    requirements = _requirements(version)
    home = cache.absolute() / f"zenml-{version}"
    python, marker = home / "bin" / "python", home / ".complete"
    recipe = "\n".join(requirements)
    if _is_complete(python, marker, recipe):
        return python
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(home.with_name(f"{home.name}.lock"), progress):
        if not _is_complete(python, marker, recipe):  # else: made while we waited
            progress(f"installing zenml[server] {version} into {home} (about 250 MB, once)")
            shutil.rmtree(home, ignore_errors=True)
            _run(_interpreter(version), ["venv", str(home)], progress)
            install = ["pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
            _run(str(python), [*install, *requirements], progress)
            marker.write_text(recipe, encoding="utf-8")
    return python


def _requirements(version: str) -> list[str]:
    extra = ["setuptools<80"] if release(version) <= SETUPTOOLS_OLD else []
    return [f"zenml[server]=={version}", *extra]


def _is_complete(python: Path, marker: Path, recipe: str) -> bool:
    """The interpreter is looked at too: it is a link that an upgrade of the system's Python breaks."""
    return python.exists() and marker.exists() and marker.read_text(encoding="utf-8") == recipe


def _interpreter(version: str) -> str:
    """Our own Python if this version of ZenML takes it, else the newest on PATH that it takes."""
    newest = next((minor for limit, minor in NEWEST_PYTHON.items() if release(version) <= limit), None)
    if newest is None or sys.version_info[:2] <= (3, newest):
        return sys.executable
    for minor in range(newest, 8, -1):
        if found := shutil.which(f"python3.{minor}"):
            return found
    raise ZendaemonError(
        f"ZenML {version} does not run on Python {sys.version_info[0]}.{sys.version_info[1]}",
        hint=f"install python3.{newest} beside it, or choose a newer version of ZenML",
    )


@contextmanager
def _locked(path: Path, progress: Callable[[str], None]) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that installs the same version")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(python: str, module: list[str], progress: Callable[[str], None]) -> None:
    """Run a module to its end, passing every line on; the last ones explain a failure. Ends with us at the latest."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    last: deque[str] = deque(maxlen=LAST_LINES)
    with (
        subprocess.Popen(
            [python, str(TETHERED), *module],
            env=environment,
            stdin=subprocess.PIPE,  # never written to
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
        ExitStack() as undo,
    ):
        undo.callback(_kill, process.pid)  # an interrupted installation must not go on in the background
        for line in process.stdout or ():
            last.append(line.rstrip())
            progress(line.rstrip())
        undo.pop_all()
    if process.returncode:
        raise ZendaemonError(
            "\n".join([f"`{python} -m {' '.join(module)}` failed with exit status {process.returncode}:", *last]),
            hint="the package index must be reachable (or set PIP_INDEX_URL) and the disk have room; then try again",
        )


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
