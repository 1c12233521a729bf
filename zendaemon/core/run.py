"""What the server tells: a run, and a target turned into ids."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the journal's reader needs the types of Resolved
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003
from typing import Literal

from pydantic import JsonValue  # noqa: TC002

DELETED = "deleted"
"""Our word for the status of a run that the server has no more."""

TERMINAL = frozenset({"completed", "cached", "failed", "stopped", "retried", "cancelled", "skipped", DELETED})
"""Run statuses that end a run, over all generations; unknown ones are not terminal (zenml-api.md, section 5)."""

ACTIVE = (
    "initializing",
    "provisioning",
    "queued",
    "running",
    "paused",
    "resuming",
    "retrying",
    "stopping",
    "cancelling",
)
"""Every run status, over all generations, that does not end a run."""

SUCCEEDED = frozenset({"completed", "cached", "skipped"})
FAILED = frozenset({"failed"})
"""What ends a run otherwise (`stopped`, `cancelled`, `deleted`) is neither: somebody wanted it so."""

QUEUED = frozenset({"initializing", "queued"})
"""Statuses of a run that the server has accepted and not yet begun."""

PASSING = frozenset({"initializing", "provisioning", "queued", "resuming", "stopping", "cancelling"})
"""Statuses that a run only passes through. In the other active ones it stays as long as its work or a person takes."""


@dataclass(frozen=True, slots=True)
class Run:
    """A ZenML pipeline run. Instants are aware UTC by the server's clock, None where the server does not tell.

    Lists do not tell `started_at` and `ended_at`, unless they are asked to. `updated` is when the status was written
    last. `project` is an id, and None on servers without projects.
    """

    id: str
    name: str
    status: str
    status_reason: str | None = None
    pipeline_id: str | None = None
    created: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated: datetime | None = None
    project: str | None = None

    @property
    def active(self) -> bool:
        return self.status not in TERMINAL


@dataclass(frozen=True, slots=True)
class Resolved:
    """A target as the server's ids, enough to start it without any further look-up.

    `base` is the config that the overrides are laid over (templates of servers that want every step parameter).
    `unique_names` is false where the server checks a run's name and then inserts it (up to 0.62), so that a lost
    request must have ended before the next POST. `stops_runs` tells whether the server has a route to stop a run
    (0.85 and later).
    """

    kind: Literal["build", "template", "snapshot"]
    id: str
    pipeline_id: str
    pipeline: str
    resolved_at: datetime
    server_version: str
    project: str | None = None
    base: Mapping[str, JsonValue] = field(default_factory=dict)
    unique_names: bool = True
    sends_tags: bool = True
    stops_runs: bool = True
    warnings: tuple[str, ...] = ()
