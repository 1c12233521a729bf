"""Resolving and preflight on servers that are hard to come by: two workspaces, hidden schemas, dead targets."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import httpx
import pytest
from standin.server import API_KEY, StandIn

from zendaemon.core.errors import Unavailable, Unresolved
from zendaemon.core.run import Resolved
from zendaemon.core.schedule import Target
from zendaemon.zenml import ApiKey, Resolver, Secret, ZenML
from zendaemon.zenml.info import parse_info
from zendaemon.zenml.preflight import Known, Parameters, follow, known, preflight
from zendaemon.zenml.starting import overlay, parameters_alone, start_body

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID = UUID("00000000-0000-5000-8000-000000000000")


def uid(name: str) -> str:
    return str(uuid5(ID, name))


def row(name: str, *, named: str | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"id": uid(name), "name": named or name, **more}


class Server:
    """The rows of a server: `lists` by path, single rows from them; filters are ignored, as servers do."""

    def __init__(self, version: str, *, active: bool = True, **lists: list[dict[str, Any]]) -> None:
        self.version, self.active, self.lists = version, active, lists
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.removeprefix("/api/v1/").strip("/").split("/")
        self.asked.append("/".join(parts))
        match parts:
            case ["login"]:
                return httpx.Response(200, json={"access_token": "t"})
            case ["info"]:
                return httpx.Response(200, json={"id": "s", "version": self.version, "active": self.active})
            case [thing] if thing in self.lists:
                return httpx.Response(200, json={"items": self.lists[thing], "total_pages": 1})
            case [thing, row_id]:
                for each in self.lists.get(thing, []):
                    if each["id"] == row_id:
                        return httpx.Response(200, json=each)
        return httpx.Response(404, json={"detail": ["KeyError", '"Unable to get it"']})

    def client(self) -> ZenML:
        transport = httpx.MockTransport(self)
        key = ApiKey(Secret(API_KEY))
        return ZenML("https://z", key, now=lambda: NOW, elapsed=time.monotonic, transport=transport)

    async def resolve(self, target: Target, config: Mapping[str, Any] | None = None) -> Resolved:
        async with self.client() as zenml:
            return await Resolver(zenml, lambda: NOW).resolve(target, config or {})

    async def why_not(self, target: Target, config: Mapping[str, Any] | None = None) -> str:
        with pytest.raises(Unresolved) as caught:
            await self.resolve(target, config)
        return str(caught.value)


def pipeline(workspace: str, version: str = "45") -> dict[str, Any]:
    scope = {"workspace": {"id": uid(workspace), "name": workspace}}
    return row(f"p-{workspace}-{version}", named="training", body={"version": version}, metadata=scope)


def build(of: str, created: str, **metadata: Any) -> dict[str, Any]:  # noqa: ANN401
    usual = {"pipeline": {"id": uid(of), "name": "training"}, "template_deployment_id": uid("d"), "is_local": False}
    usual |= {"stack": {"id": uid("s")}}
    return {"id": uid(created), "body": {"created": created}, "metadata": usual | metadata}


DEPLOYMENT = row("d", metadata={"step_configurations": {"trainer": {"config": {"parameters": {"kind": "svc"}}}}})
TRAINING = Target("build", None, "training", "45")


async def test_two_workspaces_hold_the_same_version() -> None:
    server = Server(
        "0.62.0",
        workspaces=[row("red"), row("blue")],
        pipelines=[pipeline("red"), pipeline("blue")],
        pipeline_builds=[build("p-red-45", "2026-01-01T00:00:00"), build("p-blue-45", "2026-02-01T00:00:00")],
        pipeline_deployments=[DEPLOYMENT],
    )
    text = await server.why_not(TRAINING)
    assert "2 pipelines are named 'training' with version '45', in the workspaces blue, red; add `project: ...`" in text
    found = await server.resolve(replace(TRAINING, project="red"))
    assert (found.id, found.pipeline_id) == (uid("2026-01-01T00:00:00"), uid("p-red-45"))
    text = await server.why_not(replace(TRAINING, project="rde"))
    assert "workspace 'rde' not found or not permitted; did you mean red?" in text


async def test_why_each_build_was_passed_over() -> None:
    builds = [
        build("p-red-45", "2026-01-01T00:00:00", template_deployment_id=None),
        build("p-red-45", "2026-01-04T00:00:00", is_local=True),
        build("p-red-45", "2026-01-03T00:00:00", stack=None),
        build("p-red-45", "2026-01-02T00:00:00", template_deployment_id=uid("deleted")),
        build("p-other", "2026-01-09T00:00:00"),
    ]
    server = Server("0.62.0", pipelines=[pipeline("red")], pipeline_builds=builds, pipeline_deployments=[DEPLOYMENT])
    text = await server.why_not(TRAINING)
    wanted = [
        f"{uid('2026-01-04T00:00:00')} is local",
        f"{uid('2026-01-03T00:00:00')} has no stack any more",
        f"{uid('2026-01-02T00:00:00')} its template deployment is gone",
        f"{uid('2026-01-01T00:00:00')} has no template deployment",
    ]
    assert "; ".join(wanted) in text
    server.lists["pipeline_builds"].append(build("p-red-45", "2025-01-01T00:00:00"))
    assert (await server.resolve(TRAINING)).id == uid("2025-01-01T00:00:00")


async def test_a_version_filter_that_is_ignored_is_not_trusted() -> None:
    """Trap 5: the rows that come back are looked at."""
    server = Server("0.62.0", pipelines=[pipeline("red", version) for version in ("9", "46", "10", "dev")])
    assert "it has 46, 10, 9, dev (newest first)" in await server.why_not(TRAINING)


async def test_a_server_that_is_not_active() -> None:
    assert "not activated yet" in await Server("0.98.0", active=False).why_not(Target("snapshot", "prod"))


@pytest.mark.parametrize("kind", ["template", "snapshot"])
@pytest.mark.parametrize("named", [True, False])
async def test_a_target_that_cannot_be_run(kind: Any, named: bool) -> None:  # noqa: ANN401, FBT001
    version, thing = ("0.75.0", "run_templates") if kind == "template" else ("0.98.0", "pipeline_snapshots")
    server = Server(version, projects=[row("default")])
    server.lists[thing] = [row("prod", body={"runnable": False})]
    text = await server.why_not(Target(kind, "prod" if named else uid("prod")))
    assert "cannot be run: its stack or build was changed or deleted" in text


async def test_no_project_is_permitted() -> None:
    assert "no project found or permitted" in await Server("0.98.0", projects=[]).why_not(Target("snapshot", "prod"))


async def test_a_row_of_another_project_is_not_taken() -> None:
    body = {"runnable": True, "project_id": uid("red"), "pipeline_id": uid("p")}
    server = Server("0.98.0", projects=[row("red"), row("blue")], pipeline_snapshots=[row("prod", body=body)])
    assert "not found" in await server.why_not(Target("snapshot", "prod", None, None, "blue"))
    assert "is not in 'blue'" in await server.why_not(Target("snapshot", uid("prod"), None, None, "blue"))
    assert (await server.resolve(Target("snapshot", "prod", None, None, "red"))).project == uid("red")


async def test_unnamed_snapshots_are_never_taken_by_name() -> None:
    """Trap 6: the newest snapshot of a pipeline is the daemon's own last fire."""
    body = {"runnable": True, "project_id": uid("red")}
    fired = {**row("fired", body=body), "name": None}
    server = Server("0.98.0", projects=[row("red")], pipeline_snapshots=[fired, row("prod", body=body), fired])
    assert (await server.resolve(Target("snapshot", "prod"))).id == uid("prod")
    text = await server.why_not(Target("snapshot", "prd"))
    assert text == "snapshot 'prd' not found or not permitted; did you mean prod?"
    assert (await server.resolve(Target("snapshot", uid("fired")))).id == uid("fired")


