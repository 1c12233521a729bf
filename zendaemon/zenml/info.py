"""What a server says of itself: its version, and which routes it has mounted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from zendaemon.zenml.keys import CONFIG_KEYS, NEWEST, STEP_KEYS, keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["build", "template", "snapshot"]

START_ROUTES: Mapping[Kind, str] = {
    "build": "pipeline_builds",
    "template": "run_templates",
    "snapshot": "pipeline_snapshots",
}
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_STOP_ROUTE = re.compile(r"/api/v1/runs/\{[^/]+\}/stop")
_UNIQUE_NAMES = (0, 75)
_KEEPS_PARAMETERS = (0, 85)
_REFUSES_PARAMETERS = (0, 75)
_PROJECTS = (0, 80)
_STOPS_RUNS = (0, 85)


class Generation(StrEnum):
    """What this server's pipelines are started from."""

    BUILDS = "builds"
    TEMPLATES = "run templates"
    SNAPSHOTS = "snapshots"


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server, as it describes itself.

    `routes` holds the kinds that can be started there; where the server does not show its routes, those of its
    generation. `exact_keys` tells whether the key sets are the server's own or come from our table of versions.
    """

    id: str
    version: str
    release: tuple[int, ...]
    generation: Generation
    routes: frozenset[Kind]
    projects: bool
    stops_runs: bool
    active: bool
    auth_scheme: str
    deployment_type: str
    server_url: str
    dashboard_url: str
    config_keys: frozenset[str]
    step_keys: frozenset[str]
    exact_keys: bool

    @property
    def unique_names(self) -> bool:
        """Whether the database keeps run names unique, and not only a look before the insert."""
        return self.release >= _UNIQUE_NAMES

    @property
    def wants_every_parameter(self) -> bool:
        """Whether a template's run must give all parameters of all steps."""
        return self.release < _KEEPS_PARAMETERS

    @property
    def refuses_unknown_parameters(self) -> bool:
        """Whether a parameter that the step was not built with is refused, and not taken over into the run."""
        return self.release >= _REFUSES_PARAMETERS

    @property
    def tags(self) -> bool:
        return "tags" in self.config_keys

    @property
    def newer_than_known(self) -> bool:
        return self.release[:2] > NEWEST

    def __str__(self) -> str:
        return f"ZenML {self.version}"


def parse_info(info: object, openapi: object) -> ServerInfo | None:
    """From `/info` and, where it could be had, `/openapi.json`. None when this is no ZenML server's."""
    if not isinstance(info, dict) or not (found := _VERSION.match(str(info.get("version", "")))):
        return None
    release = tuple(int(part or 0) for part in found.groups())
    generation = generation_of(release)
    paths, schemas = _mapping(openapi, "paths"), _mapping(openapi, "components", "schemas")
    config = _mapping(schemas, "PipelineRunConfiguration", "properties")
    step = _mapping(schemas, "StepConfigurationUpdate", "properties")
    return ServerInfo(
        id=str(info.get("id", "")),
        version=str(info["version"]),
        release=release,
        generation=generation,
        routes=mounted(paths) if paths else frozenset({KIND_OF[generation]}),
        projects="/api/v1/projects" in paths if paths else release >= _PROJECTS,
        stops_runs=any(map(_STOP_ROUTE.fullmatch, paths)) if paths else release >= _STOPS_RUNS,
        active=info.get("active") is not False,
        auth_scheme=str(info.get("auth_scheme") or ""),
        deployment_type=str(info.get("deployment_type") or ""),
        server_url=str(info.get("server_url") or ""),
        dashboard_url=str(info.get("dashboard_url") or ""),
        config_keys=frozenset(config) or keys_of(CONFIG_KEYS, release),
        step_keys=frozenset(step) or keys_of(STEP_KEYS, release),
        exact_keys=bool(config and step),
    )


KIND_OF: Mapping[Generation, Kind] = {
    Generation.BUILDS: "build",
    Generation.TEMPLATES: "template",
    Generation.SNAPSHOTS: "snapshot",
}


def generation_of(release: tuple[int, ...]) -> Generation:
    if release < (0, 63):
        return Generation.BUILDS
    return Generation.TEMPLATES if release < (0, 90) else Generation.SNAPSHOTS


def mounted(paths: Mapping[str, Any]) -> frozenset[Kind]:
    """The kinds whose start route is there."""
    return frozenset(
        kind
        for kind, thing in START_ROUTES.items()
        if any(re.fullmatch(rf"/api/v1/{thing}/\{{[^/]+\}}/runs", path) for path in paths)
    )


def _mapping(value: object, *steps: str) -> Mapping[str, Any]:
    """The mapping at the end of these steps, empty when there is none."""
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
