"""Who we are to the server: the credentials, and the token that they are exchanged for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from zendaemon.core.errors import SettingsError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

LOGIN_SPACING = 60.0
"""Seconds between a refused login and the next: refused ones count against a limit per address."""
MARGIN = 60.0
"""Seconds before its end from which a token is renewed; a tenth of its life if that is less."""
MAX_SECRET = 65_536


class Secret:
    """A text that shows in no repr, message, or dump of locals. Given as a callable, it is read anew at each use."""

    __slots__ = ("_read",)

    def __init__(self, value: str | Callable[[], str]) -> None:
        self._read = value if callable(value) else lambda: value

    @classmethod
    def file(cls, path: Path) -> Secret:
        """The content of a file, without white space around it; a rotated file is noticed at the next login."""
        return cls(lambda: _read_file(path))

    def reveal(self) -> str:
        """The value. Raises SettingsError when it cannot be read or cannot be a secret."""
        value = self._read().strip()
        if value.isprintable():
            return value
        del value  # a dump of locals is not to show it
        raise SettingsError("a secret has line ends or control characters within", hint="it must be a single line")

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not to be stored")


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        failure = SettingsError(f"the secret in {path} cannot be read: {reason}")
    raise failure


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, used as it is."""

    value: Secret


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The API key of a service account."""

    key: Secret


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A user's name and password; the password may be empty."""

    username: str
    password: Secret


Credentials = Token | ApiKey | UserPassword


@dataclass(frozen=True, slots=True)
class Access:
    """A token in use. From the monotonic second `until` it is to be renewed, from `ends` it is refused."""

    token: Secret
    until: float | None = None
    ends: float | None = None


class Auth:
    """Keeps the token. `login` sends a form and returns a new token with its life in seconds, None for endless."""

    def __init__(
        self,
        credentials: Credentials,
        login: Callable[[Callable[[], dict[str, str]]], Awaitable[tuple[Secret, float | None]]],
        monotonic: Callable[[], float],
    ) -> None:
        self._credentials = credentials
        self._login = login
        self._monotonic = monotonic
        self._access: Access | None = None
        self._former: Access | None = None  # an answer to a request from before the renewal may repeat it
        self._renewal: asyncio.Task[Access] | None = None
        self._refused: Unauthorized | None = None
        self._not_before = 0.0

    async def access(self, refused: Access | None = None) -> Access:
        """A token that is good for all we know and is not `refused`; however many ask, one login is under way.

        Raises Unauthorized, at once where a login was refused less than a minute ago, or Unavailable.
        """
        known = self._access
        if known is not None and known is not refused and not self._ended(known):
            return known
        if isinstance(self._credentials, Token):
            return self._given(self._credentials, refused)
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew(), name="login")
            self._renewal.add_done_callback(_retrieved)
        return await asyncio.shield(self._renewal)

    @property
    def left(self) -> float | None:
        """Seconds for which the token in use is good still; None when there is none, or it does not tell."""
        ends = self._access.ends if self._access is not None else None
        return None if ends is None else ends - self._monotonic()

    def hide(self, text: str) -> str:
        """The text without any secret of ours, should the server have repeated one."""
        credentials = self._credentials
        secrets = [access.token for access in (self._access, self._former) if access is not None]
        match credentials:
            case Token():
                secrets.append(credentials.value)
            case ApiKey():
                secrets.append(credentials.key)
            case UserPassword():
                secrets.append(credentials.password)
        for secret in secrets:
            try:
                text = _without(text, secret)
            except SettingsError:
                continue
        return text

    async def close(self) -> None:
        if self._renewal is not None and not self._renewal.done():
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    def _ended(self, access: Access) -> bool:
        return access.until is not None and self._monotonic() >= access.until

    def _given(self, token: Token, refused: Access | None) -> Access:
        """The bearer token as it reads now: after a refusal only another one will do."""
        now = _revealed(token.value)
        if not now.reveal() or not now.reveal().isascii():
            raise Unauthorized("the token is empty, or has letters that no token has")
        if refused is not None and refused.token.reveal() == now.reveal():
            raise Unauthorized("the server refuses the token", hint="give a new one; it may have expired", status=401)
        self._access = Access(now)
        return self._access

    async def _renew(self) -> Access:
        left = self._not_before - self._monotonic()
        if self._refused is not None and left > 0:
            hint = f"{self._refused.hint}; the next login is tried in {left:.0f} s"
            raise Unauthorized(self._refused.message, hint=hint, status=self._refused.status)
        self._form()  # a secret that cannot be read needs no request to be known as such
        begin = self._monotonic()
        try:
            token, life = await self._login(self._form)
        except Unauthorized as error:
            self._refused, self._not_before = error, self._monotonic() + LOGIN_SPACING
            raise
        self._refused = None
        until = begin + life - min(MARGIN, life / 10) if life and life > 0 else None
        ends = begin + life if life and life > 0 else None
        self._former, self._access = self._access, Access(token, until, ends)
        return self._access

    def _form(self) -> dict[str, str]:
        credentials = self._credentials
        try:
            if isinstance(credentials, UserPassword):
                return {"username": credentials.username, "password": credentials.password.reveal()}
            if isinstance(credentials, ApiKey):
                return {"password": credentials.key.reveal()}
        except SettingsError as error:
            failure = Unauthorized(error.message, hint=error.hint)
        else:
            raise AssertionError("a token needs no login")
        raise failure


def _revealed(secret: Secret) -> Secret:
    """The secret as it reads now."""
    try:
        return Secret(secret.reveal())
    except SettingsError as error:
        failure = Unauthorized(error.message, hint=error.hint)
    raise failure


def _without(text: str, secret: Secret) -> str:
    return text.replace(secret.reveal(), "***") if len(secret.reveal()) > 3 else text


def _retrieved(task: asyncio.Task[Access]) -> None:
    """Whoever asked may be gone: look at the failure, so that asyncio does not complain."""
    if not task.cancelled():
        task.exception()
