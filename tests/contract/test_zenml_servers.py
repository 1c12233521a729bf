"""The client and the resolver against real ZenML servers of each generation."""

from __future__ import annotations

import base64
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from standin.proxies import front, private_ca

from zendaemon.core.errors import NameTaken, Rejected, Stale, Unauthorized, Unavailable, Uncertain, Unresolved
from zendaemon.core.run import Resolved
from zendaemon.core.schedule import Target
from zendaemon.demo.server import Workload
from zendaemon.zenml import ApiKey, Credentials, Generation, Resolver, Secret, Token, UserPassword, ZenML
from zendaemon.zenml.auth import Access
from zendaemon.zenml.keys import CONFIG_KEYS, STEP_KEYS, keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Runnable, Seeder
    from zendaemon.demo.server import ZenMLServer

DEFAULT = UserPassword("default", Secret(""))
JWT_SECRET = b"zendaemon-demo-server-jwt-secret"
ALL = ["0.62.0", "0.75.0", "0.85.0", "0.98.0"]
STEPS: dict[str, dict[str, object]] = {"data_loader": {"rows": 100}, "model_trainer": {"model_type": "svc", "depth": 3}}
RF: dict[str, Any] = {"steps": {"model_trainer": {"parameters": {"model_type": "rf"}}}}
ROUTE_OF = {"build": "pipeline_builds", "template": "run_templates", "snapshot": "pipeline_snapshots"}


def now() -> datetime:
    return datetime.now(UTC)


def client(where: ZenMLServer | str, credentials: Credentials = DEFAULT, ca_file: Path | None = None) -> ZenML:
    url = where if isinstance(where, str) else where.url
    return ZenML(url, credentials, now=now, elapsed=time.monotonic, trust_env=False, ca_file=ca_file)


def target_of(runnable: Runnable) -> Target:
    """As core.schedule makes it of a schedule's keys."""
    keys = runnable.target
    name = keys.get("template") or keys.get("snapshot")
    return Target(runnable.kind, name, keys.get("pipeline"), keys.get("version"), keys.get("project"))


async def resolve(zenml: ZenML, target: Target, config: Mapping[str, Any] = RF) -> Resolved:
    return await Resolver(zenml, now).resolve(target, config)


async def unresolved(zenml: ZenML, target: Target, config: Mapping[str, Any] = RF) -> str:
    with pytest.raises(Unresolved) as caught:
        await resolve(zenml, target, config)
    return str(caught.value)


@pytest.fixture(params=ALL)
def any_server(request: pytest.FixtureRequest, servers: ServerPool) -> ZenMLServer:
    return servers.get(request.param)


@pytest.fixture
def any_seeder(servers: ServerPool, any_server: ZenMLServer) -> Seeder:
    return servers.seeder(any_server)


async def test_the_way_of_a_run(any_server: ZenMLServer, any_seeder: Seeder, unique_name: str) -> None:
    """Resolve, start, find and get, authenticated by API key; the override is in the run's own configuration."""
    runnable = any_seeder.runnable(unique_name, version="45", steps=STEPS)
    config = {"run_name": unique_name, **RF}
    async with client(any_server, ApiKey(Secret(any_seeder.service_account()))) as zenml:
        resolved = await resolve(zenml, target_of(runnable))
        assert (resolved.kind, resolved.id, resolved.pipeline_id) == (runnable.kind, runnable.id, runnable.pipeline_id)
        assert (resolved.pipeline, resolved.server_version) == (unique_name, any_server.version)
        assert resolved.unique_names == (any_server.version != "0.62.0")
        assert resolved.sends_tags == (any_server.version != "0.62.0")
        assert resolved.warnings == ()
        assert bool(resolved.base) == (any_server.version == "0.75.0")

        assert await zenml.find_run(unique_name, resolved.project) is None
        run = await zenml.start(zenml.ready(resolved, config, ["nightly"], uuid4()))
        found = await zenml.find_run(unique_name, resolved.project)
        got = await zenml.get_run(run.id)

        assert run.name == unique_name
        assert run.status == "initializing"
        assert run.pipeline_id == runnable.pipeline_id
        assert run.created is not None
        assert abs(run.created - now()) < timedelta(minutes=1)
        assert found is not None
        assert got is not None
        assert found.id == got.id == run.id
        assert found.pipeline_id == got.pipeline_id == run.pipeline_id
        assert found.created == got.created == run.created
        assert await zenml.get_run(str(uuid4())) is None
        assert await zenml.find_run(f"{unique_name}-no", resolved.project) is None
        assert abs(zenml.skew) < timedelta(seconds=2)
    changed = {**STEPS, "model_trainer": {"model_type": "rf", "depth": 3}}
    assert any_seeder.run_parameters({"id": run.id}) == changed
    if resolved.sends_tags:
        tags = any_seeder.run(run.id)["resources"]["tags"]
        assert [tag["name"] for tag in tags] == ["nightly"]


