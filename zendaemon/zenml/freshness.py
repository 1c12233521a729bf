"""Asking the server for the newest run of a pipeline, or the newest version of an artifact or model.

Servers ignore filters that they do not know: a row of something else than was asked for is no answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from zendaemon.core.condition import Newest, subject
from zendaemon.core.errors import Stale, Unresolved
from zendaemon.zenml.rows import at, created_of, pipeline_of, run_of

if TYPE_CHECKING:
    from datetime import timedelta

    from zendaemon.core.policy import Condition
    from zendaemon.zenml.client import ZenML
    from zendaemon.zenml.rows import Row

_NEWEST = {"sort_by": "desc:created"}


class Freshness:
    """The questions that conditions ask of one server, one request each."""

    def __init__(self, client: ZenML) -> None:
        self._client = client

    @property
    def skew(self) -> timedelta:
        """The server's clock minus ours, as its answers tell; zero until the first."""
        return self._client.skew

    async def newest(self, condition: Condition, project: str | None) -> Newest | None:
        """What was created last of the thing that the condition names, in this project where servers have some.

        None when there is none, or none that we may read. Raises Unresolved when this server's answer is about
        something else, else a ServerError.
        """
        scope = {"project": project} if project else {}
        if condition.pipeline is not None:
            return await self._run(condition, condition.pipeline, scope)
        if condition.artifact is not None:
            return await self._artifact(condition, condition.artifact, scope)
        return await self._model(condition, condition.model or "", scope)

    async def _run(self, condition: Condition, name: str, scope: dict[str, str]) -> Newest | None:
        params = {**scope, **_NEWEST, "pipeline_name": f"equals:{name}", "hydrate": "true"}
        row = await self._first("runs", params)
        if row is None:
            return None
        run = run_of(row)
        if run is None or pipeline_of(row)[1] != name:
            raise _no_answer(condition)
        return Newest(run.name, run.ended_at, run.status)

    async def _artifact(self, condition: Condition, name: str, scope: dict[str, str]) -> Newest | None:
        # Up to 0.75 the filter is `name`, later `artifact`; each ignores the other.
        params = {**scope, **_NEWEST, "name": f"equals:{name}", "artifact": name}
        row = await self._first("artifact_versions", params)
        return None if row is None else _version(condition, row, at(row, "body", "version"), "artifact", name)

    async def _model(self, condition: Condition, name: str, scope: dict[str, str]) -> Newest | None:
        row = await self._first(f"models/{quote(name, safe='')}/model_versions", {**scope, **_NEWEST})
        return None if row is None else _version(condition, row, at(row, "name"), "model", name)

    async def _first(self, path: str, params: dict[str, str]) -> Row | None:
        try:
            rows = await self._client.pages(path, params, size=1, most=1)
        except Stale:  # a model that there is not, or a project that was deleted
            return None
        return rows[0] if rows else None


def _version(condition: Condition, row: Row, version: object, of: str, name: str) -> Newest:
    if at(row, "body", of, "name") != name or version is None:
        raise _no_answer(condition)
    return Newest(str(version), created_of(row))


def _no_answer(condition: Condition) -> Unresolved:
    return Unresolved(
        f"the server was asked for {subject(condition)}, and answered with something else",
        hint="remove that condition from `when`, or report the server's version",
    )
