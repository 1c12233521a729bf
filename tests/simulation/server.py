"""A ZenML server in simulated time: what zenml-api.md says of each generation, and what goes wrong on the way to it.

The shapes of its answers are the stand-in's, which a contract test holds against the real servers. Here a start takes
time: it is checked, its row is made, it waits for a slot, and is answered; and each of these moments can be too late.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.utils import format_datetime
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import httpx
from standin.server import Arrival, StandIn, one_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping

    from simulation.loop import SimLoop
    from simulation.world import World

Json = dict[str, Any]
Answer = tuple[int, Any]
SLOTS = 2
_ACTIVE = ("initializing", "running", "stopping")
CUT: Answer = (0, None)
"""No answer: the connection ends."""
FOREIGN = "foreign"
"""The pipeline of runs that somebody else made."""


@dataclass(slots=True)
class Made:
    """A run that was ever made. Instants are seconds of the world; `taken_back` for want of a slot, `deleted` when."""

    id: str
    name: str
    at: float
    row: Json
    foreign: bool = False
    alike: bool = False
    """Somebody else's, and of the same pipeline."""
    taken_back: bool = False
    deleted: float = inf
    course: list[tuple[float, str]] = field(default_factory=list)
    taken: float = 0.0
    """From when on an orchestrator has it, and it can be stopped."""
    stops: str = "well"
    """What comes of having it stopped; or that it hangs, or is refused, and is `stopping` for ever."""

    def status(self, now: float) -> str:
        return next((status for at, status in reversed(self.course) if at <= now), "initializing")

    def active(self, now: float) -> bool:
        return self.status(now) in _ACTIVE and now < self.deleted and not self.taken_back

    @property
    def ended(self) -> float:
        """When it was not active any more."""
        ends = (at for at, status in self.course if status not in _ACTIVE)
        return self.at if self.taken_back else min(self.deleted, *ends, inf)