async def test_two_of_one_name_in_one_pipeline() -> None:
    rows = [row(name, named="prod", body={}, metadata={"pipeline": {"id": "p", "name": "training"}}) for name in "ab"]
    text = await Server("0.75.0", run_templates=rows).why_not(Target("template", "prod", "training"))
    assert "2 run templates are named 'prod'; add `project: ...`, or give the id" in text


async def test_a_list_that_is_gone() -> None:
    text = await Server("0.98.0", projects=[row("red")]).why_not(Target("snapshot", "prod"))
    assert "list of pipeline_snapshots cannot be read: 404 Unable to get it" in text


async def test_a_server_that_is_away_is_no_unresolved_target() -> None:
    async with StandIn() as standin:
        await standin.refuse()
        key = ApiKey(Secret(API_KEY))
        async with ZenML(standin.url, key, now=lambda: NOW, elapsed=time.monotonic, trust_env=False) as zenml:
            with pytest.raises(Unavailable):
                await Resolver(zenml, lambda: NOW).resolve(Target("snapshot", "prod"), {})


async def test_a_round_asks_each_question_once() -> None:
    async with StandIn("0.62.0") as standin:
        key = ApiKey(Secret(API_KEY))
        async with ZenML(standin.url, key, now=lambda: NOW, elapsed=time.monotonic, trust_env=False) as zenml:
            resolver = Resolver(zenml, lambda: NOW).round()
            target = Target("build", None, "training", "45")
            for _ in range(100):
                await resolver.resolve(target, {})
            before = len(standin.arrivals)
            assert before == 6  # info, routes, login, pipelines, builds, deployment
            with pytest.raises(Unresolved):
                await resolver.resolve(replace(target, pipeline="trainin"), {})
            await Resolver(zenml, lambda: NOW).resolve(target, {})
            assert len(standin.arrivals) > before + 2


