"""A channel: where alerts go, as the settings have it. Its secrets are references, read when they are needed."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, StrictBool, StringConstraints, model_validator

from zendaemon.core.alert import AlertKind
from zendaemon.core.shape import Shape, many

_Given = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
_Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/\S*)?$", max_length=2000)]


class Channel(Shape):
    """An apprise URL (`url_env`, `url_file`, else the systemd credential), or a webhook, signed where it has a secret.

    `on` are the kinds of alerts it gets where a schedule does not say; a `default` channel gets those of schedules that
    name none, and those of the daemon as a whole.
    """

    url_env: _Given | None = None
    url_file: _Given | None = None
    webhook: _Url | None = None
    secret_env: _Given | None = None
    secret_file: _Given | None = None
    on: Annotated[tuple[AlertKind, ...], BeforeValidator(many)] = tuple(AlertKind)
    default: StrictBool = True

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(given is not None for given in (self.url_env, self.url_file, self.webhook)) > 1:
            raise ValueError("has more than one of url_env, url_file and webhook; keep one of them")
        if self.secret_env is not None and self.secret_file is not None:
            raise ValueError("has secret_env and secret_file; keep one of them")
        if self.webhook is None and (self.secret_env or self.secret_file):
            raise ValueError("has a secret, which goes with webhook; remove it, or give url_env or url_file")
        return self
