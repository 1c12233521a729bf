"""A ZenML server that answers at once: what a client can do is measured, not what a server can.

`python bench/server.py [--latency SECONDS] [--version VERSION] [--status STATUS]` prints its port. Starts are answered
from a template, by a protocol without streams or parser; everything else by the tests' stand-in. A run is found
whatever its id, and has STATUS. `GET /arrivals` gives the wall time and the name of every start since it was last
asked, as JSON; `GET /asked` what was asked of runs: lists, single ones, rows and bytes of the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qsl

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from standin.server import Arrival, StandIn

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NAME = re.compile(rb'"run_name": ?"([^"]*)"')
_DATE = b"Mon, 23 Nov 2026 02:00:00 GMT"


def encoded(status: int, body: bytes) -> bytes:
    now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()
    head = b"HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\nDate: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (status, now, len(body)) + body


class Recorder:
    """The starts so far, and the answer to one. It keeps no rows: a look-up by name or id always finds."""

    def __init__(self, version: str, latency: float, status: str) -> None:
        self.latency = latency
        self.status = status
        self.asked = Counter[str]()
        self.arrivals: list[tuple[float, str]] = []
        self.standin = StandIn(version)
        self.standin.run_status = "completed"
        row = json.dumps(self.standin._row("NAME", "00000000-0000-0000-0000-000000000000", status="completed"))  # noqa: SLF001
        self.parts = row.encode().split(b"NAME")
        self.number = 0

    def start(self, body: bytes) -> bytes:
        found = _NAME.search(body)
        name = found[1] if found else b""
        self.arrivals.append((time.time(), name.decode()))
        self.number += 1
        row = name.join(self.parts).replace(b"-000000000000", b"-%012d" % self.number, 1)
        return encoded(200, row)

    async def other(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        if target == "/arrivals":
            found, self.arrivals = self.arrivals, []
            return encoded(200, json.dumps(found).encode())
        if target == "/asked":
            asked, self.asked = self.asked, Counter()
            return encoded(200, json.dumps(asked).encode())
        path, _, query = target.partition("?")
        fields = dict(parse_qsl(query))
        if path.startswith("/api/v1/runs/"):
            return self.told("single", [path.rpartition("/")[2]])
        if path == "/api/v1/runs" and fields.get("id", "").startswith("oneof:") and self.standin.version != "0.62.0":
            return self.told("lists", json.loads(fields["id"].removeprefix("oneof:")))
        arrival = Arrival(method, path, fields, headers, body, 0.0)
        status, answer = self.standin._route(arrival)  # noqa: SLF001
        return encoded(status, json.dumps(answer).encode())

    def told(self, kind: str, ids: list[str]) -> bytes:
        rows = [self.standin._row(f"run-{row_id}", row_id, status=self.status) for row_id in ids]  # noqa: SLF001
        page = {"items": [row | {"metadata": None} for row in rows], "total": len(rows), "total_pages": 1}
        answer = encoded(200, json.dumps(page if kind == "lists" else rows[0]).encode())
        self.asked.update({kind: 1, "rows": len(rows), "bytes": len(answer)})
        return answer


class Connection(asyncio.Protocol):
    """One connection; requests may come in pieces, and one after the other."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            found = _LENGTH.search(head)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        line = head[: head.index(b"\r\n")]
        if line.startswith(b"POST") and line.endswith(b"/runs HTTP/1.1"):
            answer = self.recorder.start(body)
            if self.recorder.latency:
                asyncio.get_running_loop().call_later(self.recorder.latency, self.transport.write, answer)
            else:
                self.transport.write(answer)
            return
        method, target, _ = line.decode().split(" ")
        lines = head.decode("latin-1").split("\r\n")[1:]
        headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
        asyncio.ensure_future(self.later(method, target, headers, body))  # noqa: RUF006

    async def later(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.transport.write(await self.recorder.other(method, target, headers, body))


async def serve(version: str, latency: float, status: str) -> None:
    recorder = Recorder(version, latency, status)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(recorder), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    gc.disable()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--version", default="0.98.0")
    parser.add_argument("--status", default="completed")
    given = parser.parse_args()
    asyncio.run(serve(given.version, given.latency, given.status))
