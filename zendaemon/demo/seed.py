"""Fills a demo server with what a team would have there: a remote stack, and pipelines that the server can run.

Speaks plain REST with each generation of servers, apart from the daemon's own client, so that tests can hold the one
against the other.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import uuid4

import httpx

from zendaemon.core.errors import ZendaemonError
from zendaemon.demo.server_side import zendaemon_runs
from zendaemon.demo.venv import release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zendaemon.demo.server import ZenMLServer

    Steps = Mapping[str, Mapping[str, object]]
    """The parameters of each step."""

Kind = Literal["build", "template", "snapshot"]

STEPS: Steps = {"model_trainer": {"model_type": "svc"}}
STACK = "remote"
COMPONENTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "orchestrator": ("kubernetes", {"kubernetes_context": "demo"}),
    "artifact_store": ("gcp", {"path": "gs://demo"}),
    "container_registry": ("default", {"uri": "registry.example.com/demo"}),
    "image_builder": ("kaniko", {"kubernetes_context": "demo"}),
}
# Servers that can stop runs ask the orchestrator, so that one must be loaded: `demo/server_side` has it.
FLAVOR = "zendaemon_demo"
STOPPABLE = {
    "name": FLAVOR,
    "type": "orchestrator",
    "source": "zendaemon_orchestrator.DemoOrchestratorFlavor",
    "config_schema": {},
    "integration": "zendaemon",
    "is_custom": False,  # the server starts no runs on stacks with custom flavors
}
ANYTHING = {"module": "builtins", "attribute": "str", "type": "builtin"}
FIRE_ROUTES: Mapping[Kind, str] = {
    "build": "pipeline_builds",
    "template": "run_templates",
    "snapshot": "pipeline_snapshots",
}
PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Runnable:
    """Something that the server can start. `target` holds the keys that name it in a schedule file."""

    pipeline: str
    pipeline_id: str
    kind: Kind
    id: str
    target: Mapping[str, str]

    @property
    def fire_path(self) -> str:
        return f"/api/v1/{FIRE_ROUTES[self.kind]}/{self.id}/runs"


class Seeder:
    """Creates and reads things on a running demo server as its user `default`; a context manager.

    What exists is taken as it is: seeding twice does no harm. `project` is a name, created when it is missing (servers
    from 0.85 on). Beware of a server that others share: with a second project, schedules must name theirs.
    """

    def __init__(self, server: ZenMLServer) -> None:
        self._zenml_version = server.version
        self._release = release(server.version)
        self._http = httpx.Client(base_url=f"{server.url}/api/v1", timeout=120, trust_env=False)
        self._projects: dict[str, str] = {}
        with ExitStack() as undo:
            undo.callback(self.close)
            login = self._send("POST", "login", data={"username": "default", "password": ""})
            self._http.headers["Authorization"] = f"Bearer {login['access_token']}"
            self._http.cookies.clear()
            self._user: str = self.call("GET", "current-user")["id"]
            if not self._has_projects:
                self._workspace: str = self.call("GET", "workspaces/default")["id"]
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def kind(self) -> Kind:
        """What this generation of servers fires."""
        if self._release < (0, 63):
            return "build"
        return "template" if self._release < (0, 90) else "snapshot"

    @property
    def _has_projects(self) -> bool:
        return self._release >= (0, 80)

    def runnable(self, name: str, *, version: str = "1", steps: Steps = STEPS, project: str | None = None) -> Runnable:
        """A pipeline of this name and what its server fires: a build, or the template or snapshot `<name>-prod`."""
        pipeline = self.pipeline(name, version, steps=steps, project=project)
        prod = f"{name}-prod"
        where = {"project": project} if project else {}
        if self.kind == "build":
            build = self.build(pipeline, steps=steps)
            return Runnable(name, pipeline, "build", build, {"pipeline": name, "version": version})
        if self.kind == "template":
            template = self.template(prod, pipeline, steps=steps, project=project)
            return Runnable(name, pipeline, "template", template, {"template": prod, **where})
        snapshot = self.snapshot(prod, pipeline, steps=steps, project=project)
        return Runnable(name, pipeline, "snapshot", snapshot, {"snapshot": prod, **where})

    def pipeline(
        self, name: str, version: str | None = None, *, steps: Steps = STEPS, project: str | None = None
    ) -> str:
        """The id of a pipeline; servers of the builds era keep a row for each version."""
        if self.kind != "build":
            return self._find("pipelines", project, name=name) or self._create("pipelines", {"name": name}, project)
        version = version or "1"
        body = {
            "name": name,
            "version": version,
            "version_hash": f"{name}-{version}",
            "spec": self._spec(steps),
        }
        return self._find("pipelines", project, name=name, version=version) or self._create("pipelines", body)

    def build(self, pipeline: str, *, runnable: bool = True, steps: Steps = STEPS, project: str | None = None) -> str:
        """The id of a new build. Not `runnable`: what is left by a run on a remote stack of the builds era."""
        body = {
            "images": {},
            "is_local": False,
            "contains_code": True,
            "zenml_version": self._zenml_version,
            "python_version": "3.11.7",
            "stack": self.stack(),
            "pipeline": pipeline,
        }
        build = self._create("pipeline_builds", body, project)
        if self.kind != "build" or not runnable:
            return build
        deployment = self._create("pipeline_deployments", self._ran(pipeline, build, steps))
        return self._create("pipeline_builds", body | {"template_deployment_id": deployment})

    def template(self, name: str, pipeline: str, *, steps: Steps = STEPS, project: str | None = None) -> str:
        """The id of a run template, as after a run of the pipeline on the remote stack."""
        if found := self._find("run_templates", project, name=name):
            return found
        ran = self._ran(pipeline, self.build(pipeline, project=project), steps)
        deployment = self._create("pipeline_deployments", ran, project)
        return self._create("run_templates", {"name": name, "source_deployment_id": deployment}, project)

    def snapshot(self, name: str, pipeline: str, *, steps: Steps = STEPS, project: str | None = None) -> str:
        """The id of a named snapshot of the pipeline on the remote stack."""
        if found := self._find("pipeline_snapshots", project, name=name, pipeline=pipeline):
            return found
        ran = self._ran(pipeline, self.build(pipeline, project=project), steps)
        return self._create("pipeline_snapshots", ran | {"name": name}, project)

    def stack(self) -> str:
        """The id of the remote stack: only on such a one can the server start runs."""
        if found := self._find("stacks", None, name=STACK):
            return found
        wanted = dict(COMPONENTS)
        if self._has_projects:
            self.call("POST", "flavors", STOPPABLE)
            wanted["orchestrator"] = (FLAVOR, {})
        components = {
            type_: [
                self._create(
                    "components", {"name": STACK, "type": type_, "flavor": flavor, "configuration": configuration}
                )
            ]
            for type_, (flavor, configuration) in wanted.items()
        }
        return self._create("stacks", {"name": STACK, "components": components})

    def artifact_version(self, name: str, *, project: str | None = None) -> dict[str, Any]:
        """A new version of the artifact of this name, as a step that wrote it leaves it behind."""
        artifact = self._find("artifacts", project, name=name)
        artifact = artifact or self._create("artifacts", {"name": name, "has_custom_name": True}, project)
        version = str(len(self._list("artifact_versions", project, artifact_id=artifact)) + 1)
        body = {
            "artifact_id": artifact,
            "version": version,
            "has_custom_name": True,
            "type": "DataArtifact",
            "uri": f"gs://demo/{name}/{version}",
            "materializer": ANYTHING,
            "data_type": ANYTHING,
            "save_type": "step_output",
        }
        made: dict[str, Any] = self.call("GET", f"artifact_versions/{self._create('artifact_versions', body, project)}")
        return made

    def model_version(self, name: str, *, stage: str | None = None, project: str | None = None) -> dict[str, Any]:
        """A new version of the model of this name; a `stage` is taken from the version that had it."""
        model = self._find("models", project, name=name) or self._create("models", {"name": name, "tags": []}, project)
        thing = "model_versions" if self._has_projects else f"models/{model}/model_versions"
        version = self._create(thing, {"model": model}, project)
        if stage:
            self.call("PUT", f"model_versions/{version}", {"model": model, "stage": stage, "force": True})
        made: dict[str, Any] = self.call("GET", f"model_versions/{version}")
        return made

    def service_account(self, name: str | None = None) -> str:
        """An API key of a new service account."""
        body = {"name": name or f"zendaemon-{uuid4().hex[:8]}", "active": True, "description": "zendaemon"}
        account = self.call("POST", "service_accounts", body)["id"]
        made = self.call("POST", f"service_accounts/{account}/api_keys", {"name": "demo", "description": ""})
        key: str = made["body"]["key"]
        return key

    def project(self, name: str) -> str:
        """The id of a project."""
        if name not in self._projects:
            found = self._find("projects", None, name=name)
            self._projects[name] = found or self.call("POST", "projects", {"name": name, "description": ""})["id"]
        return self._projects[name]

    def fire(self, runnable: Runnable, config: Mapping[str, object]) -> dict[str, Any]:
        """Start a run by hand, as another tool would."""
        body = {"run_configuration": config} if runnable.kind == "snapshot" else config
        run: dict[str, Any] = self.call("POST", f"{FIRE_ROUTES[runnable.kind]}/{runnable.id}/runs", body)
        return run

    def runs(self, prefix: str = "", *, project: str | None = None) -> list[dict[str, Any]]:
        """All runs whose name begins like this, oldest first."""
        query = {"name": f"startswith:{prefix}"} if prefix else {}
        return self._list("runs", project, sort_by="asc:created", **query)

    def latest_runs(self, count: int) -> list[dict[str, Any]]:
        """The runs that were created last, the newest first."""
        page = self.call("GET", f"runs?{httpx.QueryParams({'sort_by': 'desc:created', 'size': count})}")
        rows: list[dict[str, Any]] = page["items"]
        return rows

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"runs/{run_id}")
        return found

    def run_parameters(self, run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The step parameters that the run was really started with, by step; `run` as a list or a start returned it."""
        steps = zendaemon_runs.step_configurations(self.call, self.run(run["id"]))
        return {name: step["config"]["parameters"] for name, step in steps.items()}

    def set_status(self, run_id: str, status: str) -> None:
        """Move a run and its steps to this status, as its orchestrator would: see `zendaemon_runs`."""
        zendaemon_runs.set_status(self.call, run_id, status)

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Any other call: `path` is below /api/v1."""
        return self._send(method, path, json=body)

    def _send(self, method: str, path: str, **content: Any) -> Any:  # noqa: ANN401
        answer = self._http.request(method, path, **content)
        for _ in range(3):
            if method != "GET" or answer.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
                break
            # 0.98 answers so to a list of runs while it takes back one that found no start slot.
            time.sleep(0.2)
            answer = self._http.request(method, path, **content)
        if answer.is_error:
            raise ZendaemonError(f"{method} {path} on the demo server: {answer.status_code} {answer.text}")
        return answer.json()

    def _ran(self, pipeline: str, build: str, steps: Steps) -> dict[str, object]:
        """What a run on the remote stack leaves behind: a deployment, in later versions a snapshot."""
        name = self.call("GET", f"pipelines/{pipeline}")["name"]
        ran: dict[str, object] = {
            "run_name_template": f"{name}-{{date}}-{{time}}",
            "pipeline_configuration": {"name": name},
            "step_configurations": {step: self._step(step, parameters) for step, parameters in steps.items()},
            "client_environment": {},
            "client_version": "demo",
            "server_version": "demo",
            "stack": self.stack(),
            "pipeline": pipeline,
            "build": build,
        }
        if self.kind != "snapshot":
            return ran
        return ran | {"pipeline_spec": self._spec(steps)}

    def _spec(self, steps: Steps) -> dict[str, object]:
        return {"steps": [self._step(step, parameters)["spec"] for step, parameters in steps.items()]}

    def _step(self, name: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """A step as each generation has it: the older ones refuse the keys of the later."""
        config = {"name": name, "parameters": dict(parameters)}
        spec = {
            "source": {"module": "demo.steps", "attribute": name, "type": "internal"},
            "upstream_steps": [],
            "inputs": {},
            "invocation_id" if self._has_projects else "pipeline_parameter_name": name,
        }
        overrides = {"step_config_overrides": config} if self.kind == "snapshot" else {}
        return {"spec": spec, "config": config, **overrides}

    def _create(self, thing: str, body: Mapping[str, object], project: str | None = None) -> str:
        if not self._has_projects:
            path = thing if thing.startswith("artifact") else f"workspaces/{self._workspace}/{thing}"
            scope = {"user": self._user, "workspace": self._workspace}
        else:
            path = thing
            scope = {} if thing in {"stacks", "components"} else {"project": self.project(project or "default")}
        created: str = self.call("POST", path, {**body, **scope})["id"]
        return created

    def _find(self, thing: str, project: str | None, **wanted: str) -> str | None:
        found = self._list(thing, project, **wanted)
        return found[0]["id"] if found else None

    def _list(self, thing: str, project: str | None, **query: str) -> list[dict[str, Any]]:
        if project:
            query["project"] = self.project(project)
        rows: list[dict[str, Any]] = []
        number = last = 1
        while number <= last:
            page = self.call("GET", f"{thing}?{httpx.QueryParams({**query, 'page': number, 'size': PAGE_SIZE})}")
            rows += page["items"]
            number, last = number + 1, page["total_pages"]
        return rows
