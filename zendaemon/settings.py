"""The daemon's settings: flag before environment before file. Secrets are given by reference and never shown."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableValue

from zendaemon.core.address import Address, host_of
from zendaemon.core.channel import Channel  # noqa: TC001 - pydantic reads the types of settings
from zendaemon.core.duration import Duration
from zendaemon.core.errors import SettingsError
from zendaemon.core.near import did_you_mean
from zendaemon.core.shape import Name  # noqa: TC001
from zendaemon.references import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "ZENDAEMON_"
SECRETS = ("api_key", "token", "password", "http_token", "heartbeat_url")
"""Each may be the text itself in the environment, `<name>_file`, or the systemd credential `zendaemon.<name>`."""

SHORTEST_TOKEN = 16
"""Characters of a token of the HTTP API."""

_IN_FLIGHT, _WHEN_QUICK = 4, 32
_NOT_SETTINGS = {"ZENDAEMON_CONFIG", "ZENDAEMON_DEMO_CACHE"}
_OF_ZENML = {
    "server_url": "ZENML_STORE_URL",
    "api_key": "ZENML_STORE_API_KEY",
    "token": "ZENML_STORE_API_TOKEN",
    "username": "ZENML_STORE_USERNAME",
    "password": "ZENML_STORE_PASSWORD",
}


def _longer_than_zero(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than zero")
    return value


def _address(value: object) -> object:
    return value if isinstance(value, Address) else Address.parse(str(value))


def _names(value: object) -> object:
    names = [name.strip().lower() for name in value.split(",")] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and any(host_of(str(name)) != name for name in names):
        raise ValueError("give host names without ports, with commas between them")
    return names


Listen = Annotated[Address | None, NoDecode, BeforeValidator(_address)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Positive = Annotated[Duration, AfterValidator(_longer_than_zero)]


class Settings(BaseSettings):
    """All settings; docs/settings.md describes each. Durations are written as `30s` or `5m`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    schedules: Path = Path("schedules")
    state: Path = Path(".zendaemon")
    database_url: SecretStr | None = None
    server_url: str | None = None
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    token: SecretStr | None = None
    token_file: Path | None = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    log_format: Literal["json", "console"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    max_concurrency: int | None = Field(None, ge=1, le=64)
    resolve_interval: Positive = timedelta(minutes=5)
    settle_after: Duration = timedelta(seconds=60)
    stuck_after: Positive = timedelta(minutes=10)
    drain_timeout: Duration = timedelta(seconds=30)
    http: Listen = Address("127.0.0.1", 8787)
    http_token: SecretStr | None = None
    http_token_file: Path | None = None
    http_hosts: Names = ()
    notify: dict[Name, Channel] = Field(default_factory=dict)
    heartbeat_url: SecretStr | None = None
    heartbeat_url_file: Path | None = None
    heartbeat_interval: Positive = timedelta(minutes=1)
    metrics_per_schedule: bool = False
    retention: Positive = timedelta(days=90)
    retention_count: int = Field(10_000, ge=1)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then our variables, the file, ZenML's own variables, and systemd's folders."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get("ZENDAEMON_CONFIG")
        from_file = [TomlConfigSettingsSource(settings_cls, Path(file))] if file else []
        around = InitSettingsSource(settings_cls, _surroundings(os.environ))
        return (init_settings, env_settings, *from_file, around)

    def journal_url(self) -> str:
        """The database of the journal; SQLite inside the state folder by default."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{quote(str(self.state.absolute() / 'journal.db'))}"

    @property
    def in_flight(self) -> tuple[int, int]:
        """How many starts at most, and how many while the server answers each at once."""
        return (_IN_FLIGHT, _WHEN_QUICK) if self.max_concurrency is None else (self.max_concurrency,) * 2

    def secret(self, name: str) -> Callable[[], str] | None:
        """A reader of a secret, None when it is not given. A file is read at each call, so that it may be rotated."""
        given: SecretStr | None = getattr(self, name)
        file: Path | None = getattr(self, f"{name}_file")
        if given is not None and file is not None:
            raise SettingsError(f"{name} and {name}_file are both set", hint="keep one of them")
        if given is not None:
            return given.get_secret_value
        return None if file is None else lambda: read_secret(name, file)

    def http_secret(self) -> Callable[[], str] | None:
        """A reader of the token of the HTTP API. Raises SettingsError when it is wrong, or missing where it must be."""
        read = self.secret("http_token")
        if self.http is not None and read is None and not self.http.loopback:
            raise SettingsError(
                f"the HTTP API would be open to others at {self.http}",
                hint="set ZENDAEMON_HTTP_TOKEN_FILE to a file with a token, or listen at 127.0.0.1:8787",
            )
        if read is None:
            return None
        strong_token(read())
        return lambda: strong_token(read())  # a file may have been replaced, or be half written

    def server(self) -> str:
        """The server's URL. Raises SettingsError when there is none."""
        if self.server_url is None:
            raise SettingsError(
                "no ZenML server is given", hint="set ZENDAEMON_SERVER_URL (or ZENML_STORE_URL) to its address"
            )
        return self.server_url


def strong_token(token: str) -> str:
    """The same, if it can be the token of the HTTP API. Raises SettingsError, which does not repeat it."""
    remedy = "make one with `openssl rand -hex 32`"
    if len(token) < SHORTEST_TOKEN:
        raise SettingsError(f"http_token has less than {SHORTEST_TOKEN} characters", hint=remedy)
    if not (token.isascii() and token.isprintable()):
        raise SettingsError("http_token has characters that no header of a request can have", hint=remedy)
    return token


def _surroundings(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, variable in _OF_ZENML.items():
        value = environment.get(variable)
        if value and (name != "server_url" or value.startswith(("http://", "https://"))):
            found[name] = value
    if environment.get("STATE_DIRECTORY"):
        found["state"] = environment["STATE_DIRECTORY"].split(":")[0]
    if environment.get("CREDENTIALS_DIRECTORY"):
        for name in SECRETS:
            file = Path(environment["CREDENTIALS_DIRECTORY"], f"zendaemon.{name}")
            if _may_exist(file):
                found[f"{name}_file"] = file
                found.pop(name, None)
    return found


def _may_exist(credential: Path) -> bool:
    """False only where there is none for sure: systemd 252 hides all of them from ExecReload=, which needs none."""
    try:
        return credential.exists()
    except OSError:
        return True


def load_settings(**flags: object) -> Settings:
    """The settings, with flags that are not None. Raises SettingsError with every problem of them."""
    file = os.environ.get("ZENDAEMON_CONFIG")
    if file and not Path(file).is_file():
        raise SettingsError(f"there is no settings file {file}", hint="mend ZENDAEMON_CONFIG or unset it")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(e["loc"], e["msg"]) for e in error.errors())) from None
    except OSError as error:
        raise SettingsError(f"cannot read the settings file: {error}") from None
    except UnreadableValue as error:
        raise SettingsError(str(error), hint="give it as JSON") from None
    except ValueError as error:
        raise SettingsError(f"the settings file is no TOML: {error}") from None


def _explain(path: tuple[int | str, ...], message: str) -> str:
    name = str(path[0])
    if name not in Settings.model_fields:
        return f"unknown setting {name!r} {did_you_mean(name, Settings.model_fields)}".rstrip()
    below = ".".join(str(part) for part in path[1:] if part != "[key]")
    where = f"{name}.{below}" if below else name
    return f"setting {where} ({PREFIX}{name.upper()}): {message.removeprefix('Value error, ')}"


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none, each with a near name."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _NOT_SETTINGS
    return [
        f"{variable}; {did_you_mean(variable, known)}".rstrip("; ")
        for variable in sorted(environment)
        if variable.startswith(PREFIX) and variable not in known
    ]
