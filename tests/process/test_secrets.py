"""No secret, given in whatever way, is in logs, journal, answers, command lines or tracebacks of the real program."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
from standin.proxies import front
from standin.server import API_KEY, EXPIRED, Arrival, Fault, StandIn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.server import ZenMLServer

ZENDAEMON = Path(sys.executable).with_name("zendaemon")
PATIENCE = 60.0
PATHS = ("/", "/schedules/often", "/timeline", "/reloads", "/metrics", "/api/v1/status", "/healthz")
REFUSED = (
    ("GET", "/api/v1/schedules/x", {}, 404),
    ("GET", "/api/v1/fires?limit=x", {}, 422),
    ("GET", "/", {"Host": "evil.example"}, 421),
    ("POST", "/api/v1/reload", {"Origin": "http://evil.example"}, 403),
)
WAYS = ("environment", "of ZenML", "file", "credential", "settings file")
AT_ONCE = 4
CRASHES = '''
"""Breaks the program where secrets are at hand, for the sake of its tracebacks; Python imports this at its start."""
import asyncio, os
from zendaemon.engine import Engine
from zendaemon.zenml.auth import Auth
from zendaemon.zenml.client import ZenML

async def start(self, *arguments):
    access = await self._auth.access()
    token = access.token.reveal()
    raise RuntimeError("forced in start")

def form(self, form=Auth._form):
    secret = form(self)
    raise RuntimeError("forced in login")

async def run(self, run=Engine.run):
    await asyncio.sleep(2.5)
    raise RuntimeError("forced in the engine")

match os.environ["CRASH"]:
    case "start": ZenML.send = start
    case "login": Auth._form = form
    case "engine": Engine.run = run
'''

FORKS = """
import json, os, sys, tempfile
from zendaemon.cli import main
done = []
for folder, environment, command in json.load(sys.stdin):
    with tempfile.TemporaryFile() as said:
        if (child := os.fork()) == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = ["zendaemon", command]
            try:
                main()
            except SystemExit as end:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(end.code or 0)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        done.append([status, said.read().decode()])
