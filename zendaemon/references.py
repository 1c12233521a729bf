"""Secrets by reference: where each is, and what it is at the moment, so that it may be replaced under the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from zendaemon.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zendaemon.core.channel import Channel

CREDENTIAL_OF_CHANNEL = "zendaemon.notify."


def read_secret(name: str, file: Path) -> str:
    """The secret in a file, without the line end. Raises SettingsError, which names the file and never its content."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        # Without a folder it may be the secret itself, given in place of its file.
        where = file if file.is_absolute() else f"the file of {name}_file"
        raise SettingsError(f"cannot read {name} from {where}: {why}", hint="see docs/settings.md") from None
    if not text:
        raise SettingsError(f"the file {file} for {name} is empty")
    return text


def follow(reference: str, name: str, environment: Mapping[str, str] = os.environ) -> str:
    """What `env:NAME`, `file:/path` or `credential:NAME` leads to; a URL stands for itself. Raises SettingsError.

    `name` says in errors what it is for.
    """
    kind, _, rest = reference.partition(":")
    match kind:
        case "env":
            return _variable(rest, name, environment)
        case "file":
            return read_secret(name, Path(rest))
        case "credential":
            folder = environment.get("CREDENTIALS_DIRECTORY")
            if not folder:
                raise SettingsError(f"{name} is a credential, and systemd gives none", hint="see docs/systemd.md")
            return read_secret(name, Path(folder, rest))
        case _:
            return reference


def _variable(variable: str, name: str, environment: Mapping[str, str]) -> str:
    text = environment.get(variable, "").strip()
    if not text:
        raise SettingsError(f"the environment variable {variable} for {name} is not set")
    return text


def secret_of(name: str, channel: Channel, environment: Mapping[str, str] = os.environ) -> Callable[[], str | None]:
    """A reader of a channel's secret: its apprise URL, or what signs its webhook; None for a webhook without one.

    The reader raises SettingsError where it should have one and has none.
    """
    webhook = channel.webhook is not None
    about = f"the {'secret' if webhook else 'URL'} of channel {name}"
    variable = channel.secret_env if webhook else channel.url_env
    file = channel.secret_file if webhook else channel.url_file

    def read() -> str | None:
        if variable is not None:
            return _variable(variable, about, environment)
        if file is not None:
            return read_secret(about, Path(file))
        folder = environment.get("CREDENTIALS_DIRECTORY")
        credential = Path(folder, CREDENTIAL_OF_CHANNEL + name) if folder else None
        if credential is not None and credential.exists():
            return read_secret(about, credential)
        if webhook:
            return None
        hint = f"give url_env or url_file, or the systemd credential {CREDENTIAL_OF_CHANNEL}{name}"
        raise SettingsError(f"channel {name} has no URL", hint=hint)

    return read
