"""Stands in for what ZenML Pro brings: a workload manager, so that the server can start runs.

Runs inside the ZenML server's process: it may import only the standard library and zenml. What it does is read at each
start from the JSON file that `$ZENDAEMON_DEMO_WORKLOAD` names, so that it can be changed while the server runs:

- `hold_seconds`: how long a start keeps its slot,
- `fail_starts`: every start fails, and the run with it,
- `run_seconds`: how long a run is `running` before it is `completed`; null leaves it `initializing`.

The orchestrator beside this reads one more.
"""

import importlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import zendaemon_runs  # type: ignore[import-not-found] # its folder is the PYTHONPATH

HOMES = ("pipeline_execution", "template_execution", "pipeline_deployment")  # newest first


def _interface() -> Any:  # noqa: ANN401 - a class of one of many versions of ZenML
    for home in HOMES:
        try:
            module = importlib.import_module(f"zenml.zen_server.{home}.workload_manager_interface")
        except ModuleNotFoundError:
            continue
        return module.WorkloadManagerInterface
    raise RuntimeError("this version of ZenML has no workload manager")


class DemoWorkloadManager:
    """Accepts every run; what happens then is up to the settings above."""

    def build_and_push_image(self, *_args: Any, **_kwargs: Any) -> str:  # noqa: ANN401
        return "demo"

    def run(self, workload_id: object, *_args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        behaviour = json.loads(Path(os.environ["ZENDAEMON_DEMO_WORKLOAD"]).read_text(encoding="utf-8"))
        time.sleep(behaviour["hold_seconds"])
        if behaviour["fail_starts"]:
            raise RuntimeError("the demo's workload manager was told to fail")
        if behaviour["run_seconds"] is not None:
            arguments = [str(workload_id), kwargs["environment"], behaviour["run_seconds"]]
            threading.Thread(target=zendaemon_runs.play, args=arguments, daemon=True).start()

    def delete_workload(self, workload_id: object) -> None:
        """Nothing is kept."""

    def get_logs(self, workload_id: object) -> str:
        return f"demo workload {workload_id}"

    def log(self, workload_id: object, message: str) -> None:
        """Nothing is kept."""


_interface().register(DemoWorkloadManager)
