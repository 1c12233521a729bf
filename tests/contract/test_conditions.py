"""Conditions (`when`), asked of real servers, with the schedule's own last success out of a real journal."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from contract.test_engine import World, loaded, until
from contract.test_engine import schedule as world_schedule
from standin.server import StandIn
from structlog.testing import capture_logs

from zendaemon.conditions import Conditions
from zendaemon.core.errors import Unavailable
from zendaemon.core.fire import Fire, FireState
from zendaemon.core.run import Resolved
from zendaemon.core.schedule import Schedule
from zendaemon.demo.seed import Seeder
from zendaemon.journal import Journal
from zendaemon.zenml import Freshness, Secret, UserPassword, ZenML

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.server import ZenMLServer

DEFAULT = UserPassword("default", Secret(""))
SVC = {"steps": {"model_trainer": {"parameters": {"model_type": "svc"}}}}
HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def project(server: ZenMLServer, seeder: Seeder) -> str | None:
    """The id of the project that a target on this server has."""
    return None if server.version in ("0.62.0", "0.75.0") else seeder.project("default")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield opened
    await opened.close()


class Asked:
    """What a schedule with these conditions is told; `resolved` is as far as conditions look at it."""

    def __init__(self, zenml: ZenML, journal: Journal, name: str, project: str | None) -> None:
        self._zenml = zenml
        self._journal = journal
        self._name = name
        self._project = project
        self._conditions = Conditions(Freshness(zenml), journal, now=now)

    async def unmet(self, *when: dict[str, str]) -> str | None:
        schedule = Schedule.model_validate(
            {"name": self._name, "snapshot": "x", "cron": "0 2 * * *", "when": list(when)}
        )
        resolved = Resolved("snapshot", "x", "x", "x", now(), "0", project=self._project)
        return await self._conditions.unmet(schedule, resolved)

    async def succeeded(self, began: datetime) -> None:
        """A run of the schedule that succeeded, which the server says began then."""
        fire = Fire(schedule=self._name, fire_time=began, claimed_at=began)
        await self._journal.claim([fire], {})
        done = replace(fire, state=FireState.STARTED, run_id="r", run_status="completed", run_started_at=began)
        await self._journal.record(done)


@pytest.fixture
async def asked(server: ZenMLServer, journal: Journal, project: str | None, unique_name: str) -> AsyncIterator[Asked]:
    async with client(server) as zenml:
        yield Asked(zenml, journal, unique_name, project)


def client(server: ZenMLServer) -> ZenML:
    return ZenML(server.url, DEFAULT, now=now, elapsed=time.monotonic, trust_env=False)


async def test_an_artifact(asked: Asked, seeder: Seeder, unique_name: str) -> None:
    data = {"artifact": unique_name}
    seeder.artifact_version(f"{unique_name}-other")
    assert await asked.unmet(data) == f"artifact {unique_name!r}: no version of it; not found or not permitted"
    seeder.artifact_version(unique_name)
    assert await asked.unmet(data) is None
    await asked.succeeded(now())
    reason = await asked.unmet(data)
    assert reason is not None
    assert reason.startswith(f"artifact {unique_name!r}: the newest version '1' is of 20")
    assert "before our last success, which began at" in reason
    assert await asked.unmet({**data, "within": "1h"}) is None
    await asyncio.sleep(3)
    assert "longer than 1s ago" in (await asked.unmet({**data, "within": "1s"}) or "")
    seeder.artifact_version(unique_name)
    seeder.artifact_version(f"{unique_name}-other")
    assert await asked.unmet(data) is None
    assert await asked.unmet(data, {"artifact": f"{unique_name}-other"}) is None


async def test_a_model(asked: Asked, seeder: Seeder, unique_name: str) -> None:
    model = {"model": unique_name}
    seeder.model_version(f"{unique_name}-other")
    assert await asked.unmet(model) == f"model {unique_name!r}: no version of it; not found or not permitted"
    seeder.model_version(unique_name)
    assert await asked.unmet(model) is None
    await asked.succeeded(now())
    reason = await asked.unmet(model)
    assert reason is not None
    assert reason.startswith(f"model {unique_name!r}: the newest version '1' is of 20")
    seeder.model_version(unique_name)
    seeder.model_version(f"{unique_name}-other")
    assert await asked.unmet({**model, "within": "1h"}, model) is None


async def test_a_pipeline(asked: Asked, seeder: Seeder, unique_name: str) -> None:
    loads = {"pipeline": unique_name}
    other = seeder.runnable(f"{unique_name}-other")
    seeder.set_status(seeder.fire(other, {"run_name": f"{unique_name}-other-1", **SVC})["id"], "failed")
    loader = seeder.runnable(unique_name)
    assert await asked.unmet(loads) == f"pipeline {unique_name!r}: no run of it; not found or not permitted"
    run = seeder.fire(loader, {"run_name": f"{unique_name}-1", **SVC})["id"]
    about = f"pipeline {unique_name!r}: the last run '{unique_name}-1'"
    assert await asked.unmet(loads) == f"{about} has not ended, it is initializing"
    seeder.set_status(run, "running")
    assert await asked.unmet(loads) == f"{about} has not ended, it is running"
    seeder.set_status(run, "completed")
    assert await asked.unmet(loads) is None
    assert await asked.unmet({**loads, "within": "1h"}) is None
    await asked.succeeded(now() - HOUR)
    assert await asked.unmet(loads) is None
    await asked.succeeded(now() + timedelta(seconds=1))
    assert (await asked.unmet(loads) or "").startswith(f"{about} ended at 20")
    run = seeder.fire(loader, {"run_name": f"{unique_name}-2", **SVC})["id"]
    seeder.set_status(run, "failed")
    failed = f"pipeline {unique_name!r}: the last run '{unique_name}-2' ended as failed"
    assert await asked.unmet(loads) == failed
    assert await asked.unmet({**loads, "within": "1h"}) == failed
    assert await asked.unmet({"pipeline": f"{unique_name}-other"}, loads) == (
        f"pipeline '{unique_name}-other': the last run '{unique_name}-other-1' ended as failed"
    )


async def test_a_thing_of_another_project_does_not_count(
    servers: ServerPool, journal: Journal, unique_name: str
) -> None:
    with servers.own("0.98.0") as server, Seeder(server) as seeder:
        own, other = seeder.project("default"), seeder.project("other")
        seeder.artifact_version(unique_name, project="other")
        seeder.model_version(unique_name, project="other")
        run = seeder.fire(seeder.runnable(unique_name, project="other"), {"run_name": unique_name, **SVC})["id"]
        seeder.set_status(run, "completed")
        async with client(server) as zenml:
            for kind in ("artifact", "model", "pipeline"):
                condition = {kind: unique_name}
                assert await Asked(zenml, journal, unique_name, other).unmet(condition) is None
                assert "not found" in (await Asked(zenml, journal, unique_name, own).unmet(condition) or "")


async def test_a_server_that_is_away_is_no_reason_to_skip(
    servers: ServerPool, journal: Journal, unique_name: str
) -> None:
    with servers.own("0.98.0") as server:
        server.stop()
        async with client(server) as zenml:
            with pytest.raises(Unavailable):
                await Asked(zenml, journal, unique_name, None).unmet({"artifact": unique_name})


async def test_what_is_named_in_vain_is_said_once_and_holds_nothing_up(tmp_path: Path) -> None:
    async with StandIn() as standin:
        world = World(tmp_path, standin)
        fresh = {"at": "2999-01-01T00:00:00Z", "when": [{"artifact": "data"}]}
        async with world.daemon() as daemon:
            asked: list[str] = []

            async def suspects(schedule: Schedule, _: Resolved) -> list[str]:
                asked.append(schedule.name)
                if schedule.name == "a" and len(asked) == 1:
                    raise Unavailable("no answer")
                return [f"{schedule.name} is odd"]

            daemon.targets.suspects = suspects
            with capture_logs() as logs:
                await daemon.engine.apply(loaded(*(world_schedule(name=name, **fresh) for name in "abc")))
                await until(lambda: len(asked) == 3)
                await daemon.engine.apply(loaded(*(world_schedule(name=name, **fresh) for name in "abcd")))
                await until(lambda: len(asked) == 5)
            assert asked == ["a", "b", "c", "a", "d"]
            said = [entry["warning"] for entry in logs if entry["event"] == "schedule.suspect"]
            assert said == [f"{name} is odd" for name in "bcad"]
            assert not daemon.targets.unresolved
