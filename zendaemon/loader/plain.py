"""The tree of a file with nothing unusual in it: no anchors, tags, merges or numbers as keys, and nothing wrong.

That is nearly every file, and takes half the time. Whatever else a file has, the tree module reads it from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from zendaemon.loader.node import MAX_DEPTH, MAX_VALUES, Node
from zendaemon.loader.scalars import ENDLESS, NOT_JSON, meaning

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pydantic import JsonValue

    from zendaemon.loader.report import Position

_NO_KEYS: dict[str, Position] = {}
"""Shared by all that is no mapping; nothing is ever put there."""


class _Unusual(Exception):
    """The file has what this module does not read."""


def compose_plain(parser: Any) -> Node | None:  # noqa: ANN401 - libyaml's, which has no types
    """The tree of libyaml's events; None where another look is needed."""
    following: Callable[[], Any] = parser.get_event
    try:
        following()
        start = following()
        if not isinstance(start, DocumentStartEvent) or start.version is not None:
            return None
        root = _node(following(), following, MAX_DEPTH)
        ends = isinstance(following(), DocumentEndEvent) and isinstance(following(), StreamEndEvent)
    except (_Unusual, YAMLError, ValueError):
        return None
    return root if ends and root.size <= MAX_VALUES else None


def _node(event: Any, following: Callable[[], Any], depth: int) -> Node:  # noqa: ANN401
    kind = event.__class__
    if event.anchor is not None or kind not in (ScalarEvent, MappingStartEvent, SequenceStartEvent):
        raise _Unusual
    mark = event.start_mark
    here = mark.line + 1, mark.column + 1
    if kind is ScalarEvent:
        return Node(here, _scalar(event), None, _NO_KEYS)
    if event.tag is not None or not depth:
        raise _Unusual
    return (_mapping if kind is MappingStartEvent else _list)(here, following, depth - 1)


def _mapping(here: Position, following: Callable[[], Any], depth: int) -> Node:
    items: dict[str, Node] = {}
    keys: dict[str, Position] = {}
    values: dict[str, JsonValue] = {}
    size, height = 1, 0
    while (event := following()).__class__ is not MappingEndEvent:
        if event.__class__ is not ScalarEvent or event.anchor is not None:
            raise _Unusual
        key, mark = _scalar(event), event.start_mark
        if key.__class__ is not str or key == "<<" or key in keys:
            raise _Unusual
        keys[key] = mark.line + 1, mark.column + 1
        items[key] = node = _node(following(), following, depth)
        values[key] = node.value
        size += node.size
        if node.height >= height:
            height = node.height + 1
    return Node(here, values, items, keys, size, height)


def _list(here: Position, following: Callable[[], Any], depth: int) -> Node:
    items: list[Node] = []
    while (event := following()).__class__ is not SequenceEndEvent:
        items.append(_node(event, following, depth))
    size, height = 1 + sum(node.size for node in items), max((node.height + 1 for node in items), default=0)
    return Node(here, [node.value for node in items], items, _NO_KEYS, size, height)


def _scalar(event: Any) -> JsonValue:  # noqa: ANN401
    if event.tag is not None:
        raise _Unusual
    text: str = event.value
    value = text if event.style else meaning(text)
    if value is ENDLESS or (event.style and NOT_JSON.search(text)):
        raise _Unusual
    return cast("JsonValue", value)