json.dump(done, sys.stdout)
"""


@dataclass
class Program:
    """zendaemon with folders and an environment of its own. `said` is all that any process of it has written."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    said: bytes = b""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "schedules").mkdir()
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "ZENDAEMON_LOG_LEVEL": "debug",
            "ZENDAEMON_STATE": str(self.folder / "state"),
            "ZENDAEMON_HTTP": "off",
            **self.environment,
        }

    def schedule(self, every: str = "1s", **target: str) -> None:
        schedules = {"often": {**target, "every": every, "retry": {"max_attempts": 9, "max_delay": "1s"}}}
        (self.folder / "schedules" / "a.yaml").write_text(json.dumps({"schedules": schedules}))

    def give(self, name: str, value: str, way: str) -> None:
        """A secret in one of WAYS."""
        file = self.folder / f"zendaemon.{name}"
        match way:
            case "environment":
                self.environment[f"ZENDAEMON_{name.upper()}"] = value
            case "of ZenML":
                self.environment[f"ZENML_STORE_{'API_TOKEN' if name == 'token' else name.upper()}"] = value
            case "file":
                file.write_text(f"{value}\n")
                self.environment[f"ZENDAEMON_{name.upper()}_FILE"] = str(file)
            case "credential":
                file.write_text(value)
                self.environment["CREDENTIALS_DIRECTORY"] = str(self.folder)
            case "settings file":
                file.write_text(f"{name} = {json.dumps(value)}\n")
                self.environment["ZENDAEMON_CONFIG"] = str(file)
            case _:
                raise AssertionError(way)

    async def command(self, *arguments: str) -> tuple[int, str]:
        """The exit status of a command and what it wrote."""
        process = await self._spawn(*arguments)
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
        self.said += out
        return process.returncode or 0, out.decode()

    async def run(
        self, until: Callable[[], bool], *commands: tuple[str, ...], visit: Callable[[], Awaitable[None]] | None = None
    ) -> int:
        """Run the daemon until that or its end, give it these commands and a visit, and end it; its exit status."""
        process = await self._spawn("run")
        reader = asyncio.create_task(self._read(process))
        try:
            async with asyncio.timeout(PATIENCE):
                while process.returncode is None and not until():  # noqa: ASYNC110 - another process is waited for
                    await asyncio.sleep(0.05)
            if process.returncode is None:
                self.said += Path(f"/proc/{process.pid}/cmdline").read_bytes()  # noqa: ASYNC240
                for command in commands:
                    await self.command(*command)
                if visit is not None:
                    await visit()
                process.terminate()
            async with asyncio.timeout(PATIENCE):
                return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            await reader
            for file in sorted((self.folder / "state").glob("*")):
                if file.is_file():
                    self.said += file.read_bytes()

    async def _spawn(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            ZENDAEMON,
            *arguments,
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        while piece := await process.stdout.read(65_536):
            self.said += piece

    def has_said(self, text: str) -> Callable[[], bool]:
        return lambda: text.encode() in self.said

    def hides(self, *secrets: str) -> None:
        """Assert that no secret has been said, and no token."""
        assert self.said
        for secret in secrets:
            assert len(secret) > 6
            assert secret.encode() not in self.said, f"{secret} in {self.said.decode(errors='replace')}"
        assert not re.search(rb"eyJ[\w-]{10}|ZENKEY_\w", self.said), self.said.decode(errors="replace")


async def all_of(*programs: Awaitable[Program]) -> list[Program]:
    """The results, at most AT_ONCE at a time; the first that fails ends the others."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(program: Awaitable[Program]) -> Program:
        async with at_once:
            return await program

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(program)) for program in programs]
    return [task.result() for task in tasks]


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Program]:
    """`program(**environment)`: another one."""

    def make(**environment: str) -> Program:
        return Program(tmp_path / uuid4().hex[:8], environment)

    return make


def user(server: ZenMLServer, servers: ServerPool) -> tuple[str, str]:
    """The name and password of a new user of a real server."""
    name, password = f"user-{uuid4().hex[:8]}", f"passw0rd-{uuid4().hex}"
    body = {"name": name, "password": password, "active": True, "is_admin": True}
    servers.seeder(server).call("POST", "users", body)
    return name, password


def token(server: ZenMLServer) -> str:
    """An access token of a real server."""
    form = {"username": "default", "password": ""}
    answer = httpx.post(f"{server.url}/api/v1/login", data=form, trust_env=False)
    text: str = answer.json()["access_token"]
    assert text.startswith("eyJ")
    return text


class AnyLogin(StandIn):
    """Takes whatever it is given, and keeps it: the forms of logins, and every token."""

    def _login(self, arrival: Arrival) -> tuple[int, object]:  # noqa: ARG002
        token = uuid4().hex
        self._tokens.add(token)
        return 200, {"access_token": token, "token_type": "bearer", "expires_in": 3600}


SECRETS = {"api_key": f"k3y-{uuid4().hex}", "token": f"t0ken-{uuid4().hex}", "password": f"passw0rd-{uuid4().hex}"}


async def test_every_secret_in_every_way(program: Callable[..., Program]) -> None:
    """They look like no key or token, so that only not saying them hides them."""
    async with AnyLogin() as standin:
        standin._tokens.add(SECRETS["token"])

        async def fire(kind: str, way: str) -> Program:
            given = program(ZENDAEMON_SERVER_URL=standin.url)
            given.give(kind, SECRETS[kind], way)
            if kind == "password":
                given.environment["ZENDAEMON_USERNAME"] = "somebody"
            given.schedule(snapshot="training-prod")
            assert await given.run(given.has_said("fire.started")) == 0, given.said
            return given

        programs = await all_of(*(fire(kind, way) for kind in SECRETS for way in WAYS))
        received = b"".join(arrival.body for arrival in standin.arrivals if arrival.path.endswith("/login")).decode()
        assert received.count(SECRETS["api_key"]) == received.count(SECRETS["password"]) == len(WAYS)
        for given in programs:
            given.hides(*SECRETS.values(), *standin._tokens)


async def test_the_token_of_the_http_api(program: Callable[..., Program]) -> None:
    """Given in every way, used rightly and wrongly, and guessed: whatever is answered, and whatever is logged."""
    secret, guess = f"http-t0ken-{uuid4().hex}", f"a-guess-{uuid4().hex}"

    async def serve(way: str, standin: StandIn) -> Program:
        given = program(ZENDAEMON_SERVER_URL=standin.url, ZENDAEMON_API_KEY=API_KEY, ZENDAEMON_HTTP="127.0.0.1:0")
        given.give("http_token", secret, way)
        given.schedule(snapshot="training-prod")

        async def visit() -> None:
            url = re.findall(rb'"url": "([^"]+)", "event": "http.listening"', given.said)[0].decode()
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:

                async def ask(method: str, path: str, status: int, **headers: str) -> None:
                    answer = await client.request(method, path, headers=headers)
                    assert answer.status_code == status, answer.text
                    given.said += repr(answer.headers.multi_items()).encode() + answer.content

                right = f"Bearer {secret}"
                for path in (
                    "/",
                    "/schedules/often",
                    "/timeline",
                    "/reloads",
                    "/metrics",
                    "/api/v1/status",
                    "/healthz",
                ):
                    await ask("GET", path, 200, Authorization=right)
                    await ask("GET", f"{path}?token={guess}", 422 if "api" in path else 200)
                await ask("POST", "/api/v1/reload", 200, Authorization=right)
                for method, path, headers, status in REFUSED:
                    await ask(method, path, status, Authorization=right, **headers)
                (given.folder / "schedules" / "bad.yaml").write_text("no: schedules\n")
                await ask("POST", "/api/v1/reload", 409, Authorization=right)
                for header in (f"Bearer {guess}", f"Basic {guess}", guess, f"Bearer {secret}{guess}"):
                    await ask("POST", "/api/v1/reload", 401, Authorization=header)
                for _ in range(7):
                    await client.post("/api/v1/reload", headers={"Authorization": f"Bearer {guess}"})
                await ask("POST", "/api/v1/reload", 429, Authorization=right)

        shown = [("status", "--json"), ("history", "--json")]
        assert await given.run(given.has_said("fire.started"), *shown, visit=visit) == 0, given.said
        assert given.said.count(b'"http.refused"') == 1, "once a minute"
        return given

    async with StandIn() as standin:
        ways = ("environment", "file", "credential", "settings file")
        programs = await all_of(*(serve(way, standin) for way in ways))
        for given in programs:
            given.hides(secret, guess, API_KEY, *standin._tokens)


async def test_every_secret_at_a_real_server(
    program: Callable[..., Program], servers: ServerPool, unique_name: str
) -> None:
    """Its own keys and the tokens that it issues, which are caught on the way."""
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    seeder.runnable(unique_name)
    name, password = user(server, servers)
    secrets = {"api_key": seeder.service_account(), "token": token(server), "password": password}
    assert secrets["api_key"].startswith("ZENKEY_")
    sent: list[bytes] = []

    def listen(piece: bytes) -> bool:
        sent.append(piece)
        return False

    async with front(server.port, cut=listen) as port:

        async def fire(kind: str, way: str) -> Program:
            given = program(ZENDAEMON_SERVER_URL=f"http://127.0.0.1:{port}")
            given.give(kind, secrets[kind], way)
            if kind == "password":
                given.environment["ZENDAEMON_USERNAME"] = name
            given.schedule("4s", snapshot=f"{unique_name}-prod")
            shown = [("status", "--json"), ("history", "--json"), ("resolve", "--json")]
            assert await given.run(given.has_said("fire.started"), *shown) == 0, given.said
            return given

        ways = ("credential", "environment", "settings file")
        programs = await all_of(*map(fire, secrets, ways))
    tokens = {found.decode() for found in re.findall(rb"(?i)authorization: bearer (\S+)", b"".join(sent))}
    assert secrets["token"] in tokens
    assert len(tokens) >= 3
    for given in programs:
        given.hides(*secrets.values(), *tokens)


REPEATING = {
    "wrong key": Fault(401, {"detail": ["CredentialsNotValid", f"Authentication error: bad key {API_KEY}"]}),
    "500": Fault(500, {"detail": ["RuntimeError", f"Traceback ... login(password='{API_KEY}')"]}),
    "not JSON": Fault(502, f"Bad gateway for POST password={API_KEY}"),
    "no token": Fault(200, {"password": API_KEY}),
}


async def test_failing_logins_whose_answers_repeat_the_key(program: Callable[..., Program]) -> None:
    async def fail(fault: Fault) -> Program:
        async with StandIn() as standin:
            given = program(ZENDAEMON_SERVER_URL=standin.url, ZENDAEMON_API_KEY=API_KEY)
            given.schedule(snapshot="training-prod")
            standin.logins.extend([fault] * 99)
            status, said = await given.command("resolve", "--json")
            assert (status, "***" in said or fault.status == 200) == (1, True), said
            commands = [("status", "--json"), ("history", "--json")] if fault.status == 401 else []
            failed = partial(re.search, rb'(?s)daemon\.ready.*"error"')
            assert await given.run(lambda: failed(given.said) is not None, *commands) == 0
            return given

    for given in await all_of(*map(fail, REPEATING.values())):
        given.hides(API_KEY)


async def test_a_start_that_is_refused_repeating_the_token(program: Callable[..., Program]) -> None:
    """Also an expired token, one that is renewed, and a 500 that shows the server's memory."""
    async with StandIn() as standin:
        given = program(ZENDAEMON_SERVER_URL=standin.url, ZENDAEMON_API_KEY=API_KEY, ZENDAEMON_SETTLE_AFTER="1s")
        given.schedule(snapshot="training-prod")
        standin.script(EXPIRED)

        def more() -> bool:
            renewed = len(standin._tokens) == 2
            if renewed and len(standin.starts) == 2 and not standin.faults:
                headers = f"headers: {standin.starts[-1].headers['authorization']} {API_KEY}"
                standin.script(*(Fault(status, {"detail": ["RuntimeError", headers]}) for status in (400, 500, 422)))
            return len(standin.starts) > 5 and given.said.count(b"fire.failed") >= 2

        assert await given.run(more, ("status", "--json"), ("history", "--json")) == 0
        assert b"headers: Bearer *** ***" in given.said
        given.hides(API_KEY, *standin._tokens)


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    ("crash", "status"), [("start", 0), ("login", 0), ("engine", 1)], ids=["in a start", "in a login", "of the engine"]
)
async def test_a_crash(program: Callable[..., Program], crash: str, status: int, log_format: str) -> None:
    """The traceback has frames whose locals are the secrets; asyncio's debug mode shows what it can, too."""
    async with StandIn() as standin:
        given = program(ZENDAEMON_SERVER_URL=standin.url, ZENDAEMON_LOG_FORMAT=log_format, CRASH=crash)
        given.give("api_key", API_KEY, "file")
        given.environment |= {"PYTHONPATH": str(given.folder), "PYTHONASYNCIODEBUG": "1", "PYTHONFAULTHANDLER": "1"}
        (given.folder / "sitecustomize.py").write_text(CRASHES)
        given.schedule(snapshot="training-prod")
        forced = given.has_said("RuntimeError: forced in")
        assert await given.run(lambda: crash != "engine" and forced()) == status
        assert forced()
        assert b"Traceback" in given.said
        given.hides(API_KEY, *standin._tokens)


