"""Credentials and tokens: one login at a time, renewed in time, refused ones spaced, and never shown."""

from __future__ import annotations

import asyncio
import copy
import pickle
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
from standin.server import API_KEY, EXPIRED, Fault, StandIn

from zendaemon.core.errors import ServerError, SettingsError, Unauthorized, Unavailable
from zendaemon.core.run import Resolved
from zendaemon.zenml import ApiKey, Credentials, Secret, Token, UserPassword, ZenML
from zendaemon.zenml.auth import LOGIN_SPACING, Access

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

REFUSED = Fault(401, {"detail": ["CredentialsNotValid", "Authentication error: bad key"]})
LIMITED = Fault(429, {"detail": "Minute request limit exceeded."})
SECRET = "s3cr3t-of-the-tests"


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def client(url: str, credentials: Credentials, clock: Clock) -> ZenML:
    return ZenML(url, credentials, now=lambda: datetime.now(UTC), elapsed=clock, trust_env=False)


def logins(standin: StandIn) -> int:
    return sum(arrival.path == "/api/v1/login" for arrival in standin.arrivals)


async def test_one_login_however_many_wait(clock: Clock) -> None:
    async with StandIn() as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        await asyncio.gather(*(zenml.current_user() for _ in range(30)))
        assert logins(standin) == 1
        standin.expire_tokens()
        await asyncio.gather(*(zenml.current_user() for _ in range(30)))
        assert logins(standin) == 2


async def test_the_login_is_as_the_server_wants_it(clock: Clock) -> None:
    """Form-encoded, no user name beside an API key, no Origin, no cookies."""
    async with StandIn() as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        await zenml.current_user()
        login = standin.arrivals[0]
        assert login.body == f"password={API_KEY}".encode()
        assert login.headers["content-type"] == "application/x-www-form-urlencoded"
        assert not {"origin", "cookie"} & login.headers.keys()


async def test_cookies_are_not_kept(clock: Clock) -> None:
    seen: list[httpx.Headers] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        body = {"access_token": "t"} if request.url.path.endswith("login") else {}
        return httpx.Response(200, json=body, headers={"Set-Cookie": "zenml-server=t; Path=/"})

    transport = httpx.MockTransport(handle)
    now, credentials = lambda: datetime.now(UTC), ApiKey(Secret(API_KEY))
    async with ZenML("https://zenml.example.com", credentials, now=now, elapsed=clock, transport=transport) as zenml:
        await zenml.current_user()
        await zenml.current_user()
    assert len(seen) == 3
    assert all("cookie" not in headers for headers in seen)


async def test_a_token_is_renewed_before_its_end(clock: Clock) -> None:
    async with StandIn(token_life=3600) as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        await zenml.current_user()
        clock.seconds += 3539
        await zenml.current_user()
        assert logins(standin) == 1
        clock.seconds += 1
        await zenml.current_user()
        assert logins(standin) == 2


@pytest.mark.parametrize("life", [None, 0])
async def test_no_end_is_no_end(clock: Clock, life: int | None) -> None:
    """`expires_in` null is neither an error nor zero."""
    async with StandIn(token_life=life) as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        for _ in range(3):
            await zenml.current_user()
            clock.seconds += 1e9
        assert logins(standin) == 1


async def test_a_second_401_is_final(clock: Clock) -> None:
    async with StandIn() as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        await zenml.info()
        seen = len(standin.arrivals)
        standin._tokens = _NeverIn()
        with pytest.raises(Unauthorized):
            await zenml.current_user()
        assert [arrival.path.removeprefix("/api/v1/") for arrival in standin.arrivals[seen:]] == [
            "login",
            "current-user",
            "login",
            "current-user",
        ]


class _NeverIn(set[str]):
    def __contains__(self, _: object) -> bool:
        return False


