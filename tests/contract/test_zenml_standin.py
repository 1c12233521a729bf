"""The stand-in server answers as the real ones do: the same calls have outcomes of the same shape."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from standin.server import API_KEY, STEPS, StandIn

from zendaemon.core.errors import ZendaemonError
from zendaemon.core.schedule import Target
from zendaemon.zenml import ApiKey, Resolver, Secret, ZenML

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from zendaemon.core.run import Resolved, Run
    from zendaemon.demo.seed import Seeder
    from zendaemon.demo.server import ZenMLServer

RF: dict[str, Any] = {"steps": {"model_trainer": {"parameters": {"model_type": "rf"}}}}


def now() -> datetime:
    return datetime.now(UTC)


def shape(value: object) -> object:
    """What is the same on every server: no ids, names, or instants."""
    if isinstance(value, str | datetime):
        return type(value).__name__
    return value


async def outcome(call: Awaitable[object]) -> object:
    try:
        found = await call
    except ZendaemonError as error:
        return type(error).__name__, getattr(error, "status", None)
    slots = getattr(found, "__slots__", ())
    return {name: shape(getattr(found, name)) for name in slots} if slots else shape(found)


async def together(zenml: ZenML, run: Run) -> list[object]:
    """What is told of a run that is asked for together with one that there is not."""
    gone = str(uuid4())
    told = [await zenml.get_runs([gone, run.id], run.project, times=times) for times in (False, True)]
    return [(each.keys() == {gone, run.id}, each[gone], (found := each[run.id]) and _shapes(found)) for each in told]


def _shapes(found: Run) -> dict[str, object]:
    return {field: shape(getattr(found, field)) for field in found.__slots__}


async def outcomes(url: str, key: str, pipeline: str, kind: Any) -> list[object]:  # noqa: ANN401
    """The outcomes of the calls that the daemon makes in a life."""
    target = Target(kind, None, pipeline, "45") if kind == "build" else Target(kind, f"{pipeline}-prod")
    async with ZenML(url, ApiKey(Secret(key)), now=now, elapsed=time.monotonic, trust_env=False) as zenml:
        resolver, name, info = Resolver(zenml, now), f"{pipeline}-{uuid4().hex}", await zenml.info()
        resolved: Resolved = await resolver.resolve(target, RF)
        gone = type(resolved)(kind, str(uuid4()), "", "", now(), "")
        run = await zenml.start(resolved, {**RF, "run_name": name}, ["a"], uuid4())
        return [
            (info.version, info.generation, info.routes, info.projects, info.tags),
            {field: shape(getattr(resolved, field)) for field in resolved.__slots__},
            _shapes(run),
            run.name == name,
            await outcome(zenml.start(resolved, {**RF, "run_name": name}, [], uuid4())),
            await outcome(zenml.find_run(name, resolved.project)),
            await outcome(zenml.find_run("none", resolved.project)),
            await outcome(zenml.get_run(run.id)),
            await outcome(zenml.get_run(str(uuid4()))),
            await together(zenml, run),
            [active.id == run.id for active in await zenml.active_runs(run.pipeline_id or "", run.project, pipeline)],
            await outcome(zenml.stop_run(str(uuid4()))),
            await outcome(zenml.start(gone, {"run_name": f"{name}-2"}, [], uuid4())),
            await outcome(zenml.start(resolved, {**RF, "run_name": "{nope}"}, [], uuid4())),
            await outcome(zenml.start(resolved, {**RF, "run_name": "x" * 256}, [], uuid4())),
            await outcome(zenml.start(resolved, {**RF, "run_name": f"{name}-3", "bogus": 1}, [], uuid4())),
            await outcome(zenml.start(resolved, {**RF, "run_name": f"{name}-4", "parameters": {"a": 1}}, [], uuid4())),
            await outcome(resolver.resolve(Target(kind, str(uuid4())), {})),
            await outcome(resolver.resolve(Target("build", None, "nope", "45"), {})),
            await outcome(resolver.resolve(target, {"steps": {"nope": {}}})),
            await outcome(zenml.get("no-such-thing")),
            type(await zenml.current_user()),
        ]


async def test_stand_in_and_real_server_have_the_same_outcomes(
    server: ZenMLServer, seeder: Seeder, unique_name: str
) -> None:
    runnable = seeder.runnable(unique_name, version="45", steps=STEPS)
    real = await outcomes(server.url, seeder.service_account(), unique_name, runnable.kind)
    async with StandIn(server.version, pipeline=unique_name) as standin:
        ours = await outcomes(standin.url, API_KEY, unique_name, runnable.kind)
    assert ours == real