class SimServer(StandIn):
    """One server; `made` holds every run that it ever made, also those that are gone."""

    def __init__(self, world: World, version: str) -> None:
        super().__init__(version)
        self.world = world
        self.random: Random = world.random
        self.made: list[Made] = []
        self._by_id: dict[str, Made] = {}
        self._named: dict[str, list[Made]] = {}
        self._going: list[Made] = []
        self._omen = Random(world.scenario.seed ^ 0x0E11)  # noqa: S311 - of its own, so that it changes no other draw
        self.stopped: list[tuple[float, Made]] = []
        """Each request to stop a run that was active and could be stopped."""
        self.slots = 0
        self.skew = 0.0
        self.boots = 0
        self._replays: dict[str, tuple[float, Answer]] = {}
        self._joined: dict[str, list[Callable[[Answer], None]]] = {}

    @property
    def unique_names(self) -> bool:
        return self.version != "0.62.0"

    @property
    def now(self) -> Any:  # noqa: ANN401 - a datetime
        return self.world.instant(self.world.true + self.skew)

    def restart(self) -> None:
        """What it was at is gone, the rows stay."""
        self.slots = 0
        self.boots += 1
        self._replays.clear()
        self._joined.clear()

    def serve(self, arrival: Arrival, reply: Callable[[Answer], None]) -> None:
        """Take a request that has arrived; `reply` gets the answer when it is ready."""
        if not arrival.is_start:
            self.world.after(self.random.uniform(0.005, 0.05), lambda: reply(self._route(arrival)))
            return
        key = arrival.headers.get("idempotency-key", "")
        if self.version == "0.98.0":
            replay = self._replays.get(key)
            if replay is not None and self.world.true - replay[0] < 300:
                self.world.after(0.02, lambda: reply(replay[1]))
                return
            if key in self._joined:
                self._joined[key].append(reply)
                return
            self._joined[key] = []
        self._begin(arrival, key, reply)

    def _begin(self, arrival: Arrival, key: str, reply: Callable[[Answer], None]) -> None:
        boot = self.boots
        free = self._live(arrival.config) is None
        took = self.random.uniform(0.03, 0.4)

        def insert() -> None:
            if boot != self.boots:
                return  # it died with the server
            answer = self._insert(arrival, free=free, finish=finish)
            if answer is not None:
                finish(answer)

        def finish(answer: Answer) -> None:
            if boot != self.boots:
                return
            if answer[0] == 200 and self.version == "0.98.0":
                self._replays[key] = self.world.true, answer
            for waiting in (reply, *self._joined.pop(key, ())):
                waiting(answer)

        self.world.after(took, insert)

    def _insert(self, arrival: Arrival, *, free: bool, finish: Callable[[Answer], None]) -> Answer | None:
        """Check and make the row; None when the answer comes later, by `finish`."""
        config = arrival.config
        live = self._live(config)
        self.runs.clear()
        if live is not None and (self.unique_names or not free):
            self.runs[live.name] = live.row
        status, body = self._route(arrival)
        if status != 200:
            return status, body
        made = self._make(body)
        if self.version != "0.98.0":
            return status, json.loads(json.dumps(body))
        if self.slots >= SLOTS or self.world.chance("no slot"):
            self.world.count("429 without a slot")
            self.world.after(self.random.uniform(0.05, 1.0), lambda: self._take_back(made, finish))
            if self.world.cut():
                finish(CUT)
            return None
        self.slots += 1
        boot = self.boots
        self.world.after(self.random.uniform(1, 12), lambda: self._free(boot))
        return status, json.loads(json.dumps(body))

    def _take_back(self, made: Made, finish: Callable[[Answer], None]) -> None:
        """Whoever was cut off hears nothing of it."""
        made.taken_back = True
        text = "Maximum number of concurrent snapshot tasks reached."
        finish((429, {"detail": ["MaxConcurrentTasksError", text]}))

    def _free(self, boot: int) -> None:
        if boot == self.boots:
            self.slots -= 1

    def _make(self, row: Json, *, foreign: bool = False) -> Made:
        made = Made(row["id"], row["name"], self.world.true, row, foreign)
        begin = self.world.true + self.random.uniform(1, 30)
        end = begin + self.random.choice([5, 60, 200, 900, 5000])
        fate = self.random.random()
        if fate < 0.03:
            self.world.count("a run that hangs after a 200")
        elif fate < 0.08:
            self.world.count("a run that fails to start after a 200")
            made.course = [(begin, "failed")]
        else:
            made.course = [(begin, "running"), (end, "completed" if fate < 0.9 else "failed")]
        self._foretell(made, begin, end)
        self.made.append(made)
        self._going.append(made)
        self._by_id[made.id] = made
        self._named.setdefault(made.name, []).append(made)
        return made

    def _foretell(self, made: Made, begin: float, end: float) -> None:
        """Whether it fails because what is run is broken, and how it takes it to be stopped."""
        if not made.foreign and self._omen.random() < self.world.scenario.fails_at(schedule_of(made.name), made.at):
            self.world.count("a run that fails since what is run is broken")
            made.course = [(begin, "failed")] if self._omen.random() < 0.3 else [(begin, "running"), (end, "failed")]
        made.taken = made.at + self._omen.uniform(0, 1) * (begin - made.at)
        if self._omen.random() < 0.1 and made.course[:1] != [(begin, "running")]:
            made.taken = inf
        made.stops = self._omen.choice(("well",) * 16 + ("hangs", "hangs", "500", "501"))

    def _stop(self, run_id: str) -> Answer:
        made, now = self._by_id.get(run_id), self.world.true
        if made is None or not self._shown(made):
            return 404, {"detail": ["KeyError", f"\"Unable to get pipeline run with ID '{run_id}'\""]}
        status = made.status(now)
        refused = {
            "completed": "Cannot stop a run that is already completed.",
            "failed": "Cannot update the status of a finished run.",
            "stopped": "Run is already stopped.",
            "stopping": "Run is already being stopped.",
        }.get(status)
        if refused is None and made.taken > now:
            refused = "Cannot stop a pipeline run that has no orchestrator run id yet."
        if refused is not None:
            return 403, {"detail": ["IllegalOperationError", refused]}
        self.world.count("a run is stopped" if made.stops == "well" else f"a run that is not stopped: {made.stops}")
        self.stopped.append((now, made))
        made.course = [*((at, was) for at, was in made.course if at <= now), (now, "stopping")]
        if made.stops == "well":
            made.course.append((now + self._omen.choice([0, 5, 120]) * self._omen.random(), "stopped"))
        if made.stops == "500":
            return 500, {"detail": ["RuntimeError", "cluster unreachable"]}
        return (501, {"detail": ["NotImplementedError", "not implemented"]}) if made.stops == "501" else (200, None)

    def somebody_makes(self, name: str) -> None:
        """A run of somebody else, with a name that a fire is going to want."""
        self.runs.clear()
        row = self._row(name, status="initializing")
        alike = self.random.random() < 0.5
        if not alike:
            for part in (row["body"], row["metadata"] or {}, row["resources"] or {}):
                if "pipeline" in part:
                    part["pipeline"] = {"id": FOREIGN, "name": FOREIGN}
                if "pipeline_id" in part:
                    part["pipeline_id"] = FOREIGN
        self._make(row, foreign=True).alike = alike

    def _live(self, config: Json) -> Made | None:
        name = config.get("run_configuration", config).get("run_name")
        return next((made for made in reversed(self._named.get(str(name), ())) if self._shown(made)), None)

    @staticmethod
    def _shown(made: Made) -> bool:
        return made.deleted == inf and not made.taken_back

    def _rows(self, thing: str) -> list[Json]:
        if thing != "runs":
            return super()._rows(thing)
        return [self._row_of(made) for made in self.made if self._shown(made)]

    def _permitted(self, arrival: Arrival) -> Answer:
        """Runs by name and by id, without going through all of them."""
        path = arrival.path.removeprefix("/api/v1/").split("/")
        if arrival.method == "GET" and path == ["runs"]:
            return self._list(arrival.query)
        if arrival.method == "GET" and path[0] == "runs":
            made = self._by_id.get(path[1])
            if made is not None and self._shown(made):
                return 200, self._row_of(made)
            return 404, {"detail": ["KeyError", "\"Unable to get run with ID 'x'\""]}
        return super()._permitted(arrival)

    def _list(self, query: Mapping[str, str]) -> Answer:
        """Runs by name, by ids, or those of a pipeline that are active."""
        old = self.version == "0.62.0"
        if old and "oneof:" in query.get("id", ""):
            return 500, "Internal Server Error"
        known: Iterable[Made | None]
        if name := query.get("name"):
            known = self._named.get(name.removeprefix("equals:"), ())
        elif ids := query.get("id"):
            known = map(self._by_id.get, one_of(ids))
        else:
            self._going = [made for made in self._going if made.active(self.world.true)]
            known = reversed(self._going)
        found = [made for made in known if made is not None and self._shown(made)]
        if "pipeline_id" in query or "pipeline_name" in query:
            found = [made for made in found if made.alike or not made.foreign]
        if status := query.get("status"):
            wanted = [status] if old else one_of(status)
            found = [made for made in found if made.status(self.world.true) in wanted]
        rows = [self._row_of(made) for made in found[: int(query.get("size", 20))]]
        if query.get("hydrate") != "true":
            rows = [row | {"metadata": None} for row in rows]
        return 200, {"items": rows, "total": len(rows), "total_pages": 1}

    def _row_of(self, made: Made) -> Json:
        status, metadata = made.status(self.world.true), made.row["metadata"]
        if status not in _ACTIVE and made.ended < inf and (status != "failed" or made.stops == "well"):
            metadata = metadata | {"end_time": self._shown_time(made.ended)}  # a failed run may have none
        return made.row | {"body": made.row["body"] | {"status": status}, "metadata": metadata}

    def _shown_time(self, seconds: float) -> str:
        return str(self.world.instant(seconds + self.skew).replace(tzinfo=None).isoformat())

    def _row(self, name: str | None, row_id: str | None = None, **body: object) -> Json:
        row = super()._row(name, row_id, **body)
        row["body"]["created"] = self.now.replace(tzinfo=None).isoformat()
        if "start_time" in row["metadata"]:
            row["metadata"]["start_time"] = row["body"]["created"]
        return row