@pytest.mark.parametrize("refusal", [REFUSED, LIMITED], ids=["refused", "limited"])
async def test_refused_logins_are_spaced(clock: Clock, refusal: Fault) -> None:
    async with StandIn() as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        standin.logins.extend([refusal, refusal])
        texts = set()
        for _ in range(3):
            with pytest.raises(Unauthorized) as caught:
                await zenml.current_user()
            texts.add(caught.value.message)
            clock.seconds += LOGIN_SPACING / 3 - 0.1
        assert logins(standin) == 1
        assert len(texts) == 1
        clock.seconds += 1
        with pytest.raises(Unauthorized):
            await zenml.current_user()
        assert logins(standin) == 2
        clock.seconds += LOGIN_SPACING
        await zenml.current_user()
        assert logins(standin) == 3


async def test_a_refused_login_is_shared_by_all_who_wait(clock: Clock) -> None:
    async with StandIn() as standin, client(standin.url, ApiKey(Secret("ZENKEY_wrong")), clock) as zenml:
        found = await asyncio.gather(*(zenml.current_user() for _ in range(20)), return_exceptions=True)
        assert {type(failure) for failure in found} == {Unauthorized}
        assert logins(standin) == 1


async def test_a_login_that_is_not_answered_is_tried_again_at_once(clock: Clock) -> None:
    async with StandIn() as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        standin.logins.append(Fault(503, "<html>"))
        with pytest.raises(Unavailable):
            await zenml.current_user()
        await zenml.current_user()


