"""The limit: a loop that knows what to send beforehand, waits for the instant, sends, and keeps nothing."""

import asyncio
import json
import sys
import time

import aiohttp

AT_ONCE = 16


async def main(url: str, at: str, count: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        login = await session.post(f"{url}/api/v1/login", data={"username": "default", "password": ""})
        headers = {
            "Authorization": f"Bearer {(await login.json())['access_token']}",
            "Content-Type": "application/json",
        }
        page = await (await session.get(f"{url}/api/v1/pipeline_snapshots", headers=headers)).json()
        route = f"{url}/api/v1/pipeline_snapshots/{page['items'][0]['id']}/runs"
        bodies = (json.dumps({"run_configuration": {"run_name": f"run-{n}"}}).encode() for n in range(int(count)))

        async def send() -> None:
            for body in bodies:
                async with session.post(route, data=body, headers=headers) as answer:
                    await answer.read()

        print("ready", flush=True)
        await asyncio.sleep(float(at) - time.time())
        await asyncio.gather(*(send() for _ in range(AT_ONCE)))
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