@pytest.mark.parametrize("end", ["completed", "failed"])
async def test_the_times_of_a_run_that_has_ended(
    any_server: ZenMLServer, any_seeder: Seeder, unique_name: str, end: str
) -> None:
    """Moved through the server's own API, as an orchestrator does it; that tells whole seconds."""
    runnable = any_seeder.runnable(unique_name)
    begun = now()
    async with client(any_server) as zenml:
        resolved = await resolve(zenml, target_of(runnable))
        run = await zenml.start(zenml.ready(resolved, {"run_name": unique_name, **RF}, [], uuid4()))
        any_seeder.set_status(run.id, "running")
        going = await zenml.get_run(run.id)
        any_seeder.set_status(run.id, end)
        ended = await zenml.get_run(run.id)
    assert going is not None
    assert (going.status, going.ended_at) == ("running", None)
    assert going.started_at is not None
    assert abs(going.started_at - begun) < timedelta(minutes=1)
    assert ended is not None
    assert (ended.status, ended.started_at) == (end, going.started_at)
    assert ended.ended_at is not None
    assert timedelta(seconds=-1) <= ended.ended_at - going.started_at < timedelta(minutes=1)


async def test_a_run_that_failed_before_its_steps_may_have_no_end(
    any_server: ZenMLServer, any_seeder: Seeder, unique_name: str
) -> None:
    """The newest servers take no end from outside: a run has one when all of its steps have."""
    run = any_seeder.fire(any_seeder.runnable(unique_name), {"run_name": unique_name, **RF})
    any_seeder.set_status(run["id"], "failed")
    async with client(any_server) as zenml:
        failed = await zenml.get_run(run["id"])
    assert failed is not None
    assert failed.status == "failed"
    assert (failed.ended_at is None) == (any_server.version == "0.98.0")


async def test_by_id(any_server: ZenMLServer, any_seeder: Seeder, unique_name: str) -> None:
    runnable = any_seeder.runnable(unique_name)
    async with client(any_server) as zenml:
        resolved = await resolve(zenml, Target(runnable.kind, runnable.id))
        assert (resolved.id, resolved.pipeline) == (runnable.id, unique_name)
        text = await unresolved(zenml, Target(runnable.kind, str(uuid4())))
        assert "not found or not permitted" in text
        text = await unresolved(zenml, Target(runnable.kind, runnable.id, "other"))
        assert f"is of pipeline '{unique_name}', not of 'other'" in text


async def test_what_a_server_says_of_itself(any_server: ZenMLServer) -> None:
    async with client(any_server) as zenml:
        info = await zenml.info()
        assert info is await zenml.info()
    kind = {"0.62.0": "build", "0.98.0": "snapshot"}.get(any_server.version, "template")
    generation = {"build": Generation.BUILDS, "template": Generation.TEMPLATES, "snapshot": Generation.SNAPSHOTS}
    assert info.version == any_server.version
    assert info.generation == generation[kind]
    assert info.routes == ({kind, "template"} if kind == "snapshot" else {kind})
    assert info.projects == (any_server.version in ("0.85.0", "0.98.0"))
    assert info.active
    assert info.exact_keys


async def test_all_pages_are_read(any_server: ZenMLServer, any_seeder: Seeder, unique_name: str) -> None:
    made = {any_seeder.pipeline(f"{unique_name}-{number}") for number in range(3)}
    async with client(any_server) as zenml:
        rows = await zenml.pages("pipelines", {"name": f"startswith:{unique_name}"}, size=2)
    assert {row["id"] for row in rows} == made