async def test_one_who_gives_up_does_not_spoil_it_for_the_others(clock: Clock) -> None:
    async with StandIn() as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        tasks = [asyncio.create_task(zenml.current_user()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert len(await asyncio.gather(*tasks[1:])) == 2
        assert logins(standin) == 1


async def test_a_start_after_a_401_is_sent_once_more(clock: Clock) -> None:
    async with StandIn() as standin, client(standin.url, ApiKey(Secret(API_KEY)), clock) as zenml:
        standin.script(EXPIRED)
        resolved = Resolved("snapshot", standin.target_id, "", "", datetime.now(UTC), "0.98.0")
        run = await zenml.start(zenml.ready(resolved, {"run_name": "a"}, [], uuid4()))
        assert [arrival.body for arrival in standin.starts] == [standin.starts[0].body] * 2
        assert run.name == "a"
        standin.script(EXPIRED, EXPIRED)
        with pytest.raises(Unauthorized):
            await zenml.start(zenml.ready(resolved, {"run_name": "b"}, [], uuid4()))


async def test_a_rotated_file_is_read_at_the_next_login(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("ZENKEY_old\n")
    async with StandIn() as standin, client(standin.url, ApiKey(Secret.file(file)), clock) as zenml:
        with pytest.raises(Unauthorized):
            await zenml.current_user()
        file.write_text(f"{API_KEY}\n")
        clock.seconds += LOGIN_SPACING
        await zenml.current_user()


async def test_a_rotated_token_file_is_read_at_once(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    async with StandIn() as standin, client(standin.url, Token(Secret.file(file)), clock) as zenml:
        standin._tokens.add("new")
        with pytest.raises(Unauthorized, match="refuses the token"):
            await zenml.current_user()
        file.write_text("new")
        await zenml.current_user()
        assert logins(standin) == 0


@pytest.mark.parametrize("kind", [ApiKey, Token], ids=lambda kind: kind.__name__)
async def test_a_file_that_cannot_be_read(clock: Clock, tmp_path: Path, kind: type[ApiKey | Token]) -> None:
    file = tmp_path / "none"
    async with StandIn() as standin, client(standin.url, kind(Secret.file(file)), clock) as zenml:
        with pytest.raises(Unauthorized, match="none cannot be read: No such file"):
            await zenml.current_user()
        assert standin.arrivals == []
        file.write_bytes(b"\xff\xfe")
        with pytest.raises(Unauthorized, match="cannot be read: not text"):
            await zenml.current_user()
        file.write_text(API_KEY)
        standin._tokens.add(API_KEY)
        await zenml.current_user()  # no spacing after what was never sent


@pytest.mark.parametrize("value", ["", "  ", "två", f"{SECRET}\n{SECRET}", f"{SECRET}\x00"])
async def test_what_cannot_be_a_token(clock: Clock, value: str) -> None:
    async with StandIn() as standin, client(standin.url, Token(Secret(value)), clock) as zenml:
        with pytest.raises(Unauthorized) as caught:
            await zenml.current_user()
        assert SECRET not in "".join(shown(caught.value))
        assert standin.arrivals == []


def test_secrets_do_not_show() -> None:
    for thing in (
        Secret(SECRET),
        Token(Secret(SECRET)),
        ApiKey(Secret(SECRET)),
        UserPassword("me", Secret(SECRET)),
        Access(Secret(SECRET)),
    ):
        assert SECRET not in f"{thing!r} {thing} {thing!s:>1}"
    with pytest.raises(TypeError):
        pickle.dumps(Secret(SECRET))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret(SECRET))


def shown(error: BaseException | None) -> Iterator[str]:
    """All that a traceback shows, with the locals of every frame of ours and of httpx, and of every cause."""
    while error is not None:
        yield str(error)
        yield repr(error)
        yield from traceback.format_exception(error)
        yield from _locals(error.__traceback__)
        error = error.__cause__ or error.__context__


def _locals(found: TracebackType | None) -> Iterator[str]:
    while found is not None:
        if __file__ != found.tb_frame.f_code.co_filename:
            for value in found.tb_frame.f_locals.values():
                yield repr(value)
        found = found.tb_next


@pytest.mark.parametrize(
    "credentials",
    [ApiKey(Secret(SECRET)), Token(Secret(SECRET)), UserPassword("me", Secret(SECRET))],
    ids=lambda credentials: type(credentials).__name__,
)
@pytest.mark.parametrize("what", ["refused", "echoed", "echoed page", "down", "reset", "nonsense", "redirect"])
async def test_no_failure_shows_a_secret(clock: Clock, credentials: Credentials, what: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        said = f"{request.headers} {request.content.decode()} {request.headers.get('authorization')}"
        match what:
            case "refused":
                return httpx.Response(401, json={"detail": "no"})
            case "echoed":
                return httpx.Response(403, json={"detail": ["ValueError", said]})
            case "echoed page":
                return httpx.Response(500, text=f"<title>{said}</title>")
            case "down":
                raise httpx.ConnectError("refused", request=request)
            case "reset":
                raise httpx.ReadError("reset", request=request)
            case "redirect":
                return httpx.Response(302, headers={"Location": f"/x?{said}"})
        return httpx.Response(200, text=said)

    transport, now = httpx.MockTransport(handle), lambda: datetime.now(UTC)
    async with ZenML("https://zenml.example.com", credentials, now=now, elapsed=clock, transport=transport) as zenml:
        with pytest.raises(ServerError) as caught:
            await zenml.current_user()
        assert SECRET not in repr(vars(zenml))
    text = "".join(shown(caught.value))
    assert SECRET not in text


async def test_an_access_token_does_not_show(clock: Clock) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("login"):
            return httpx.Response(200, json={"access_token": SECRET})
        return httpx.Response(422, json={"detail": ["ValueError", str(request.headers.get("authorization"))]})

    transport, now = httpx.MockTransport(handle), lambda: datetime.now(UTC)
    credentials = ApiKey(Secret(API_KEY))
    async with ZenML("https://zenml.example.com", credentials, now=now, elapsed=clock, transport=transport) as zenml:
        with pytest.raises(ServerError, match=r"Bearer \*\*\*") as caught:
            await zenml.current_user()
    assert SECRET not in "".join(shown(caught.value))


def test_a_secret_with_line_ends_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Secret(f"{SECRET}\nX: y").reveal()
    assert SECRET not in "".join(shown(caught.value))