SECRET = "pass-w0rd-of-the-tests"
WRONG: dict[str, dict[str, str]] = {
    "a password in the server's URL": {"ZENDAEMON_SERVER_URL": f"https://user:{SECRET}@127.0.0.1:9"},
    "a password in ZenML's URL": {"ZENML_STORE_URL": f"https://user:{SECRET}@127.0.0.1:9"},
    "a user alone in the URL": {"ZENDAEMON_SERVER_URL": f"https://{SECRET}@127.0.0.1:9"},
    "a password in a URL that is none": {"ZENDAEMON_SERVER_URL": f"https://user:{SECRET}@a b"},
    "a token in the URL's query": {"ZENDAEMON_SERVER_URL": f"https://127.0.0.1:9/?token={SECRET}"},
    "a key and its file": {"ZENDAEMON_API_KEY": SECRET, "ZENDAEMON_API_KEY_FILE": "key"},
    "a key in place of its file": {"ZENDAEMON_API_KEY_FILE": SECRET},
    "a token in place of its file": {"ZENDAEMON_TOKEN_FILE": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.x/y"},
    "a key of two lines": {"ZENDAEMON_API_KEY": f"{SECRET}\n{SECRET}"},
    "a password in the database's URL": {"ZENDAEMON_DATABASE_URL": f"postgresql://user:{SECRET}@127.0.0.1:9/db"},
    "a database's URL that is none": {"ZENDAEMON_DATABASE_URL": f"user:{SECRET}@127.0.0.1"},
    "a misspelt variable": {"ZENDAEMON_API_KAY": SECRET},
    "an HTTP token and its file": {"ZENDAEMON_HTTP_TOKEN": SECRET, "ZENDAEMON_HTTP_TOKEN_FILE": "key"},
    "an HTTP token in place of its file": {"ZENDAEMON_HTTP_TOKEN_FILE": SECRET},
    "an HTTP token that is too short": {"ZENDAEMON_HTTP_TOKEN": SECRET[:15]},
    "an HTTP token of two lines": {"ZENDAEMON_HTTP_TOKEN": f"{SECRET}\n{SECRET}"},
    "an HTTP token that is no ASCII": {"ZENDAEMON_HTTP_TOKEN": f"{SECRET}é"},
    "a key as a log level": {"ZENDAEMON_LOG_LEVEL": SECRET},
    "a proxy's password": {"ZENDAEMON_API_KEY": SECRET, "HTTP_PROXY": f"http://user:{SECRET}@127.0.0.1:9"},
}


def test_wrong_settings(program: Callable[..., Program]) -> None:
    """What is wrong is said without what was given, by every command that reads it."""
    cases = []
    for environment in WRONG.values():
        given = program(**{"ZENDAEMON_SERVER_URL": "http://127.0.0.1:9"} | environment)
        if "ZENML_STORE_URL" in environment:
            del given.environment["ZENDAEMON_SERVER_URL"]
        if not any("KEY" in name or name.startswith("ZENDAEMON_TOKEN") for name in environment):
            given.environment["ZENDAEMON_API_KEY"] = "another"
        given.schedule(snapshot="training-prod")
        cases.append(given)
    run_each(cases, "resolve", {1, 2})
    urls = [
        given
        for given in cases
        if any("URL" in name and SECRET in given.environment[name] for name in given.environment)
    ]
    assert len(urls) == 7
    run_each(urls, "run", {2})
    tokens = [given for given in cases if any("HTTP_TOKEN" in name for name in given.environment)]
    assert len(tokens) == 5
    run_each(tokens, "run", {2})
    for given in cases:
        given.hides(SECRET[:15])


TOML = {
    "no TOML": f"api_key = {SECRET}",
    "not ended": f'api_key = "{SECRET}',
    "a list": f'api_key = ["{SECRET}"]',
    "a table": f'[api_key]\nvalue = "{SECRET}"',
    "misspelt": f'api_kay = "{SECRET}"',
    "not UTF-8": f'api_key = "{SECRET}\udcff"',
    "a password in the URL": f'server_url = "http://user:{SECRET}@127.0.0.1:9"\napi_key = "{SECRET}"',
}


def test_a_wrong_settings_file(program: Callable[..., Program]) -> None:
    cases = []
    for text in TOML.values():
        given = program()
        file = given.folder / "zendaemon.toml"
        file.write_bytes(text.encode(errors="surrogateescape"))
        given.environment["ZENDAEMON_CONFIG"] = str(file)
        given.schedule(snapshot="training-prod")
        cases.append(given)
    run_each(cases, "resolve", {2})
    for given in cases:
        given.hides(SECRET)


def run_each(programs: list[Program], command: str, statuses: set[int]) -> None:
    """Run a command in each, as the console script would; a process each, but the imports are done once."""
    cases = [[str(given.folder), given.environment, command] for given in programs]
    done = subprocess.run(
        [sys.executable, "-c", FORKS], input=json.dumps(cases), capture_output=True, text=True, check=True
    )
    for given, (status, said) in zip(programs, json.loads(done.stdout), strict=True):
        assert os.waitstatus_to_exitcode(status) in statuses, said
        assert "Traceback" not in said
        given.said += said.encode()
