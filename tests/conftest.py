"""Real ZenML servers for the tests: started on first use, shared within a test process, gone at its end."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from zendaemon.demo.pool import ServerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zendaemon.demo.seed import Seeder
    from zendaemon.demo.server import ZenMLServer

REPOSITORY = Path(__file__).parent.parent
GENERATIONS = ["0.62.0", "0.75.0", "0.98.0"]  # builds, run templates, snapshots


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerPool]:
    """All servers of this test process. `servers.own(version)` is one to kill, stop or restart."""
    cache = Path(os.environ.get("ZENDAEMON_DEMO_CACHE") or REPOSITORY / ".cache")
    with ServerPool(tmp_path_factory.mktemp("zenml"), cache, print) as pool:
        yield pool


@pytest.fixture(scope="session")
def zenml_server(servers: ServerPool) -> Callable[..., ZenMLServer]:
    """`zenml_server(version, **options)`: a running server that other tests use too."""
    return servers.get


@pytest.fixture(scope="session", params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> str:
    """A version of each generation of servers in turn."""
    version: str = request.param
    return version


@pytest.fixture(scope="session")
def server(servers: ServerPool, generation: str) -> ZenMLServer:
    """A running server of each generation; other tests use it too."""
    return servers.get(generation)


@pytest.fixture(scope="session")
def seeder(servers: ServerPool, server: ZenMLServer) -> Seeder:
    """Creates and reads things on `server`."""
    return servers.seeder(server)


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses, so that tests can share a server; valid for schedules and in ZenML."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"{slug[:50].rstrip('-')}-{uuid4().hex[:8]}"