# --- preflight -------------------------------------------------------------------------------------------------------

INFO = {
    version: parse_info({"version": version}, None) for version in ("0.62.0", "0.75.0", "0.80.0", "0.98.0", "1.3.0")
}
SCHEMA = {
    "$defs": {
        "Steps": {"properties": {"trainer": {"$ref": "#/$defs/odd name"}, "loader": {"$ref": "#/$defs/loader"}}},
        "odd name": {"properties": {"parameters": {"anyOf": [{"$ref": "#/$defs/p"}, {"type": "null"}]}, "own_key": {}}},
        "loader": {"properties": {"parameters": {"$ref": "#/$defs/missing"}}},
        "p": {"properties": {"kind": {"type": "string"}, "depth": {}}},
        "loop": {"$ref": "#/$defs/loop"},
    },
    "properties": {"steps": {"$ref": "#/$defs/Steps"}, "own_top": {}},
}


def found_on(version: str, **metadata: object) -> Known:
    info = INFO[version]
    assert info is not None
    return known(info, metadata or {"config_schema": SCHEMA})


def test_a_schema_is_read_by_its_references() -> None:
    found = found_on(
        "0.98.0", config_schema=SCHEMA, config_template={"steps": {"trainer": {"parameters": {"depth": 3}}}}
    )
    assert found.steps is not None
    assert found.steps.keys() == {"trainer", "loader"}
    assert found.steps["trainer"] == Parameters({"kind": None, "depth": 3}, exact=True)
    assert found.steps["loader"].values == {}
    assert "own_key" in found.step_keys
    assert "own_top" in found.config_keys
    follow(SCHEMA, {"$ref": "#/$defs/loop"})  # ends


@pytest.mark.parametrize(
    ("version", "config", "problem", "warning"),
    [
        ("0.98.0", {}, "", ""),
        ("0.98.0", {"run_name": "a", "enable_cache": False, "tags": ["a"], "settings": {"resources": {}}}, "", ""),
        ("0.98.0", {"steps": None}, "", ""),
        ("0.98.0", {"steps": {"trainer": {"parameters": {"kind": "rf"}, "enable_cache": True}}}, "", ""),
        ("0.98.0", {"steps": {"trainer": {"parameters": None}}}, "", ""),
        ("0.98.0", {"step": {}}, "config.step: ", ""),
        ("0.62.0", {"tags": ["a"]}, "config.tags: ", ""),
        ("0.80.0", {"cache_policy": "x"}, "", ""),  # somewhere between 0.75 and 0.85: no false alarm without a schema
        ("0.98.0", {"steps": []}, "config.steps: must be a mapping", ""),
        ("0.98.0", {"steps": {"trainer": []}}, "config.steps.trainer: must be a mapping", ""),
        ("0.98.0", {"steps": {"traner": {}}}, "did you mean trainer?", ""),
        ("0.98.0", {"steps": {"zzz": {}}}, "its steps are loader, trainer", ""),
        ("0.98.0", {"steps": {"trainer": {"parameter": {}}}}, "did you mean parameters?", ""),
        ("0.98.0", {"steps": {"trainer": {"settings": {"docker": {}}}}}, "config.steps.trainer.settings.docker", ""),
        ("0.98.0", {"steps": {"trainer": {"parameters": {"knd": 1}}}}, "did you mean kind?", ""),
        ("0.62.0", {"steps": {"trainer": {"parameters": {"knd": 1}}}}, "", "did you mean kind?"),
        ("0.98.0", {"steps": {"loader": {"parameters": {"a": 1}}}}, "it has none", ""),
        ("0.98.0", {"schedule": None, "build": "", "parameters": {}}, "", ""),
        ("0.98.0", {"parameters": {"a": 1}}, "config.parameters: the server refuses it", ""),
        ("0.98.0", {"build": "x"}, "config.build: the server refuses it", ""),
        ("1.3.0", {"brand_new": 1}, "", "config.brand_new"),
        ("1.3.0", {"steps": {"trainer": {"brand_new": 1}}}, "", "config.steps.trainer.brand_new"),
    ],
)
def test_preflight(version: str, config: dict[str, Any], problem: str, warning: str) -> None:
    found = preflight(found_on(version), config)
    assert len(found.problems) == bool(problem)
    assert len(found.warnings) == bool(warning)
    assert problem in "".join(found.problems)
    assert warning in "".join(found.warnings)


