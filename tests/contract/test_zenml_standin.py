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
from zendaemon.zenml.rows import at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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


async def stops(zenml: ZenML, run: Run, move: Callable[[Run, str], None]) -> list[object]:
    """What becomes of stops before the run's orchestrator has it, while it runs, and once it has stopped."""
    told = [await outcome(zenml.stop_run(run.id))]
    move(run, "running")
    told += [await outcome(zenml.stop_run(run.id)), await outcome(zenml.stop_run(run.id))]
    return [*told, await outcome(zenml.stop_run(str(uuid4())))]


async def newest(zenml: ZenML, name: str) -> list[object]:
    """The newest version of an artifact and of a model, both of this name."""
    last = {"sort_by": "desc:created", "size": 1}
    told = []
    for path, query in (("artifact_versions", {"name": name, "artifact": name}), (f"models/{name}/model_versions", {})):
        page = await zenml.get(path, {**query, **last})
        bodies = [row["body"] for row in page["items"]]
        made = [(at(row, "artifact", "name"), at(row, "model", "name"), type(row["created"])) for row in bodies]
        told.append((page["total"], [row.get("version") or row.get("number") for row in bodies], made))
    return [*told, await outcome(zenml.pages("models/nope/model_versions"))]


async def outcomes(url: str, key: str, pipeline: str, kind: Any, move: Callable[[Run, str], None]) -> list[object]:  # noqa: ANN401
    """The outcomes of the calls that the daemon makes in a life."""
    target = Target(kind, None, pipeline, "45") if kind == "build" else Target(kind, f"{pipeline}-prod")
    async with ZenML(url, ApiKey(Secret(key)), now=now, elapsed=time.monotonic, trust_env=False) as zenml:
        resolver, name, info = Resolver(zenml, now), f"{pipeline}-{uuid4().hex}", await zenml.info()
        resolved: Resolved = await resolver.resolve(target, RF)
        gone = type(resolved)(kind, str(uuid4()), "", "", now(), "")
        run = await zenml.start(zenml.ready(resolved, {**RF, "run_name": name}, ["a"], uuid4()))
        return [
            (info.version, info.generation, info.routes, info.projects, info.tags),
            {field: shape(getattr(resolved, field)) for field in resolved.__slots__},
            _shapes(run),
            run.name == name,
            await outcome(zenml.start(zenml.ready(resolved, {**RF, "run_name": name}, [], uuid4()))),
            await outcome(zenml.find_run(name, resolved.project)),
            await outcome(zenml.find_run("none", resolved.project)),
            await outcome(zenml.get_run(run.id)),
            await outcome(zenml.get_run(str(uuid4()))),
            await together(zenml, run),
            [active.id == run.id for active in await zenml.active_runs(run.pipeline_id or "", run.project, pipeline)],
            await stops(zenml, run, move),
            await newest(zenml, pipeline),
            await outcome(zenml.start(zenml.ready(gone, {"run_name": f"{name}-2"}, [], uuid4()))),
            await outcome(zenml.start(zenml.ready(resolved, {**RF, "run_name": "{nope}"}, [], uuid4()))),
            await outcome(zenml.start(zenml.ready(resolved, {**RF, "run_name": "x" * 256}, [], uuid4()))),
            await outcome(zenml.start(zenml.ready(resolved, {**RF, "run_name": f"{name}-3", "bogus": 1}, [], uuid4()))),
            await outcome(
                zenml.start(zenml.ready(resolved, {**RF, "run_name": f"{name}-4", "parameters": {"a": 1}}, [], uuid4()))
            ),
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
    for _ in range(2):
        seeder.artifact_version(unique_name)
        seeder.model_version(unique_name)
    key = seeder.service_account()
    real = await outcomes(
        server.url, key, unique_name, runnable.kind, lambda run, status: seeder.set_status(run.id, status)
    )
    async with StandIn(server.version, pipeline=unique_name) as standin:
        for _ in range(2):
            standin.add_artifact_version(unique_name)
            standin.add_model_version(unique_name)
        ours = await outcomes(
            standin.url, API_KEY, unique_name, runnable.kind, lambda run, status: standin.move(run.name, status)
        )
    assert ours == real
