"""Celery's beat and worker with one httpx client for each worker process, over a broker in the file system."""

import os
from pathlib import Path

import httpx
from celery import Celery
from celery.schedules import crontab

URL, HOME = os.environ["BENCH_URL"], Path(os.environ["BENCH_HOME"])
HOUR, MINUTE, COUNT = (int(os.environ[f"BENCH_{name}"]) for name in ("HOUR", "MINUTE", "COUNT"))

folders = {name: str(HOME / name) for name in ("in", "processed", "control")}
for folder in folders.values():
    Path(folder).mkdir(parents=True, exist_ok=True)

app = Celery("bench", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": folders["in"],
    "data_folder_out": folders["in"],
    "processed_folder": folders["processed"],
    "control_folder": folders["control"],
}
app.conf.task_ignore_result = True
app.conf.timezone = "UTC"
app.conf.beat_schedule_filename = str(HOME / "beat")
app.conf.beat_schedule = {
    f"run-{n}": {"task": "start", "schedule": crontab(hour=HOUR, minute=MINUTE), "args": (f"run-{n}",)}
    for n in range(COUNT)
}

client = httpx.Client(base_url=f"{URL}/api/v1", timeout=60)
token = client.post("/login", data={"username": "default", "password": ""}).json()["access_token"]
client.headers["Authorization"] = f"Bearer {token}"
target = client.get("/pipeline_snapshots").json()["items"][0]["id"]


@app.task(name="start")
def start(name: str) -> None:
    body = {"run_configuration": {"run_name": name, "enable_cache": False}}
    client.post(f"/pipeline_snapshots/{target}/runs", json=body)