def test_everything_wrong_is_said_at_once() -> None:
    found = preflight(
        found_on("0.98.0"), {"a": 1, "b": 2, "steps": {"x": {"y": 1}, "trainer": {"parameters": {"z": 1}}}}
    )
    assert len(found.problems) == 5


@pytest.mark.parametrize(
    ("built", "given", "odd"),
    [
        ("svc", "rf", False),
        ("svc", 1, True),
        ("svc", {"a": 1}, True),
        (3, 4.5, False),
        (3.0, 4, False),
        (3, True, True),
        (3, "{{ fire_time | date('%d') }}", False),
        (3, "4", True),
        ([1], {"a": 1}, True),
        (None, 1, False),
        (1, None, False),
    ],
)
def test_parameter_types_are_compared_with_what_was_built(built: object, given: Any, odd: bool) -> None:  # noqa: ANN401, FBT001
    steps = {"trainer": {"config": {"parameters": {"kind": built}}}}
    found = preflight(
        found_on("0.98.0", step_configurations=steps), {"steps": {"trainer": {"parameters": {"kind": given}}}}
    )
    assert (found.problems, bool(found.warnings)) == ((), odd)


def test_a_dynamic_pipeline_may_have_more() -> None:
    info = INFO["0.98.0"]
    assert info is not None
    found = known(info, {"config_schema": SCHEMA}, dynamic=True)
    config: Any = {"parameters": {"a": 1}, "steps": {"later": {}, "trainer": {"parameters": {"knd": 1}}}}
    findings = preflight(found, config)
    assert (findings.problems, len(findings.warnings)) == ((), 2)


def test_a_server_that_tells_nothing_of_the_steps_is_believed() -> None:
    found = found_on("0.98.0", config_schema=None, step_configurations={})
    assert found.steps is None
    assert preflight(found, {"steps": {"any": {"parameters": {"any": 1}}}}).problems == ()


# --- the body of a start ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "config", "expected"),
    [
        ({}, {"a": 1}, {"a": 1}),
        (
            {"steps": {"s": {"parameters": {"x": 1, "y": {"z": 1}}}}},
            {},
            {"steps": {"s": {"parameters": {"x": 1, "y": {"z": 1}}}}},
        ),
        ({"steps": {"s": {"parameters": {"x": 1}}}}, {"steps": None}, {"steps": {"s": {"parameters": {"x": 1}}}}),
        (
            {"steps": {"s": {"parameters": {"x": 1, "y": {"z": 1}}}, "t": {"parameters": {"a": 1}}}},
            {"steps": {"s": {"parameters": {"y": {"w": 2}}, "enable_cache": True}, "u": {}}},
            {
                "steps": {
                    "s": {"parameters": {"x": 1, "y": {"w": 2}}, "enable_cache": True},
                    "t": {"parameters": {"a": 1}},
                    "u": {},
                }
            },
        ),
        ({"steps": {"s": {"parameters": {"x": 1}}}}, {"steps": {"s": {}}}, {"steps": {"s": {"parameters": {"x": 1}}}}),
        ({"steps": {"s": {"parameters": {"x": 1}}}}, {"steps": "odd"}, {"steps": "odd"}),
        ({"steps": {"s": {"parameters": {"x": 1}}}}, {"steps": {"s": 1}}, {"steps": {"s": 1}}),
    ],
)
def test_overlay(base: dict[str, Any], config: dict[str, Any], expected: dict[str, Any]) -> None:
    before = copy.deepcopy((base, config))
    assert overlay(base, config) == expected
    assert (base, config) == before


def test_only_parameters_are_taken_from_a_template() -> None:
    template = {
        "run_name": "x",
        "steps": {"a": {"parameters": {"p": 1}, "settings": {}}, "b": {"parameters": {}}, "c": None},
    }
    assert parameters_alone(template) == {"steps": {"a": {"parameters": {"p": 1}}}}
    assert parameters_alone(None) == {}


@pytest.mark.parametrize(
    ("own", "tags", "expected"),
    [
        (None, ["a", "a", "b"], ["a", "b"]),
        (["x", "a"], ["a", "b"], ["x", "a", "b"]),
        ([{"name": "a", "color": "red"}], ["a", "b"], [{"name": "a", "color": "red"}, "b"]),
        (["x"], [], ["x"]),
    ],
)
def test_tags_are_merged(own: Any, tags: list[str], expected: list[Any]) -> None:  # noqa: ANN401
    what = Resolved("template", "1", "", "", NOW, "0.98.0")
    body = start_body(what, {"run_name": "r"} | ({"tags": own} if own else {}), tags)
    assert body["tags"] == expected
    assert "tags" not in start_body(replace(what, sends_tags=False), {"run_name": "r"}, tags)
