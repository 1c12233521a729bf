"""APScheduler with one httpx client, as one would write it: a cron job for each schedule, all in one event loop."""

import asyncio
import json
import sys

import httpx
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger


async def main(url: str, minute: str, hour: str, count: str) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        token = (await client.post(f"{url}/api/v1/login", data={"username": "default", "password": ""})).json()
        client.headers["Authorization"] = f"Bearer {token['access_token']}"
        target = (await client.get(f"{url}/api/v1/pipeline_snapshots")).json()["items"][0]["id"]

        async def start(name: str) -> None:
            body = json.dumps({"run_configuration": {"run_name": name, "enable_cache": False}})
            await client.post(
                f"{url}/api/v1/pipeline_snapshots/{target}/runs",
                content=body,
                headers={"Content-Type": "application/json"},
            )

        scheduler = AsyncIOScheduler(job_defaults={"misfire_grace_time": None})
        for number in range(int(count)):
            scheduler.add_job(start, CronTrigger(hour=hour, minute=minute, timezone="UTC"), [f"run-{number}"])
        scheduler.start()
        print("ready", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
