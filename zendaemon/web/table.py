"""The table of schedules: what its address asks for, and which page of it is shown. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pydantic import ValidationError

from zendaemon.web.wire import SchedulesWanted

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = 100
_ASKED = ("search", "state", "last", "promises", "tag", "sort")
_DEFAULTS: Mapping[str, object] = {"sort": "name", "page": 1}


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the table: the parameters of the HTTP API, and a page in place of `offset` and `limit`."""

    wanted: SchedulesWanted = field(default_factory=SchedulesWanted)
    page: int = 1

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Query:
        """From an address; what has no meaning is left out, since addresses are written and kept by people."""
        given = {name: asked[name] for name in _ASKED if asked.get(name)}
        try:
            wanted = SchedulesWanted.model_validate(given)
        except ValidationError as error:
            wrong = {found["loc"][0] for found in error.errors()}
            known = {name: value for name, value in given.items() if name not in wrong}
            wanted = SchedulesWanted.model_validate(known)
        page = asked.get("page", "1")
        return cls(wanted, int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1)

    @property
    def key(self) -> str:
        """What is sorted by, either way."""
        return self.wanted.sort.removeprefix("-")

    @property
    def narrowed(self) -> bool:
        wanted = self.wanted
        return bool(wanted.search or wanted.state or wanted.last or wanted.promises or wanted.tag)

    def link(self, **changes: object) -> str:
        """The address of the table with something changed; of its first page, unless a page is given."""
        plain = self.wanted.model_dump(mode="json", include=set(_ASKED))
        values = {name: plain.get(name) for name in _ASKED} | changes
        left = {name: value for name, value in values.items() if value and value != _DEFAULTS.get(name)}
        return "/" + (f"?{urlencode(left)}" if left else "")


@dataclass(frozen=True, slots=True)
class Page:
    """The schedules of one page, by name; `found` of all match. `page` is within the `pages` that there are."""

    names: list[str]
    found: int
    page: int
    pages: int

    @classmethod
    def of(cls, names: list[str], wanted: int) -> Page:
        """A page of all that match; past the last one it is the last one."""
        pages = max(1, -(-len(names) // PAGE))
        page = min(max(1, wanted), pages)
        return cls(names[(page - 1) * PAGE : page * PAGE], len(names), page, pages)

    @property
    def first(self) -> int:
        return (self.page - 1) * PAGE + 1 if self.found else 0

    @property
    def end(self) -> int:
        return min(self.page * PAGE, self.found)
