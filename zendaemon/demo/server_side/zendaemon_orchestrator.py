"""An orchestrator that the server can ask to stop a run: as good as a remote one, but nothing is behind it.

Loaded by the ZenML server (0.85 and later), which stops runs through it: it may import only the standard library and
zenml. What it does is read from the file that the workload manager beside it reads:

- `stop_seconds`: how long the steps of a run go on after it was stopped; null: the orchestrator fails to stop it.
"""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from zenml.client import Client  # type: ignore[import-not-found] # not in our environment
from zenml.enums import ExecutionStatus  # type: ignore[import-not-found]
from zenml.models import StepRunUpdate  # type: ignore[import-not-found]
from zenml.orchestrators import (  # type: ignore[import-not-found]
    BaseOrchestrator,
    BaseOrchestratorConfig,
    BaseOrchestratorFlavor,
)


class DemoOrchestratorConfig(BaseOrchestratorConfig):  # type: ignore[misc]
    """Nothing to configure."""

    @property
    def is_remote(self) -> bool:
        """Else the server would not start runs on it."""
        return True


class DemoOrchestrator(BaseOrchestrator):  # type: ignore[misc]
    """The server marks a run as `stopping` before it comes here, and as `stopped` once each of its steps has ended."""

    def get_orchestrator_run_id(self) -> str:
        """Asked by the code of a step while it runs; nothing of these runs is ever run."""
        raise RuntimeError("the demo's orchestrator runs no code that could ask for its run's id")

    def _stop_run(self, run: Any, graceful: bool = False) -> None:  # noqa: ANN401, ARG002, FBT001, FBT002 - as zenml has it
        behaviour = json.loads(Path(os.environ["ZENDAEMON_DEMO_WORKLOAD"]).read_text(encoding="utf-8"))
        if behaviour["stop_seconds"] is None:
            raise RuntimeError("the demo's orchestrator was told to fail")
        threading.Thread(target=_stop_steps, args=[run, behaviour["stop_seconds"]], daemon=True).start()


def _stop_steps(run: Any, seconds: float) -> None:  # noqa: ANN401
    time.sleep(seconds)
    for step in Client().list_run_steps(pipeline_run_id=run.id, project=run.project_id, size=1000):
        if not step.status.is_finished:
            Client().zen_store.update_run_step(step.id, StepRunUpdate(status=ExecutionStatus.STOPPED))


class DemoOrchestratorFlavor(BaseOrchestratorFlavor):  # type: ignore[misc]
    """What the server makes of a component with this flavor."""

    @property
    def name(self) -> str:
        return "zendaemon_demo"

    @property
    def config_class(self) -> type[DemoOrchestratorConfig]:
        return DemoOrchestratorConfig

    @property
    def implementation_class(self) -> type[DemoOrchestrator]:
        return DemoOrchestrator
