"""The server's JSON rows, read with tolerance: where each generation keeps what we need of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zendaemon.core.run import Run

Row = Mapping[str, Any]


def at(row: object, *steps: str) -> Any:  # noqa: ANN401 - JSON
    """The value at the end of these steps, None when any is missing."""
    for step in steps:
        row = row.get(step) if isinstance(row, dict) else None
    return row


def run_of(row: object) -> Run | None:
    """A run, None when the row is none."""
    run_id, name = at(row, "id"), at(row, "name")
    body, metadata = _part(row, "body"), _part(row, "metadata")
    status = body.get("status")
    if not (isinstance(run_id, str) and isinstance(name, str) and isinstance(status, str)):
        return None
    return Run(
        id=run_id,
        name=name,
        status=status,
        status_reason=body.get("status_reason"),
        pipeline_id=pipeline_of(row)[0],
        created=_instant(body.get("created")),
        started_at=_instant(metadata.get("start_time")),
        ended_at=_instant(metadata.get("end_time")),
        updated=_instant(body.get("updated")),
        project=body.get("project_id"),
    )


def _part(row: object, name: str) -> Row:
    found = at(row, name)
    return found if isinstance(found, dict) else {}


def created_of(row: object) -> datetime | None:
    """When the row was created, by the server's clock."""
    return _instant(at(row, "body", "created"))


def _instant(value: Any) -> datetime | None:  # noqa: ANN401 - JSON
    """An instant of the server, which sends naive UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def pipeline_of(row: object) -> tuple[str | None, str | None]:
    """Id and name of the pipeline that a run, build, template or snapshot belongs to."""
    for part in ("resources", "body", "metadata"):
        if found := at(row, part, "pipeline"):
            return at(found, "id"), at(found, "name")
    return at(row, "body", "pipeline_id"), None


def scope_of(row: object) -> tuple[str | None, str | None]:
    """Id and name of the project, on older servers the workspace, as far as the row tells."""
    if found := at(row, "body", "project_id"):
        return found, at(row, "resources", "project", "name")
    for part in ("metadata", "body", "resources"):
        for key in ("project", "workspace"):
            if found := at(row, part, key):
                return at(found, "id"), at(found, "name")
    return None, None
