"""Every error that zendaemon raises, each named for what its catcher does next.

ZendaemonError
├── Invalid            mend the schedule files; carries every problem of every file
├── CronError          mend the expression; also a ValueError
├── SettingsError      mend the settings
├── JournalError       the journal cannot be used; the message says what to do
├── Held               wait: the fire is not to be started yet; the message says what it waits for
├── Unresolved         a target's names lead to nothing that can be started; mend the target or the server
└── ServerError        a call to the ZenML server failed
    ├── Rejected       stop: the same request will be refused again
    ├── Stale          resolve the target once more, then try again
    ├── Unavailable    try again later: nothing was created
    ├── Unauthorized   try again when the credentials are good: nothing was created
    └── Uncertain      ask the server before anything else: a run may have been created
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class ZendaemonError(Exception):
    """Root of the tree. `hint` is the remedy, empty when the message says it all."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in one place of a file. Lines and columns count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{text}; {self.remedy}" if self.remedy else text


class Invalid(ZendaemonError):
    """The schedule files cannot be loaded; `problems` are sorted by place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the schedule files")


class CronError(ZendaemonError, ValueError):
    """A cron expression that is not understood or never fires; the message names the field."""


class SettingsError(ZendaemonError):
    """A setting is missing or wrong."""


class JournalError(ZendaemonError):
    """The journal cannot be opened, locked, read or written."""


class Unresolved(ZendaemonError):
    """A target cannot be turned into ids that the server can start."""


class Held(ZendaemonError):
    """A fire waits for something that is no failure: a run that is to end, another schedule."""


class ServerError(ZendaemonError):
    """A call to the ZenML server failed. `status` is the HTTP status, None when there was no answer."""

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Rejected(ServerError):
    """The server refuses the request and will again."""


class NameTaken(Rejected):
    """A run with this name exists (409); whose it is, only a look-up tells."""


class Stale(ServerError):
    """The id is gone or cannot be run any more."""


class Unavailable(ServerError):
    """Nothing was created: no connection, or no free start slot. `retry_after` is in seconds.

    `busy` tells a server that is well but has no free slot from one that cannot be reached; `reached` whether the
    request was sent, so that it may be this one alone that gets no answer.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        busy: bool = False,
        reached: bool = True,
    ) -> None:
        super().__init__(message, hint=hint, status=status)
        self.retry_after = retry_after
        self.busy = busy
        self.reached = reached

    def for_a_question(self) -> Unavailable:
        """The same, of a question: it takes no start slot, so it is not for the queue to say when it is asked again."""
        return Unavailable(self.message, hint=self.hint, status=self.status, retry_after=self.retry_after)


class Unauthorized(ServerError):
    """The server refuses the credentials, also after one renewal."""


class Uncertain(ServerError):
    """The request was sent and its outcome is not known. `retry_after` is in seconds."""

    def __init__(
        self, message: str, *, hint: str = "", status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint, status=status)
        self.retry_after = retry_after
