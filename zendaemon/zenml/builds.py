"""The builds generation: pipelines have versions, and the newest build that the server can run is run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from zendaemon.core.errors import Unresolved
from zendaemon.core.near import did_you_mean
from zendaemon.zenml.asking import NEAR_NAMES, check_belongs, in_scope, unknown
from zendaemon.zenml.preflight import listed
from zendaemon.zenml.rows import at, created_of, pipeline_of, scope_of

if TYPE_CHECKING:
    from zendaemon.core.schedule import Target
    from zendaemon.zenml.asking import Round
    from zendaemon.zenml.rows import Row

_SHOWN = 5
_OLD = datetime.min.replace(tzinfo=UTC)


async def find(ask: Round, target: Target, scope: tuple[str, str] | None) -> tuple[Row, object]:
    """The build to run and the metadata of the deployment that it was made from."""
    if target.id is not None:
        row = await ask.get(f"pipeline_builds/{target.id}")
        if row is None or at(row, "id") != str(target.id):
            raise Unresolved(f"build {target.name!r} not found or not permitted")
        check_belongs(row, target, scope, "build")
        candidates, of = [row], f"build {target.name!r}"
    else:
        pipeline = await _pipeline(ask, target, scope)
        params = {"pipeline_id": pipeline["id"], "hydrate": "true", "sort_by": "desc:created"}
        rows = await ask.pages("pipeline_builds", params, size=100)
        candidates = [row for row in rows if pipeline_of(row)[0] == pipeline["id"]]
        of = f"pipeline {target.pipeline!r} version {target.version!r}"
    passed: list[str] = []
    for row in sorted(candidates, key=lambda row: created_of(row) or _OLD, reverse=True):
        why = _unfit(row)
        if why is None:
            deployment = await ask.get(f"pipeline_deployments/{at(row, 'metadata', 'template_deployment_id')}")
            if deployment is not None:
                return row, at(deployment, "metadata")
            why = "its template deployment is gone"
        passed.append(f"{row['id']} {why}")
    raise _nothing_runs(of, passed)


def _unfit(row: Row) -> str | None:
    """Why the server cannot run this build."""
    metadata = at(row, "metadata")
    if not at(metadata, "template_deployment_id"):
        return "has no template deployment"
    if at(metadata, "is_local") is not False:
        return "is local"
    return None if at(metadata, "stack") else "has no stack any more"


def _nothing_runs(of: str, passed: list[str]) -> Unresolved:
    hint = "run the pipeline on a remote stack, so that a build is made that the server can run"
    if not passed:
        return Unresolved(f"{of} has no builds, or none that we may read", hint=hint)
    more = f"; and {len(passed) - _SHOWN} more" if len(passed) > _SHOWN else ""
    return Unresolved(f"{of} has no build that the server can run: {'; '.join(passed[:_SHOWN])}{more}", hint=hint)


async def _pipeline(ask: Round, target: Target, scope: tuple[str, str] | None) -> Row:
    """The one row of this name and version."""
    name, version = target.pipeline or "", target.version or ""
    hydrated = {"hydrate": "true"} if scope else {}
    rows = await ask.pages("pipelines", {"name": f"equals:{name}", **hydrated})
    named = [row for row in rows if row.get("name") == name and in_scope(row, scope)]
    found = [row for row in named if at(row, "body", "version") == version]
    if len(found) == 1:
        return found[0]
    if found:
        details = [await ask.get(f"pipelines/{row['id']}") for row in found]
        where = listed(str(scope_of(row)[1]) for row in details if row)
        raise Unresolved(
            f"{len(found)} pipelines are named {name!r} with version {version!r}, in the workspaces {where}",
            hint="add `project: ...` with the workspace's name, or give `build:` by its id",
        )
    if named:
        raise _unknown_version(name, version, [str(at(row, "body", "version")) for row in named])
    every = await ask.pages("pipelines", {"sort_by": "desc:created"}, most=NEAR_NAMES)
    raise unknown("pipeline", name, {str(row.get("name")) for row in every if in_scope(row, scope)})


def _unknown_version(name: str, version: str, versions: list[str]) -> Unresolved:
    """Versions are text to the server; as numbers they are put in order, so that 46 comes before 9."""
    newest_first = sorted(versions, key=lambda text: (text.isdecimal(), int(text) if text.isdecimal() else 0, text))
    newest_first.reverse()
    shown = ", ".join(newest_first[:10]) + (", ..." if len(newest_first) > 10 else "")
    near = did_you_mean(version, versions) if not version.isdecimal() else ""
    return Unresolved(
        f"pipeline {name!r} has no version {version!r} that we may read",
        hint=f"{near} it has {shown} (newest first)".strip(),
    )
