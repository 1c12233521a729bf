"""Asking the server while targets are resolved, and checking that its rows are what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zendaemon.core.errors import Stale, Unresolved
from zendaemon.core.near import did_you_mean
from zendaemon.zenml.preflight import listed
from zendaemon.zenml.rows import pipeline_of, scope_of

if TYPE_CHECKING:
    from zendaemon.core.run import Resolved
    from zendaemon.core.schedule import Target
    from zendaemon.zenml.client import ZenML
    from zendaemon.zenml.info import ServerInfo
    from zendaemon.zenml.preflight import Known
    from zendaemon.zenml.rows import Row

Params = Mapping[str, str | int]

NEAR_NAMES = 2000
"""How many names are looked at to find those near an unknown one."""


class Round:
    """The questions of one round: each is asked once, and its answer serves all schedules that need it.

    `targets` are those that were found, with what the server knows of each.
    """

    def __init__(self, client: ZenML) -> None:
        self._client = client
        self.targets: dict[Target, tuple[Known, Resolved]] = {}
        self._info: ServerInfo | None = None
        self._answers: dict[tuple[str, str, tuple[tuple[str, str | int], ...]], Any] = {}

    async def info(self) -> ServerInfo:
        if self._info is None:
            self._info = await self._client.info()
        return self._info

    async def get(self, path: str, params: Params | None = None) -> Any:  # noqa: ANN401 - JSON
        """The object at a path, None when the server has none."""
        key = ("get", path, tuple(sorted((params or {}).items())))
        if key not in self._answers:
            try:
                self._answers[key] = await self._client.get(path, params)
            except Stale:
                self._answers[key] = None
        return self._answers[key]

    async def pages(
        self, path: str, params: Params | None = None, *, size: int = 500, most: int | None = None
    ) -> list[Row]:
        """The rows of a list; what is not the server's to list now makes the target unresolved."""
        key = ("pages", path, tuple(sorted((params or {}).items())))
        if key not in self._answers:
            try:
                self._answers[key] = await self._client.pages(path, params, size=size, most=most)
            except Stale as error:  # such as a project that was deleted a moment ago
                text = f"the server's list of {path} cannot be read: {error.message}"
                raise Unresolved(text) from None
        rows: list[Row] = self._answers[key]
        return rows


def unknown(word: str, name: str, names: set[str]) -> Unresolved:
    near = did_you_mean(name, names)
    hint = near or (f"the server has {listed(names)}" if names else f"the server shows us no {word} at all")
    return Unresolved(f"{word} {name!r} not found or not permitted", hint=hint)


def in_scope(row: Row, scope: tuple[str, str] | None) -> bool:
    """Whether a row is of this project. What a row does not tell is settled when it is read alone."""
    scope_id = scope_of(row)[0]
    return scope is None or scope_id is None or scope_id == scope[0]


def check_belongs(row: Row, target: Target, scope: tuple[str, str] | None, word: str) -> None:
    """Whether a row that was found is of the target's pipeline and project."""
    of = pipeline_of(row)
    if target.pipeline is not None and target.pipeline not in of:
        raise Unresolved(f"{word} {target.name!r} is of pipeline {of[1]!r}, not of {target.pipeline!r}")
    if not in_scope(row, scope):
        raise Unresolved(f"{word} {target.name!r} is not in {target.project!r}", hint="mend or remove `project`")
