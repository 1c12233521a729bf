"""A stand-in for a ZenML server, for the faults that a real one cannot be made to have.

What it answers is a small part of what the real servers of each generation answer, in their shapes; a contract test
(tests/contract/test_zenml_standin.py) holds the one against the other. It keeps every arrival, and does to each start
what its script says, or what is drawn for it.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Json = dict[str, Any]

ROUTES = {"0.62.0": ["pipeline_builds"], "0.75.0": ["run_templates"], "0.98.0": ["pipeline_snapshots", "run_templates"]}
KINDS = {"0.62.0": "build", "0.75.0": "template", "0.98.0": "snapshot"}
KEYS = {"run_name", "enable_cache", "steps", "settings", "extra", "schedule", "build", "parameters"}
STEPS: Mapping[str, Json] = {"model_trainer": {"model_type": "svc"}}
API_KEY = "ZENKEY_of-the-stand-in"
ENDED = {"completed", "failed", "stopped"}
UNSTOPPABLE = {
    "initializing": "Cannot stop a pipeline run that has no orchestrator run id yet.",
    "stopping": "Run is already being stopped.",
    "stopped": "Run is already stopped.",
    "completed": "Cannot stop a run that is already completed.",
    "failed": "Cannot update the status of a finished run.",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one request. Without status the connection is reset.

    `created`: the run is made all the same, once the server was at work for `late` seconds. The answer takes `seconds`
    more.
    """

    status: int | None = None
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    created: bool = False
    late: float = 0.0
    seconds: float = 0.0


RESET = Fault()
RESET_AFTER = Fault(created=True)
ERROR = Fault(500, {"detail": ["RuntimeError", "QueuePool limit of size 5 overflow 10 reached, connection timed out"]})
ERROR_AFTER = Fault(ERROR.status, ERROR.body, created=True)
NO_SLOT = Fault(429, {"detail": ["MaxConcurrentTasksError", "Maximum number of concurrent snapshot tasks reached."]})
TOO_BUSY_AFTER = Fault(429, {"error": "Server too busy. Please try again later."}, created=True)
EXPIRED = Fault(401, {"detail": ["CredentialsNotValid", "Authentication error: ... Signature has expired."]})
CUT_SHORT_AFTER = Fault(200, "{", created=True)
HTML = Fault(200, "<html><title>Maintenance</title></html>")


def down(retry_after: float) -> Fault:
    return Fault(503, "<html><title>Down</title></html>", {"Retry-After": str(retry_after)})