async def test_a_name_taken_is_said_each_time(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    runnable = seeder.runnable(unique_name)
    config = {"run_name": unique_name, **RF}
    async with client(server) as zenml:
        resolved = await resolve(zenml, target_of(runnable))
        first = await zenml.start(zenml.ready(resolved, config, [], uuid4()))
        for _ in range(2):
            with pytest.raises(NameTaken, match="already exists"):
                await zenml.start(zenml.ready(resolved, config, [], uuid4()))
        found = await zenml.find_run(unique_name, resolved.project)
    assert found is not None
    assert found.id == first.id


async def test_a_lost_answer_is_uncertain_and_the_run_is_found(
    server: ZenMLServer, seeder: Seeder, unique_name: str
) -> None:
    runnable = seeder.runnable(unique_name)
    async with (
        front(server.port, cut=lambda data: b"POST /api/v1/pipeline" in data or b"POST /api/v1/run_" in data) as port,
        client(f"http://127.0.0.1:{port}") as zenml,
    ):
        resolved = await resolve(zenml, target_of(runnable))
        with pytest.raises(Uncertain):
            await zenml.start(zenml.ready(resolved, {"run_name": unique_name, **RF}, [], uuid4()))
        found = await zenml.find_run(unique_name, resolved.project)
    assert found is not None
    assert [run["id"] for run in seeder.runs(unique_name)] == [found.id]


async def test_stale_ids(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    runnable = seeder.runnable(unique_name)
    async with client(server) as zenml:
        resolved = await resolve(zenml, target_of(runnable))
        seeder.call("DELETE", f"{ROUTE_OF[runnable.kind]}/{runnable.id}")
        with pytest.raises(Stale):
            await zenml.start(zenml.ready(resolved, {"run_name": unique_name, **RF}, [], uuid4()))


async def test_refusals_are_readable(server: ZenMLServer, seeder: Seeder, unique_name: str) -> None:
    runnable = seeder.runnable(unique_name)
    async with client(server) as zenml:
        resolved = await resolve(zenml, target_of(runnable))
        refusals: list[tuple[dict[str, Any], int, str]] = [
            ({"run_name": "x" * 256}, 422, "255"),
            ({"run_name": f"{unique_name}-{{nope}}"}, 404, "no braces"),
            ({"run_name": unique_name, "enable_cache": "perhaps"}, 422, "enable_cache"),
            ({"run_name": unique_name, "parameters": {"a": 1}}, 400, "Can't set"),
        ]
        for extra, status, text in refusals:
            with pytest.raises(Rejected, match=text) as caught:
                await zenml.start(zenml.ready(resolved, {**RF, **extra}, [], uuid4()))
            assert (caught.value.status, type(caught.value)) == (status, Rejected)
            assert "[{" not in str(caught.value)
    assert seeder.runs(unique_name) == []


async def test_a_dropped_configuration_is_noticed(servers: ServerPool, unique_name: str) -> None:
    """Trap 1: sent unwrapped, the newest servers start the run without any of it."""
    seeder = servers.seeder(servers.get("0.98.0"))
    runnable = seeder.runnable(unique_name)
    async with client(servers.get("0.98.0")) as zenml:
        resolved = await resolve(zenml, target_of(runnable))
        unwrapped: dict[str, Any] = {"run_configuration": {}, "run_name": unique_name}  # as if wrapped twice
        with pytest.raises(Rejected, match=r"dropped the configuration: it started run [0-9a-f-]{36}"):
            await zenml.start(zenml.ready(resolved, {"run_configuration": unwrapped, "run_name": ""}, [], uuid4()))


async def test_no_workload_manager(servers: ServerPool, unique_name: str) -> None:
    version = "0.98.0"
    server = servers.get(version, runnable=False)
    runnable = servers.seeder(server).runnable(unique_name)
    async with client(server) as zenml:
        assert (await zenml.info()).routes == frozenset()
        assert "no workload manager" in await unresolved(zenml, target_of(runnable))
        made = Resolved(runnable.kind, runnable.id, runnable.pipeline_id, unique_name, now(), version)
        with pytest.raises(Rejected, match="workload manager") as caught:
            await zenml.start(zenml.ready(made, {"run_name": unique_name}, [], uuid4()))
        assert caught.value.status == 405


async def test_the_wrong_generation(servers: ServerPool, unique_name: str) -> None:
    for version, target, words in (
        ("0.98.0", Target("build", None, unique_name, "45"), ("no pipelines with versions any more", "snapshot:")),
        ("0.75.0", Target("build", None, unique_name, "45"), ("no pipelines with versions any more", "template:")),
        ("0.98.0", Target("build", str(uuid4())), ("does not run pipeline builds", "snapshot:")),
        ("0.75.0", Target("snapshot", "prod"), ("does not run pipeline snapshots", "template:")),
        ("0.62.0", Target("snapshot", "prod"), ("does not run pipeline snapshots", "`version`")),
        ("0.62.0", Target("template", "prod"), ("does not run run templates", "`version`")),
    ):
        server = servers.get(version)
        servers.seeder(server).pipeline(unique_name, "45")
        async with client(server) as zenml:
            text = await unresolved(zenml, target)
        assert all(word in text for word in (*words, f"ZenML {version}")), text


async def test_templates_still_run_on_the_newest_servers(servers: ServerPool, unique_name: str) -> None:
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    snapshot = seeder.runnable(unique_name)
    body = {"name": unique_name, "source_snapshot_id": snapshot.id, "project": seeder.project("default")}
    template = seeder.call("POST", "run_templates", body)["id"]
    async with client(server) as zenml:
        resolved = await resolve(zenml, Target("template", unique_name))
        run = await zenml.start(zenml.ready(resolved, {"run_name": unique_name, **RF}, ["a"], uuid4()))
    assert resolved.id == template
    assert seeder.run_parameters({"id": run.id}) == {"model_trainer": {"model_type": "rf"}}


async def test_unknown_names_and_versions(any_server: ZenMLServer, any_seeder: Seeder, unique_name: str) -> None:
    runnable = any_seeder.runnable(unique_name, version="45")
    async with client(any_server) as zenml:
        if runnable.kind == "build":
            for version in ("9", "46", "10"):
                any_seeder.pipeline(unique_name, version)
            text = await unresolved(zenml, Target("build", None, f"{unique_name}x", "45"))
            assert f"did you mean {unique_name}?" in text
            text = await unresolved(zenml, Target("build", None, unique_name, "45.0"))
            assert "did you mean 45? it has 46, 45, 10, 9 (newest first)" in text
            text = await unresolved(zenml, Target("build", None, unique_name, "latest"))
            assert "no version 'latest'" in text
        else:
            text = await unresolved(zenml, Target(runnable.kind, f"{unique_name}-prd"))
            assert f"'{unique_name}-prd' not found or not permitted; did you mean {unique_name}-prod?" in text
            text = await unresolved(zenml, Target(runnable.kind, f"{unique_name}-prod", "training"))
            assert "of pipeline 'training' not found" in text


async def test_the_newest_build_that_can_be_run(servers: ServerPool, unique_name: str) -> None:
    server = servers.get("0.62.0")
    seeder = servers.seeder(server)
    pipeline = seeder.pipeline(unique_name, "45")
    target = Target("build", None, unique_name, "45")
    async with client(server) as zenml:
        assert "has no builds" in await unresolved(zenml, target)
        plain = seeder.build(pipeline, runnable=False)
        text = await unresolved(zenml, target)
        assert f"no build that the server can run: {plain} has no template deployment" in text
        assert "has no template deployment" in await unresolved(zenml, Target("build", plain))
        seeder.build(pipeline)
        newest = seeder.build(pipeline)
        seeder.build(pipeline, runnable=False)
        assert (await resolve(zenml, target)).id == newest


async def test_what_would_be_dropped_is_a_problem(
    any_server: ZenMLServer, any_seeder: Seeder, unique_name: str
) -> None:
    """Traps 2 to 4: the servers take most of these without a word."""
    old = any_server.version == "0.62.0"
    target = target_of(any_seeder.runnable(unique_name, steps=STEPS))
    async with client(any_server) as zenml:
        for config, words in (
            ({"steps": {"model_trianer": {}}}, ("config.steps.model_trianer", "did you mean model_trainer?")),
            ({"step": {}}, ("config.step:", "did you mean steps?")),
            ({"steps": {"model_trainer": {"params": {}}}}, (".params:", "did you mean parameters?")),
            ({"schedule": {"cron_expression": "* * * * *"}}, ("config.schedule", "refuses")),
            ({"settings": {"docker": {}}}, ("config.settings.docker", "refuses")),
        ):
            text = await unresolved(zenml, target, config)
            assert all(word in text for word in words), text
        odd = {"steps": {"model_trainer": {"parameters": {"model_typ": "rf"}}}}
        if old:
            [warning] = (await resolve(zenml, target, odd)).warnings
        else:
            warning = await unresolved(zenml, target, odd)
        assert "model_trainer.parameters.model_typ: the step was not built with it; did you mean model_type?" in warning
        wrong = {"steps": {"model_trainer": {"parameters": {"depth": "deep", "model_type": "{{ fire_time }}"}}}}
        [warning] = (await resolve(zenml, target, wrong)).warnings
        assert "is a string, and the step was built with a integer" in warning


async def test_every_key_that_a_server_takes_is_known(any_server: ZenMLServer) -> None:
    """Our table of keys, for servers that hide their schema, has none too few and none too many."""
    async with client(any_server) as zenml:
        info = await zenml.info()
    assert keys_of(CONFIG_KEYS, info.release) >= info.config_keys
    assert keys_of(STEP_KEYS, info.release) >= info.step_keys
    assert keys_of(CONFIG_KEYS, info.release) - info.config_keys == set()
    assert keys_of(STEP_KEYS, info.release) - info.step_keys <= {"name"}


async def test_snapshots_of_one_name_under_two_pipelines(servers: ServerPool, unique_name: str) -> None:
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    first, second = (seeder.pipeline(f"{unique_name}-{letter}") for letter in "ab")
    wanted = seeder.snapshot(unique_name, second)
    seeder.snapshot(unique_name, first)
    async with client(server) as zenml:
        text = await unresolved(zenml, Target("snapshot", unique_name))
        assert f"of the pipelines {unique_name}-a, {unique_name}-b; add `pipeline: ...`" in text
        resolved = await resolve(zenml, Target("snapshot", unique_name, f"{unique_name}-b"))
        assert (resolved.id, resolved.pipeline_id) == (wanted, second)

        run = await zenml.start(
            zenml.ready(resolved, {"run_name": unique_name, **RF}, [], uuid4())
        )  # stores an unnamed snapshot
        again = await resolve(zenml, Target("snapshot", unique_name, f"{unique_name}-b"))
        assert again.id == wanted
        assert run.pipeline_id == second


async def test_projects(servers: ServerPool, unique_name: str) -> None:
    server = servers.get("0.98.0", environment={"ZENML_SERVER_JWT_TOKEN_EXPIRE_MINUTES": "1"})
    seeder = servers.seeder(server)
    runnable = seeder.runnable(unique_name, project="research")
    kind, name = runnable.kind, runnable.target[runnable.kind]
    async with client(server, ApiKey(Secret(seeder.service_account()))) as zenml:
        text = await unresolved(zenml, Target(kind, name))
        assert "2 projects: default, research; add `project: ...`" in text
        text = await unresolved(zenml, Target(kind, name, None, None, "reserch"))
        assert "project 'reserch' not found or not permitted; did you mean research?" in text
        assert "not found" in await unresolved(zenml, Target(kind, name, None, None, "default"))
        by_id = await resolve(zenml, Target(kind, runnable.id))
        resolved = await resolve(zenml, Target(kind, name, None, None, "research"))
        assert resolved.id == by_id.id == runnable.id
        assert resolved.project == by_id.project == seeder.project("research")
        run = await zenml.start(zenml.ready(resolved, {"run_name": unique_name, **RF}, [], uuid4()))
        for project in ("research", resolved.project):
            found = await zenml.find_run(unique_name, project)
            assert found is not None
            assert found.id == run.id
        assert await zenml.find_run(unique_name, "default") is None


def expired(token: str) -> str:
    """The same token, but as of long ago: the demo servers' signing key is known."""
    header, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["exp"] = 1_700_000_000
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    signature = hmac.digest(JWT_SECRET, f"{header}.{payload}".encode(), sha256)
    return f"{header}.{payload}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_an_expired_token_is_renewed(server: ZenMLServer, seeder: Seeder) -> None:
    async with client(server, ApiKey(Secret(seeder.service_account()))) as zenml:
        await zenml.current_user()
        good = zenml._auth._access
        assert good is not None
        assert good.until is None
        zenml._auth._access = Access(Secret(expired(good.token.reveal())))
        await zenml.current_user()
        assert zenml._auth._access not in (None, good)
    async with client(server, Token(Secret(expired(good.token.reveal())))) as zenml:
        with pytest.raises(Unauthorized, match="refuses the token"):
            await zenml.current_user()
    async with client(server, Token(good.token)) as zenml:
        assert (await zenml.current_user())["id"]


async def test_a_token_with_an_end_is_renewed_before_it(servers: ServerPool) -> None:
    server = servers.get("0.98.0", environment={"ZENML_SERVER_JWT_TOKEN_EXPIRE_MINUTES": "1"})
    clock = 0.0
    async with ZenML(server.url, DEFAULT, now=now, elapsed=lambda: clock, trust_env=False) as zenml:
        await zenml.current_user()
        first = zenml._auth._access
        assert first is not None
        assert first.until == 54
        clock = 53
        await zenml.current_user()
        assert zenml._auth._access is first
        clock = 54
        await zenml.current_user()
        assert zenml._auth._access is not first


@pytest.mark.parametrize(
    "credentials",
    [
        ApiKey(Secret("ZENKEY_nonsense")),
        UserPassword("default", Secret("wrong-password")),
        UserPassword("nobody", Secret("wrong-password")),
        Token(Secret("no-such-token")),
    ],
    ids=lambda credentials: type(credentials).__name__,
)
async def test_bad_credentials(server: ZenMLServer, credentials: Credentials) -> None:
    async with client(server, credentials) as zenml:
        for _ in range(2):
            with pytest.raises(Unauthorized) as caught:
                await zenml.current_user()
            assert caught.value.status == 401
            assert "wrong-password" not in str(caught.value)
        await zenml.info()  # needs none


async def test_tls_of_a_private_authority(server: ZenMLServer, tmp_path: Path) -> None:
    ca, *pair = private_ca(tmp_path)
    async with front(server.port, tls=(pair[0], pair[1])) as port:
        async with client(f"https://localhost:{port}/", ca_file=ca) as zenml:
            assert (await zenml.current_user())["name"] == "default"
        async with client(f"https://localhost:{port}/api/v1/") as zenml:
            with pytest.raises(Unavailable, match="CA file"):
                await zenml.current_user()
        async with client(f"http://localhost:{port}") as zenml:
            with pytest.raises(Unavailable):
                await zenml.info()


async def test_proxies_of_the_environment(server: ZenMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain proxy takes whole URLs; to uvicorn an absolute one is as good as its path."""
    seen: list[bytes] = []

    def look(data: bytes) -> bool:
        seen.append(data)
        return False

    async with front(server.port, cut=look) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with ZenML("http://zenml.invalid", DEFAULT, now=now, elapsed=time.monotonic) as zenml:
            assert (await zenml.info()).version == server.version
    assert seen[0].startswith(b"GET http://zenml.invalid/api/v1/info HTTP/1.1")
    assert b"User-Agent: zendaemon/" in seen[0]


async def test_slots(servers: ServerPool, unique_name: str) -> None:
    """Without a free slot the server is busy, not unavailable, and nothing was created."""
    server = servers.get("0.98.0")  # which has two
    runnable = servers.seeder(server).runnable(unique_name)
    async with client(server) as zenml:
        resolved = await resolve(zenml, target_of(runnable))
        with server.behaving(Workload(hold_seconds=3)):
            for number in (1, 2):
                await zenml.start(zenml.ready(resolved, {"run_name": f"{unique_name}-{number}"}, [], uuid4()))
            with pytest.raises(Unavailable) as caught:
                await zenml.start(zenml.ready(resolved, {"run_name": f"{unique_name}-3"}, [], uuid4()))
        assert caught.value.busy
        assert caught.value.status == 429
        assert await zenml.find_run(f"{unique_name}-3", resolved.project) is None
    time.sleep(3)  # noqa: ASYNC251 - the tests that come after want the slots
