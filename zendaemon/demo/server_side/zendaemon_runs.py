"""Does what a pipeline's own containers would: reports a run and its steps as running and completed.

Used inside the ZenML server's process by the workload manager, and outside by the seeder: it may import only the
standard library.
"""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

Call = Callable[[str, str, object], Any]
"""(method, path below /api/v1, JSON body or None) -> JSON"""

FINISHED = {"completed", "failed", "cached", "stopped", "cancelled"}


def set_status(call: Call, run_id: str, status: str) -> None:
    """Move a run to this status. It counts as `completed` only when each of its steps does (from 0.75 on)."""
    if status == "completed":
        run = call("GET", f"runs/{run_id}", None)
        done = call("GET", f"steps?{urllib.parse.urlencode({'pipeline_run_id': run_id, 'size': 1000})}", None)
        for name in step_configurations(call, run).keys() - {step["name"] for step in done["items"]}:
            call("POST", "steps", _step_run(run, name))
    ended = {"end_time": _now()} if status in FINISHED else {}
    call("PUT", f"runs/{run_id}", {"status": status, **ended})


def step_configurations(call: Call, run: dict[str, Any]) -> dict[str, Any]:
    """The steps that a run was started with, all overrides applied, by name."""
    if deployment := run["body"].get("deployment_id"):
        origin = f"pipeline_deployments/{deployment}"
    else:
        origin = f"pipeline_snapshots/{run['resources']['snapshot']['id']}"
    steps: dict[str, Any] = call("GET", origin, None)["metadata"]["step_configurations"]
    return steps


def _step_run(run: dict[str, Any], name: str) -> dict[str, Any]:
    now = _now()
    step = {"name": name, "pipeline_run_id": run["id"], "status": "completed", "start_time": now, "end_time": now}
    if project := run["body"].get("project_id"):
        return step | {"project": project}
    return step | {
        "user": run["body"]["user"]["id"],
        "workspace": run["metadata"]["workspace"]["id"],
        "deployment": run["body"]["deployment_id"],
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def play(workload_id: str, environment: dict[str, str], seconds: float) -> None:
    """Let the run that belongs to a workload be `running` for so long, then `completed`.

    `environment` is what the server gives to the runner: its own address and a token for this run.
    """

    def call(method: str, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{environment['ZENML_STORE_URL']}/api/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {environment['ZENML_STORE_API_TOKEN']}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return json.load(response)

    # A workload has the id of its run's deployment (later: snapshot); a server ignores the filter it does not know.
    query = {"deployment_id": workload_id, "snapshot_id": workload_id, "size": "1"}
    if project := environment.get("ZENML_ACTIVE_PROJECT_ID"):
        query["project"] = project
    run_id = call("GET", f"runs?{urllib.parse.urlencode(query)}", None)["items"][0]["id"]
    set_status(call, run_id, "running")
    time.sleep(seconds)
    set_status(call, run_id, "completed")
