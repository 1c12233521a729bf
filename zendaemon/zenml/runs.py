"""Runs after their start: asked for in few requests, and stopped.

A list leaves out what the service account may not read, what belongs to another project, and all that an unknown filter
was meant to find. So a run that a list does not have is gone only when a question for it alone says so.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from zendaemon.core.errors import Rejected, ServerError, Stale
from zendaemon.core.run import ACTIVE
from zendaemon.zenml.rows import pipeline_of, run_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from zendaemon.core.run import Run
    from zendaemon.zenml.client import ZenML

MOST_IDS = 100
"""The ids of one request: their 4.6 kB of URL pass what proxies take for a line (8 kB)."""
_MOST_ACTIVE = 100
_LISTS_BY_ID = (0, 75)
"""The release from which `oneof:` filters; older ones answer a 500, or nothing."""
_FAILURES = 2
"""After so many failures of lists each run is asked for alone. One is common: 0.98 answers a 500 to a list of runs
while it takes one back that found no slot."""
_SERVER_AWAY = frozenset({None, 401, 429, 502, 503, 504})
_OVER = re.compile(r"already (being )?stopped|already completed|finished run")
"""What a server says that refuses to stop a run which has ended, or is being stopped."""


async def no_wait(_: int) -> None:
    """The turn of whoever need not wait for one."""


async def get_runs(
    client: ZenML, ids: Sequence[str], project: str | None, turn: Callable[[int], Awaitable[None]], *, times: bool
) -> dict[str, Run | None]:
    """See ZenML.get_runs."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, Run | None] = {}
    tried: set[str | None] = set()
    failures = 0
    lists = (client.known or await client.info()).release >= _LISTS_BY_ID
    failure: ServerError | None = None
    while missing := [run_id for run_id in wanted if run_id not in found]:
        if lists and len(missing) > 1 and project not in tried:
            try:
                found |= await _listed(client, missing, project, turn, times=times)
                tried.add(project)
            except ServerError as error:
                if error.status in _SERVER_AWAY:
                    raise
                failures += 1
                lists = failures < _FAILURES
            continue
        run_id = missing[0]
        try:
            await turn(1)
            run = found[run_id] = await client.get_run(run_id)
        except ServerError as error:
            if error.status in _SERVER_AWAY:
                raise
            failure = error
            wanted.remove(run_id)
        else:
            project = project if run is None or run.project is None else run.project
    if failure is not None and not found:
        raise failure
    return found


async def _listed(
    client: ZenML, ids: Sequence[str], project: str | None, turn: Callable[[int], Awaitable[None]], *, times: bool
) -> dict[str, Run]:
    """Those of the runs that lists have; a row that was not asked for is not looked at."""
    found: dict[str, Run] = {}
    for first in range(0, len(ids), MOST_IDS):
        some = ids[first : first + MOST_IDS]
        await turn(len(some))
        params = {"id": f"oneof:{json.dumps(some, separators=(',', ':'))}", "hydrate": str(times).lower()}
        rows = await client.pages("runs", params | _of(project), size=MOST_IDS, most=len(some))
        runs = [run for run in map(run_of, rows) if run is not None]
        found |= {run.id: run for run in runs if run.id in some}
    return found


async def active_runs(client: ZenML, pipeline_id: str, project: str | None, pipeline: str | None) -> list[Run]:
    """See ZenML.active_runs."""
    if (client.known or await client.info()).release >= _LISTS_BY_ID:
        questions = [{"pipeline_id": pipeline_id, "status": f"oneof:{json.dumps(ACTIVE, separators=(',', ':'))}"}]
    else:  # there a pipeline has an id for each version, and a run no other active status
        of = {"pipeline_name": f"equals:{pipeline}"} if pipeline else {"pipeline_id": pipeline_id}
        questions = [of | {"status": status} for status in ("initializing", "running")]
    found: dict[str, Run] = {}
    for question in questions:
        params = {**question, **_of(project), "sort_by": "desc:created"}
        for row in await client.pages("runs", params, size=_MOST_ACTIVE, most=_MOST_ACTIVE):
            run, (row_pipeline_id, name) = run_of(row), pipeline_of(row)
            ours = row_pipeline_id == pipeline_id or (name is not None and name == pipeline)
            if run is not None and run.active and ours:
                found[run.id] = run
    return sorted(found.values(), key=lambda run: (run.created is not None, run.created, run.id), reverse=True)


async def stop_run(post: Callable[[str, Mapping[str, str]], Awaitable[object]], run_id: str) -> None:
    """See ZenML.stop_run."""
    try:
        await post(f"runs/{quote(run_id, safe='')}/stop", {"graceful": "false"})
    except Stale:  # it is gone
        return
    except Rejected as failure:
        if failure.status != 403 or not _OVER.search(failure.message):
            raise


def _of(project: str | None) -> dict[str, str | int]:
    return {"project": project} if project else {}
