"""A real systemd in a box: namespaces of its own over an overlay of this machine's root. Needs root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import zendaemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
SYSTEMD = Path("/lib/systemd/systemd")
NAMESPACES = ["--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc"]
BOOT_SECONDS = 30.0

T = TypeVar("T")


def why_none(folder: Path) -> str | None:
    """Why a box cannot be had on this machine, None where it can."""
    if os.geteuid() != 0:
        return "not root"
    if not SYSTEMD.exists():
        return f"{SYSTEMD} does not exist (package systemd)"
    for tool in ("unshare", "nsenter", "setpriv"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (package util-linux)"
    tried = subprocess.run(_boot(folder, "--try"), capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no namespaces or mounts: {tried.stderr.strip()}"


def _boot(folder: Path, *options: str) -> list[str]:
    unshare = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES]
    return [*unshare, "bash", str(HERE / "boot.sh"), str(folder), *options]


class Box:
    """A booted systemd; a context manager. `folder` is a new one; nothing of the box outlives the `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unshare: subprocess.Popen[bytes] | None = None
        self.init = 0

    def __enter__(self) -> Self:
        self._folder.mkdir()
        with (self._folder / "console").open("wb") as console:
            self._unshare = subprocess.Popen(
                _boot(self._folder), stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        try:
            self.init = wait_for(self._booted, "systemd in the box", BOOT_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._unshare is not None:
            self._unshare.kill()
            self._unshare.wait()

    def _booted(self) -> int:
        assert self._unshare
        unshare = self._unshare.pid
        if self._unshare.poll() is not None:
            raise AssertionError((self._folder / "console").read_text(errors="replace"))
        with suppress(OSError, ValueError):
            init = int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text())
            if b"systemd/systemd" in Path(f"/proc/{init}/cmdline").read_bytes():
                self.init = init
                if "running" in self.run("systemctl", "is-system-running", check=False):
                    return init
        return 0

    def command(self, *command: str | Path) -> list[str]:
        """What runs a command inside."""
        inside = ["nsenter", "-t", str(self.init), "-p", "-m", "-u", "-i", "-r", "-w"]
        return [*inside, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *map(str, command)]

    def run(self, *command: str | Path, check: bool = True, text: str | None = None) -> str:
        """The output of a command inside."""
        done = subprocess.run(
            self.command(*command), input=text, capture_output=True, text=True, check=False, timeout=90
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout + ("" if check else done.stderr)

    def path(self, inside: str) -> Path:
        """A path inside as it is seen from outside."""
        return Path(f"/proc/{self.init}/root{inside}")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode)
        path.chmod(mode)
        path.write_text(text, encoding="utf-8")

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        lines = self.run("systemctl", "show", unit, *(f"--property={name}" for name in properties)).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """What the unit wrote and what systemd says of it, oldest first."""
        lines = self.run("journalctl", "--no-pager", "--output=json", "--all", f"--unit={unit}").splitlines()
        return [json.loads(line) for line in lines]

    def install_zendaemon(self) -> None:
        """/opt/zendaemon, laid out as `pip install zendaemon` leaves a venv, from what this Python runs with.

        The interpreter comes along as /opt/python: it may lie in a home, which the unit cannot see.
        """
        python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        if sys.base_prefix != "/usr":
            self.run("mkdir", "-p", "/opt/python")
            self.run("mount", "--bind", sys.base_prefix, "/opt/python")
            self.write("/etc/ld.so.conf.d/python.conf", "/opt/python/lib\n")
            self.run("ldconfig")
            python = Path("/opt/python/bin", python.name)
        self.run(python, "-m", "venv", "--without-pip", "/opt/zendaemon")
        packages = next(self.path("/opt/zendaemon/lib").glob("python3.*")) / "site-packages"
        for file, name in _installed("zendaemon"):
            (packages / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, packages / name)
        ours = Path(zendaemon.__file__).parent
        shutil.copytree(
            ours, packages / "zendaemon", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pth")
        )
        script = "import sys\nfrom zendaemon.cli import main\nsys.exit(main())\n"
        self.write("/opt/zendaemon/bin/zendaemon", f"#!/opt/zendaemon/bin/python\n{script}", 0o755)
        self.run("/opt/zendaemon/bin/python", "-m", "compileall", "-q", "-j", "0", "/opt/zendaemon/lib", check=False)


def _installed(name: str) -> Iterator[tuple[Path, str]]:
    """The files, and their names in site-packages, of a distribution and all that it needs."""
    wanted, seen = [name], set[str]()
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except ModuleNotFoundError:  # needed on other systems or Pythons only
            continue
        for file in found.files or ():
            if ".." not in file.parts and file.suffix not in {".pth", ".pyc"}:
                yield Path(str(found.locate_file(file))), str(file)
        needed = [need for need in found.requires or () if "extra ==" not in need]
        wanted += [match[0] for need in needed if (match := re.match(r"[\w.-]+", need))]


def wait_for(probe: Callable[[], T], what: str, seconds: float = 30.0) -> T:
    """The first answer of `probe` that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := probe():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {seconds:.0f} s")
