"""A target's names turned into the server's ids, or plain words on why that cannot be.

Servers ignore filters that they do not know and answer with something else: every row is checked against what was
asked for. Rows that the service account may not read are missing without a word, hence "not found or not permitted".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from zendaemon.core.errors import Unresolved
from zendaemon.core.near import did_you_mean
from zendaemon.core.run import Resolved
from zendaemon.zenml import builds
from zendaemon.zenml.asking import NEAR_NAMES, Round, check_belongs, in_scope, unknown
from zendaemon.zenml.info import KIND_OF, START_ROUTES
from zendaemon.zenml.preflight import known, listed, preflight
from zendaemon.zenml.rows import at, pipeline_of, scope_of
from zendaemon.zenml.starting import parameters_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from pydantic import JsonValue

    from zendaemon.core.schedule import Target
    from zendaemon.zenml.client import ZenML
    from zendaemon.zenml.info import Kind, ServerInfo
    from zendaemon.zenml.preflight import Known
    from zendaemon.zenml.rows import Row

_ARTICLE: Mapping[Kind, str] = {"build": "build", "template": "run template", "snapshot": "snapshot"}


class Resolver:
    """Resolves the targets of one server. Keeps nothing between two calls; `round` does, for as long as it is used."""

    def __init__(self, client: ZenML, now: Callable[[], datetime], asked: Round | None = None) -> None:
        self._client = client
        self._now = now
        self._asked = asked

    def round(self) -> Resolver:
        """A resolver that asks the server each question once: to resolve many schedules in one go."""
        return Resolver(self._client, self._now, Round(self._client))

    async def resolve(self, target: Target, config: Mapping[str, JsonValue]) -> Resolved:
        """The ids of `target`, with `config` checked against it.

        Raises Unresolved for everything that is to be mended in the file or on the server, else a ServerError.
        """
        ask = self._asked or Round(self._client)
        if (answer := ask.targets.get(target)) is None:
            answer = ask.targets[target] = await self._find(ask, target)
        found, resolved = answer
        findings = preflight(found, config)
        if findings.problems:
            raise Unresolved("; ".join(findings.problems))
        return replace(resolved, warnings=findings.warnings) if findings.warnings else resolved

    async def _find(self, ask: Round, target: Target) -> tuple[Known, Resolved]:
        info = await ask.info()
        _check_server(info, target)
        scope = await _scope(ask, info, target)
        if target.kind == "build":
            row, metadata = await builds.find(ask, target, scope)
        else:
            row, metadata = await _named(ask, info, target, scope)
        found = known(info, metadata, dynamic=bool(at(row, "body", "is_dynamic")))
        return found, self._resolved(info, target, row, metadata)

    def _resolved(self, info: ServerInfo, target: Target, row: Row, metadata: object) -> Resolved:
        pipeline_id, pipeline = pipeline_of(row)
        wants_all = target.kind == "template" and info.wants_every_parameter
        return Resolved(
            kind=target.kind,
            id=row["id"],
            pipeline_id=pipeline_id or "",
            pipeline=pipeline or target.pipeline or "",
            resolved_at=self._now(),
            server_version=info.version,
            project=scope_of(row)[0] if info.projects else None,
            base=parameters_alone(at(metadata, "config_template")) if wants_all else {},
            unique_names=info.unique_names,
            sends_tags=info.tags,
            stops_runs=info.stops_runs,
        )


def _check_server(info: ServerInfo, target: Target) -> None:
    """Whether this server can start such a thing at all."""
    if not info.active:
        raise Unresolved(f"the server ({info}) is not activated yet", hint="finish its setup in its dashboard")
    if target.kind in info.routes:
        return
    wanted, has = START_ROUTES[target.kind].replace("_", " "), KIND_OF[info.generation]
    if target.kind == has:
        raise Unresolved(
            f"the server ({info}) cannot run pipelines: it has no workload manager",
            hint="running over REST is a ZenML Pro feature; a server of your own needs one configured",
        )
    remedy = f"name a {_ARTICLE[has]} (`{has}:`) instead" if has != "build" else "name `pipeline` and `version` instead"
    if target.version is not None:
        raise Unresolved(f"the server ({info}) has no pipelines with versions any more", hint=remedy)
    raise Unresolved(f"the server ({info}) does not run {wanted}", hint=remedy)


async def _scope(ask: Round, info: ServerInfo, target: Target) -> tuple[str, str] | None:
    """Id and name of the target's project (before there were projects: workspace), None where nothing is to choose."""
    word = "project" if info.projects else "workspace"
    if target.project is None and (target.id is not None or not info.projects):
        return None
    rows = await ask.pages(f"{word}s")
    names = {row["id"]: str(row.get("name")) for row in rows}
    if target.project is None:
        if len(names) == 1:
            return next(iter(names.items()))
        if not names:
            raise Unresolved("no project found or permitted", hint="the service account needs the right to read one")
        raise Unresolved(f"the server has {len(names)} projects: {listed(names.values())}", hint="add `project: ...`")
    for scope_id, name in names.items():
        if target.project in (scope_id, name):
            return scope_id, name
    raise Unresolved(
        f"{word} {target.project!r} not found or not permitted",
        hint=did_you_mean(target.project, names.values()) or f"the server's {word}s are {listed(names.values())}",
    )


