"""Does what a pipeline's own containers would: reports a run and its steps as running and completed.

Used inside the ZenML server's process by the workload manager, and outside by the seeder: it may import only the
standard library.
"""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

Call = Callable[[str, str, object], Any]
"""(method, path below /api/v1, JSON body or None) -> JSON"""

FINISHED = {"completed", "failed", "cached", "stopped", "cancelled"}
UNTAKEN = {"initializing", "provisioning"}


def set_status(call: Call, run_id: str, status: str) -> None:
    """Move a run to this status, and its steps before it: that is how servers from 0.75 on tell what a run has come to.

    A run that is set to `failed` before it was `running` has no steps, and no end (on the newest servers). Servers from
    0.85 on say `stopped` themselves, once a run is `stopping` and none of its steps goes on.
    """
    run = call("GET", f"runs/{run_id}", None)
    if run["body"]["status"] in UNTAKEN:  # without this id, which comes from the orchestrator, no run can be stopped
        call("PUT", f"runs/{run_id}", {"orchestrator_run_id": run_id})
    match status:
        case "running" | "stopping":
            _move_steps(call, run, "running", step_configurations(call, run))
        case "completed":
            _move_steps(call, run, status, step_configurations(call, run))
        case "failed":
            _move_steps(call, run, status)
    ended = {"end_time": _now()} if status in FINISHED else {}
    call("PUT", f"runs/{run_id}", {"status": "stopping" if status == "stopped" else status, **ended})
    if status == "stopped":
        _move_steps(call, run, status)


def step_configurations(call: Call, run: dict[str, Any]) -> dict[str, Any]:
    """The steps that a run was started with, all overrides applied, by name."""
    if deployment := run["body"].get("deployment_id"):
        origin = f"pipeline_deployments/{deployment}"
    else:
        origin = f"pipeline_snapshots/{run['resources']['snapshot']['id']}"
    steps: dict[str, Any] = call("GET", origin, None)["metadata"]["step_configurations"]
    return steps


def _move_steps(call: Call, run: dict[str, Any], status: str, wanted: Iterable[str] = ()) -> None:
    """Move the steps that have not ended, and create those that are `wanted` and missing."""
    query = {"pipeline_run_id": run["id"], "size": "1000", "project": run["body"].get("project_id") or ""}
    steps = call("GET", f"steps?{urllib.parse.urlencode({k: v for k, v in query.items() if v})}", None)["items"]
    ended = {"end_time": _now()} if status in FINISHED else {}
    for step in steps:
        if step["body"]["status"] not in {status, *FINISHED}:
            call("PUT", f"steps/{step['id']}", {"status": status, **ended})
    for name in set(wanted) - {step["name"] for step in steps}:
        call("POST", "steps", {**_step_run(run, name), "status": status, **ended})


def _step_run(run: dict[str, Any], name: str) -> dict[str, Any]:
    step = {"name": name, "pipeline_run_id": run["id"], "start_time": _now()}
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