def schedule_of(name: str) -> str:
    """The schedule that a run's name begins with."""
    return name.partition("-")[0]


class SimTransport(httpx.AsyncBaseTransport):
    """The line from one process to the server. What becomes of each request is the world's to say."""

    def __init__(self, world: World, loop: SimLoop) -> None:
        self._world = world
        self._loop = loop

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        world = self._world
        arrival = Arrival(
            request.method,
            request.url.path,
            dict(parse_qsl(request.url.query.decode())),
            {name.decode().lower(): value.decode() for name, value in request.headers.raw},
            request.content,
            world.true,
        )
        future: asyncio.Future[httpx.Response] = self._loop.create_future()
        patience: float = request.extensions["timeout"]["read"]
        Passage(world, arrival, future, request).begin(patience)
        return await future


class Passage:
    """One request on its way, there and back; its process may be gone before it ends."""

    def __init__(
        self, world: World, arrival: Arrival, future: asyncio.Future[httpx.Response], request: httpx.Request
    ) -> None:
        self._world = world
        self._arrival = arrival
        self._future = future
        self._request = request
        self._process = world.process

    def begin(self, patience: float) -> None:
        world = self._world
        world.sent(self._arrival)
        self._future.add_done_callback(lambda _: world.over(self._arrival))
        world.after(patience, lambda: self._fail(httpx.ReadTimeout("timed out", request=self._request)))
        act = _FATES.get(world.fate(self._arrival), Passage._well)
        world.after(world.random.uniform(0.001, 0.03), lambda: act(self))

    def _well(self) -> None:
        self._deliver(self._back)

    def _refused(self) -> None:
        self._fail(httpx.ConnectError("refused", request=self._request))

    def _connect_timeout(self) -> None:
        self._world.after(10, lambda: self._fail(httpx.ConnectTimeout("timed out", request=self._request)))

    def _reset(self) -> None:
        self._fail(httpx.ReadError("connection reset", request=self._request))

    def _reset_after(self) -> None:
        """When it is answered, or while the server is at it still."""
        if self._arrival.is_start and self._world.adversary.random() < 0.5:
            self._world.after(self._world.adversary.uniform(0, 1.5), self._reset)
            self._withheld()
        else:
            self._deliver(lambda _: self._reset())

    def _withheld(self) -> None:
        self._deliver(lambda _: None)

    def _lost_and_late(self) -> None:
        """It is under way still, no longer than the daemon waits for such (`settle_after`)."""
        late = self._world.random.uniform(0.2, self._world.settle_after - 5)
        if self._world.adversary.random() < 0.5:
            self._world.hold_up(self._arrival, late, self._withheld)
        else:
            self._world.after(late, self._withheld)
        self._reset()

    def _slow(self) -> None:
        self._world.after(self._world.random.uniform(1, 50), self._well)

    def _duplicated(self) -> None:
        """Something on the way sends it again, late; only what made a run, since the server would take the other."""

        def again(answer: Answer) -> None:
            self._back(answer)
            if answer[0] == 200:
                self._world.after(self._world.random.choice([3, 60, 400, 5000]), self._withheld)

        self._deliver(again)

    def _error(self) -> None:
        self._back((500, {"detail": ["RuntimeError", "QueuePool limit of size 5 overflow 10 reached"]}))

    def _error_after(self) -> None:
        self._deliver(lambda _: self._back((500, {"detail": "no answer"})))

    def _down(self) -> None:
        self._back((503, "<html><title>Down</title></html>"), str(self._world.random.choice([1, 5, 30])))

    def _too_busy(self) -> None:
        self._withheld()
        self._world.after(20, lambda: self._back((429, {"error": "Server too busy. Please try again later."})))

    def _no_slot(self) -> None:
        self._back((429, {"detail": ["MaxConcurrentTasksError", "Maximum number reached."]}), "7")

    def _token_expired(self) -> None:
        self._world.server.expire_tokens()
        self._well()

    def _half_an_answer(self) -> None:
        self._deliver(lambda _: self._back((200, '{"id": "')))

    def _page(self) -> None:
        self._back((200, "<html><title>Maintenance</title></html>"))

    def _redirect(self) -> None:
        self._back((302, "<html><title>Maintenance</title></html>"))

    def _deliver(self, reply: Callable[[Answer], None]) -> None:
        self._world.arrived(self._arrival)
        boot = self._world.server.boots
        self._world.server.serve(self._arrival, lambda answer: self._answered(answer, reply, boot))

    def _answered(self, answer: Answer, reply: Callable[[Answer], None], boot: int) -> None:
        if answer is CUT:
            self._reset()
        elif boot == self._world.server.boots:
            self._world.after(self._world.random.uniform(0.001, 0.03), lambda: reply(answer))

    def _back(self, answer: Answer, retry_after: str | None = None) -> None:
        if not self._here:
            return
        status, body = answer
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if text.startswith("<") else "application/json"
        headers = {"content-type": kind, "date": format_datetime(self._world.server.now, usegmt=True)}
        if retry_after:
            headers["retry-after"] = retry_after
        self._world.told(self._arrival, status, body)
        self._future.set_result(httpx.Response(status, content=text.encode(), headers=headers))
        self._world.received(self._arrival)

    def _fail(self, error: Exception) -> None:
        if self._here:
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                self._world.told(self._arrival, None, None)
            self._future.set_exception(error)
            self._world.received(self._arrival)

    @property
    def _here(self) -> bool:
        return self._process is self._world.process and not self._future.done()


_FATES: dict[str, Callable[[Passage], None]] = {
    "refused": Passage._refused,
    "connect timeout": Passage._connect_timeout,
    "lost before": Passage._reset,
    "lost after": Passage._reset_after,
    "answer withheld": Passage._withheld,
    "lost, and late": Passage._lost_and_late,
    "slow": Passage._slow,
    "duplicated": Passage._duplicated,
    "500": Passage._error,
    "500 after": Passage._error_after,
    "503": Passage._down,
    "429 too busy": Passage._too_busy,
    "429 with Retry-After": Passage._no_slot,
    "token expired": Passage._token_expired,
    "half an answer": Passage._half_an_answer,
    "HTML": Passage._page,
    "redirect": Passage._redirect,
}