async def _named(ask: Round, info: ServerInfo, target: Target, scope: tuple[str, str] | None) -> tuple[Row, object]:
    """A template or snapshot with its metadata, by name or id."""
    word, path = _ARTICLE[target.kind], START_ROUTES[target.kind]
    row_id = str(target.id) if target.id else await _id_by_name(ask, info, target, scope)
    params = {"include_config_schema": "true"} if target.kind == "snapshot" else {}
    row = await ask.get(f"{path}/{quote(row_id, safe='')}", params)
    if row is None or at(row, "id") != row_id:
        raise Unresolved(f"{word} {target.name!r} not found or not permitted")
    check_belongs(row, target, scope, word)
    if at(row, "body", "runnable") is False:
        raise Unresolved(
            f"{word} {target.name!r} cannot be run: its stack or build was changed or deleted, or is local",
            hint=f"run the pipeline on a remote stack and make a new {word} from that",
        )
    return row, at(row, "metadata")


async def _id_by_name(ask: Round, info: ServerInfo, target: Target, scope: tuple[str, str] | None) -> str:
    word, path = _ARTICLE[target.kind], START_ROUTES[target.kind]
    where = {"project": scope[0]} if scope and info.projects else {}
    hydrate = "false" if where or not scope else "true"  # only then do rows tell their workspace
    rows = await ask.pages(path, {**where, "name": f"equals:{target.name}", "hydrate": hydrate})
    found = [row for row in rows if row.get("name") == target.name and in_scope(row, scope)]
    fitting = [row for row in found if target.pipeline in (None, *pipeline_of(row))]
    if len(fitting) == 1:
        return str(fitting[0]["id"])
    if not found:
        named = {"named_only": "true"} if target.kind == "snapshot" else {}
        others = await ask.pages(path, {**where, **named, "hydrate": "false"}, most=NEAR_NAMES)
        names = {str(row["name"]) for row in others if row.get("name") and in_scope(row, scope)}
        raise unknown(word, target.name or "", names)
    pipelines = {pipeline_of(row)[1] or "" for row in found}
    if not fitting:
        hint = did_you_mean(target.pipeline or "", pipelines) or f"there is one of pipeline {listed(pipelines)}"
        raise Unresolved(
            f"{word} {target.name!r} of pipeline {target.pipeline!r} not found or not permitted", hint=hint
        )
    message = f"{len(fitting)} {word}s are named {target.name!r}"
    if target.pipeline is None and len(pipelines) > 1:
        raise Unresolved(f"{message}, of the pipelines {listed(pipelines)}", hint="add `pipeline: ...`")
    ids = listed(row["id"] for row in fitting)
    raise Unresolved(message, hint=f"add `project: ...`, or give the id in place of the name: {ids}")