def slow(seconds: float, *, created: bool = True) -> Fault:
    return Fault(200 if created else None, created=created, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came in; `at` is by the loop's clock."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def is_start(self) -> bool:
        return self.method == "POST" and self.path.endswith("/runs")

    @property
    def config(self) -> Json:
        body: Json = json.loads(self.body)
        return body


class StandIn:
    """A server of one generation with one pipeline, `training`, and what that generation runs of it.

    An async context manager. `faults` are used up by the starts, in order; `draw` decides about every other request.
    `runs` are the runs made, by name; `creations` has a name once for every run that was ever made of it.
    """

    def __init__(self, version: str = "0.98.0", *, token_life: int | None = None, pipeline: str = "training") -> None:
        self.version = version
        self.kind = KINDS[version]
        self.arrivals: list[Arrival] = []
        self.faults: deque[Fault] = deque()
        self.logins: deque[Fault] = deque()
        self.draw: Callable[[Arrival], Fault | None] = lambda _: None
        self.runs: dict[str, Json] = {}
        self.creations: list[str] = []
        self.artifact_versions: list[Json] = []
        self.model_versions: list[Json] = []
        self.run_status: str | None = None
        """What the status of every run is when it is looked at; None for its own."""
        self.hangs_up = False
        """Whether connections are accepted and cut at once."""
        self.connections = self.in_hand = self.most_in_hand = 0
        """Connections that were accepted; starts that are being answered, now and at most."""
        self.pipeline = pipeline
        self.target_id = str(uuid4())
        self._pipeline_id, self._project_id, self._deployment_id = (str(uuid4()) for _ in range(3))
        self._token_life = token_life
        self._tokens: set[str] = set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def starts(self) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.is_start]

    @property
    def stops(self) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.path.endswith("/stop")]

    def script(self, *faults: Fault) -> None:
        """What becomes of the next starts; those after it succeed."""
        self.faults.extend(faults)

    def make_stale(self) -> None:
        """What is run gets another id, as if it had been deleted and made again."""
        self.target_id = str(uuid4())

    def expire_tokens(self) -> None:
        self._tokens.clear()

    def move(self, name: str, status: str) -> None:
        """Move the run of this name to a status."""
        row, now = self.runs[name], _now()
        row["body"] |= {"status": status, "updated": now}
        row["metadata"] |= {"end_time": now if status in ENDED else None}

    def add_artifact_version(self, name: str) -> None:
        number = sum(row["body"]["artifact"]["name"] == name for row in self.artifact_versions) + 1
        self.artifact_versions.append(self._row(None, version=str(number), artifact={"name": name}))

    def add_model_version(self, name: str) -> None:
        number = sum(row["body"]["model"]["name"] == name for row in self.model_versions) + 1
        self.model_versions.append(self._row(str(number), number=number, stage=None, model={"name": name}))

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def listen(self) -> None:
        """Accept connections, again on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Accept no connections, and drop those there are."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        if self.hangs_up:
            writer.transport.abort()
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not self.hangs_up:
                arrival = await _read(reader)
                self.arrivals.append(arrival)
                with self._counted(arrival):
                    status, body, headers = await self._answer(arrival, self._fault(arrival))
                if status is None:
                    writer.transport.abort()
                    break
                writer.write(_encode(status, body, headers))
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    def _fault(self, arrival: Arrival) -> Fault | None:
        return self.faults.popleft() if arrival.is_start and self.faults else self.draw(arrival)

    @contextmanager
    def _counted(self, arrival: Arrival) -> Iterator[None]:
        self.in_hand += arrival.is_start
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        try:
            yield
        finally:
            self.in_hand -= arrival.is_start

    async def _answer(self, arrival: Arrival, fault: Fault | None) -> tuple[int | None, object, Mapping[str, str]]:
        if fault is None:
            return (*self._route(arrival), {})
        answer: tuple[int, object] = (200, None)
        if fault.created:
            answer = await self._late(arrival, fault.late) if arrival.is_start else self._route(arrival)
        await asyncio.sleep(fault.seconds)
        if fault.status is None:
            return None, None, {}
        return fault.status, answer[1] if fault.body is None else fault.body, fault.headers

    async def _late(self, arrival: Arrival, seconds: float) -> tuple[int, object]:
        """The answer to a start after a while; servers up to 0.62 look at the names before it, and not again."""
        name = arrival.config.get("run_name")
        free = name not in self.runs
        await asyncio.sleep(seconds)
        if free and self.version == "0.62.0":
            self.runs.pop(name, None)
        return self._route(arrival)

    def _route(self, arrival: Arrival) -> tuple[int, object]:
        match arrival.method, arrival.path.removeprefix("/api/v1").strip("/").split("/"):
            case "GET", ["info"]:
                return 200, {"id": self._project_id, "version": self.version, "active": True, "auth_scheme": "OAUTH2"}
            case "GET", ["openapi.json"]:
                return 200, self._openapi()
            case "POST", ["login"]:
                return self._login(arrival)
            case "POST", ["runs", _, "stop"] if self.version != "0.98.0":
                return 405, {"detail": "Method Not Allowed"}
            case "POST", [thing, _, "runs"] if thing not in ROUTES[self.version]:
                return 405, {"detail": "Method Not Allowed"}
        if arrival.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return 401, _error("CredentialsNotValid", "Authentication error: error decoding access token")
        return self._permitted(arrival)

    def _permitted(self, arrival: Arrival) -> tuple[int, object]:
        match arrival.method, arrival.path.removeprefix("/api/v1/").split("/"):
            case "POST", ["runs", run_id, "stop"]:
                return self._stop(run_id)
            case "POST", [thing, target_id, "runs"]:
                return self._start(thing, target_id, arrival.config)
            case "GET", path:
                return self._look(path, arrival.query)
        return 404, {"detail": "Not Found"}

    def _look(self, path: list[str], query: Mapping[str, str]) -> tuple[int, object]:
        match path:
            case ["current-user"]:
                return 200, {"id": self._project_id, "name": "stand-in"}
            case ["runs"]:
                return self._list_runs(query)
            case ["artifact_versions"]:
                return 200, self._artifact_versions(query)
            case ["models", model, "model_versions"]:
                return self._model_versions(model, query)
            case [thing] if thing in self._lists():
                return 200, _page(self._rows(thing), query)
            case [thing, row_id]:
                for row in self._rows(thing):
                    if row["id"] == row_id:
                        return 200, row
                return 404, _error("KeyError", f"\"Unable to get {thing} with ID '{row_id}': not found\"")
        return 404, {"detail": "Not Found"}

    def _login(self, arrival: Arrival) -> tuple[int, object]:
        if self.logins:
            fault = self.logins.popleft()
            return fault.status or 500, fault.body
        form = dict(parse_qsl(arrival.body.decode(), keep_blank_values=True))
        if form not in ({"password": API_KEY}, {"username": "default", "password": ""}):
            return 401, _error("CredentialsNotValid", "Authentication error: invalid credentials")
        token = uuid4().hex
        self._tokens.add(token)
        return 200, {"access_token": token, "token_type": "bearer", "expires_in": self._token_life}

    def _start(self, thing: str, target_id: str, config: Json) -> tuple[int, object]:
        if target_id != self.target_id:
            return 404, _error("KeyError", f"\"Unable to get {thing} with ID '{target_id}': not found\"")
        if thing == "pipeline_snapshots":
            config = config.get("run_configuration", {})
        elif unknown := config.keys() - KEYS - ({"tags"} if self.version != "0.62.0" else set()):
            complaints = [{"type": "extra_forbidden", "loc": ("body", key), "msg": "not permitted"} for key in unknown]
            return 422, ["ValueError", str(complaints)]
        name = config.get("run_name") or f"{self.pipeline}-{uuid4().hex}"
        if refusal := _refusal(name, config):
            return refusal
        if name in self.runs:
            return 409, _error("EntityExistsError", f"A pipeline run with name '{name}' already exists.")
        self.creations.append(name)
        self.runs[name] = self._row(name, status="initializing")
        return 200, self.runs[name]

    def _list_runs(self, query: Mapping[str, str]) -> tuple[int, object]:
        if self.version == "0.62.0" and "oneof:" in query.get("id", ""):
            return 500, "Internal Server Error"
        rows = self._rows("runs")
        if "oneof:" in query.get("status", "") and self.version == "0.62.0":  # takes it for a status
            rows = []
        return 200, _unless_hydrated(_page(rows, query), query)

    def _stop(self, run_id: str) -> tuple[int, object]:
        """As for an orchestrator that stops a run at once."""
        row = next((run for run in self._looked_at() if run["id"] == run_id), None)
        if row is None:
            return 404, _error("KeyError", f"\"Unable to get pipeline run with ID '{run_id}'\"")
        if refusal := UNSTOPPABLE.get(row["body"]["status"]):
            return 403, _error("IllegalOperationError", refusal)
        self.move(row["name"], "stopped")
        return 200, None

    def _model_versions(self, model: str, query: Mapping[str, str]) -> tuple[int, object]:
        rows = [row for row in self.model_versions if row["body"]["model"]["name"] == model]
        if not rows and self.version != "0.98.0":
            return 404, _error("KeyError", f"\"Unable to get model with name or ID '{model}'\"")
        return 200, _page(rows, query)

    def _artifact_versions(self, query: Mapping[str, str]) -> Json:
        """By name, which each generation has its own filter for."""
        name = query.get("artifact" if self.version == "0.98.0" else "name", "").removeprefix("equals:")
        rows = [row for row in self.artifact_versions if name in ("", row["body"]["artifact"]["name"])]
        return _page(rows, {key: value for key, value in query.items() if key != "name"})

    def _looked_at(self) -> list[Json]:
        seen = {"status": self.run_status} if self.run_status else {}
        return [run | {"body": run["body"] | seen} for run in self.runs.values()]

    def _rows(self, thing: str) -> list[Json]:
        return self._lists().get(thing, list)()

    def _lists(self) -> dict[str, Callable[[], list[Json]]]:
        scope = "projects" if self.version == "0.98.0" else "workspaces"
        return {
            scope: lambda: [{"id": self._project_id, "name": "default", "body": {}}],
            "runs": self._looked_at,
            "pipelines": lambda: [self._row(self.pipeline, self._pipeline_id, version="45")],
            "pipeline_builds": lambda: [self._runnable("build", None)],
            "run_templates": lambda: [self._runnable("template", f"{self.pipeline}-prod")],
            "pipeline_snapshots": lambda: [self._runnable("snapshot", f"{self.pipeline}-prod")],
            "pipeline_deployments": lambda: [self._row(None, self._deployment_id) | {"metadata": self._details()}],
        }

    def _runnable(self, kind: str, name: str | None) -> Json:
        if kind != self.kind:
            return self._row(name)
        row = self._row(name, self.target_id, runnable=True)
        metadata = {"template_deployment_id": self._deployment_id, "is_local": False, "stack": {"id": "s"}}
        return row | {"metadata": {**row["metadata"], **metadata, **self._details()}}

    def _details(self) -> Json:
        steps = {name: {"parameters": values} for name, values in STEPS.items()}
        configurations = {name: {"config": {"name": name, **step}} for name, step in steps.items()}
        return {"step_configurations": configurations, "config_template": {"steps": steps}}

    def _row(self, name: str | None, row_id: str | None = None, **body: object) -> Json:
        pipeline = {"id": self._pipeline_id, "name": self.pipeline}
        body["created"] = body["updated"] = _now()
        named = {"name": name} if name else {}
        times = {"start_time": body["created"], "end_time": None} if "status" in body else {}
        row = {"id": row_id or str(uuid4()), **named, "body": body, "metadata": times, "resources": None}
        if self.version == "0.98.0":
            body |= {"pipeline_id": self._pipeline_id, "project_id": self._project_id}
            return row | {"resources": {"pipeline": pipeline}}
        workspace: Json = {"pipeline": pipeline, "workspace": {"id": self._project_id, "name": "default"}}
        return row | {"body": body | {"pipeline": pipeline}, "metadata": times | workspace}

    def _openapi(self) -> Json:
        keys = KEYS | ({"tags"} if self.version != "0.62.0" else set())
        schemas = {"PipelineRunConfiguration": keys, "StepConfigurationUpdate": {"parameters", "settings"}}
        paths = [f"/api/v1/{thing}/{{id}}/runs" for thing in ROUTES[self.version]]
        paths += ["/api/v1/projects", "/api/v1/runs/{run_id}/stop"] if self.version == "0.98.0" else []
        return {
            "paths": {key: {} for key in paths},
            "components": {"schemas": {name: {"properties": dict.fromkeys(k)} for name, k in schemas.items()}},
        }


def _refusal(name: str, config: Json) -> tuple[int, Json] | None:
    if "{" in name:
        return 404, _error("KeyError", "\"Could not format the name template: missing key 'nope'\"")
    if len(name) > 255:
        return 422, _error("ValueError", "run_name must have at most 255 characters")
    if refused := {"schedule", "build", "parameters"} & config.keys():
        return 400, _error("ValueError", f"Can't set {refused.pop()} when running pipeline via Rest API.")
    return None


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat()


def _error(kind: str, text: str) -> Json:
    return {"detail": [kind, text]}


def _page(rows: list[Json], query: Mapping[str, str]) -> Json:
    """Only the filters that the daemon uses; like the real ones, all others are ignored."""
    if name := query.get("name"):
        rows = [row for row in rows if row.get("name") == name.removeprefix("equals:")]
    if ids := query.get("id"):
        rows = [row for row in rows if row["id"] in one_of(ids)]
    if statuses := query.get("status"):
        rows = [row for row in rows if _status(row) in one_of(statuses)]
    way, _, field = query.get("sort_by", "").partition(":")
    if field:
        rows = sorted(rows, key=lambda row: (row["body"] | row["metadata"]).get(field) or "", reverse=way == "desc")
    number, size = int(query.get("page", 1)), int(query.get("size", 20))
    pages = max(1, -(-len(rows) // size))
    return {"items": rows[(number - 1) * size : number * size], "total": len(rows), "total_pages": pages}


def one_of(value: str) -> list[str]:
    found: list[str] = json.loads(value.removeprefix("oneof:")) if value.startswith("oneof:") else [value]
    return found


def _status(row: Json) -> str | None:
    status: str | None = row["body"].get("status")
    return status


def _unless_hydrated(page: Json, query: Mapping[str, str]) -> Json:
    """Lists have no metadata unless they are asked for it."""
    if query.get("hydrate") == "true":
        return page
    return page | {"items": [row | {"metadata": None} for row in page["items"]]}


async def _read(reader: asyncio.StreamReader) -> Arrival:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query))
    return Arrival(method, unquote(parts.path), query, headers, body, asyncio.get_running_loop().time())


def _encode(status: int, body: object, headers: Mapping[str, str]) -> bytes:
    text = body if isinstance(body, str) else json.dumps(body)
    kind: Literal["text/html", "application/json"] = "text/html" if text.startswith("<") else "application/json"
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    all_headers = {"Content-Type": kind, "Date": date, "Content-Length": str(len(text.encode())), **headers}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in all_headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()
