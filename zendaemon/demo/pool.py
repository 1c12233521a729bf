"""Demo servers shared by many users within one process: a test session, a benchmark."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self, Unpack

from zendaemon.demo.seed import Seeder
from zendaemon.demo.server import ServerOptions, ZenMLServer
from zendaemon.demo.venv import ensure_venv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class ServerPool:
    """Starts servers when they are first asked for and keeps them until it is closed; a context manager.

    `folder` is for the servers' own files, `cache` for their virtual environments.
    """

    def __init__(self, folder: Path, cache: Path, progress: Callable[[str], None]) -> None:
        self._folder = folder
        self._cache = cache
        self._progress = progress
        self._made = 0
        self._servers: dict[str, ZenMLServer] = {}
        self._seeders: dict[Path, Seeder] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()
        self._servers.clear()
        self._seeders.clear()

    def get(self, version: str, **options: Unpack[ServerOptions]) -> ZenMLServer:
        """The running server of this version and options, which others use too."""
        key = f"{version} {sorted(options.items())}"
        if key not in self._servers:
            self._servers[key] = self._open.enter_context(self._new(version, **options))
        self._servers[key].start()
        return self._servers[key]

    @contextmanager
    def own(self, version: str, **options: Unpack[ServerOptions]) -> Iterator[ZenMLServer]:
        """A running server for one user alone, who may stop, kill and restart it."""
        with self._new(version, **options) as server:
            yield server

    def seeder(self, server: ZenMLServer) -> Seeder:
        """The seeder of a server."""
        if server.folder not in self._seeders:
            self._seeders[server.folder] = self._open.enter_context(Seeder(server))
        return self._seeders[server.folder]

    def _new(self, version: str, **options: Unpack[ServerOptions]) -> ZenMLServer:
        python = ensure_venv(version, self._cache, self._progress)
        self._made += 1
        return ZenMLServer(version, python, self._folder / f"{version}-{self._made}", **options)
