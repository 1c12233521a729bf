"""YAML 1.2 (core schema) as a tree of values that know their places, within bounds of size and depth.

Built from the parser's events with a stack of its own, so that no file, however nested, exhausts Python's. The parser
is ruamel.yaml's; only `_events` and the plain module know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, cast

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.parser import Parser

from zendaemon.loader.node import MAX_DEPTH, MAX_VALUES, Node
from zendaemon.loader.plain import compose_plain
from zendaemon.loader.report import START, Position, Report, Stop, shown
from zendaemon.loader.scalars import ENDLESS, NOT_JSON, meaning
from zendaemon.loader.text import decode, report_syntax

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import JsonValue
    from ruamel.yaml.events import Event

_CORE = "tag:yaml.org,2002:"
_TAGS: dict[str, type | tuple[type, ...]] = {
    f"{_CORE}null": type(None),
    f"{_CORE}bool": bool,
    f"{_CORE}int": int,
    f"{_CORE}float": (int, float),
}
_QUICK = YAML(typ="safe").Parser  # libyaml's, where that is installed
# What YAML 1.1, which libyaml reads, may take to mean something else, and what is too rare to be worth a proof.
_UNUSUAL = re.compile("[\t\x85\u2028\u2029\ufeff]|^%|^[-.]{3}|[?!|>]", re.MULTILINE)


def parse(data: bytes, report: Report, *, quick: bool = False) -> Node | None:
    """The one document of a file; None when it has none or cannot be read. The report has all that is wrong.

    `quick` reads it with libyaml where that is sure to find the same values, twenty times as fast as the parser in
    Python. Where it reports anything, ask again without: its words, and the places of empty values, are others.
    """
    try:
        text = decode(data, report)
    except Stop:
        return None
    usual = quick and _QUICK is not Parser and _UNUSUAL.search(text) is None
    plain = compose_plain(_QUICK(text)) if usual else None
    return plain or _compose(text, report, pure=not usual)


def _compose(text: str, report: Report, *, pure: bool) -> Node | None:
    composer = _Composer(report)
    try:
        for event in _events(text, pure=pure):
            composer.take(event)
    except Stop:
        return None
    except Exception as error:  # noqa: BLE001 - the parser meets hostile files; whatever it trips over is a problem of the file
        report_syntax(error, report, composer.last)
        return None
    return composer.root


def _events(text: str, *, pure: bool) -> Iterator[Event]:
    if pure:
        yaml = YAML(typ="safe", pure=True)
        yaml.allow_duplicate_keys = True
        yield from yaml.parse(text)
        return
    parser = _QUICK(text)
    while parser.check_event():
        yield parser.get_event()


@dataclass(slots=True, eq=False)
class _Frame:
    """A collection that is being read; in a mapping, `key` is that of the value that comes next, None if refused."""

    node: Node
    anchor: str | None
    at_key: bool = True
    key: str | None = None
    key_position: Position = START
    merging: bool = False
    merges: list[Node] = field(default_factory=list)


class _Composer:
    def __init__(self, report: Report) -> None:
        self.report = report
        self.root: Node | None = None
        self.last: Position = START
        self.stack: list[_Frame] = []
        self.anchors: dict[str, Node | None] = {}
        self.total = 0
        self.documents = 0

    def take(self, event: Event) -> None:
        mark = event.start_mark
        self.last = here = mark.line + 1, mark.column + 1
        if isinstance(event, ScalarEvent):
            node = Node(here, self.scalar(event, here))
            if event.anchor:
                self.anchors[event.anchor] = node
            self.add(node, merge=not event.style and event.value == "<<")  # libyaml has an empty style for a plain one
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            self.begin(event, here)
        elif isinstance(event, CollectionEndEvent):
            self.end()
        elif isinstance(event, AliasEvent):
            self.alias(event, here)
        elif isinstance(event, DocumentStartEvent):
            self.document(event, here)

    def document(self, event: DocumentStartEvent, here: Position) -> None:
        self.documents += 1
        if self.documents > 1:
            self.report.add(here, "a second document in one file", "remove the `---`, or make it a file of its own")
            raise Stop
        if event.version is not None and tuple(event.version) != (1, 2):
            self.report.add(START, "schedule files are YAML 1.2", "remove the %YAML line")

    def begin(self, event: MappingStartEvent | SequenceStartEvent, here: Position) -> None:
        is_mapping = isinstance(event, MappingStartEvent)
        wanted = "map" if is_mapping else "seq"
        if event.tag is not None and event.tag not in (f"{_CORE}{wanted}", "!"):
            self.refuse_tag(event.tag, here)
        if len(self.stack) >= MAX_DEPTH:
            self.too_deep(here)
        node = Node(here, {}, {}) if is_mapping else Node(here, [], [])
        if event.anchor:
            self.anchors[event.anchor] = None
        self.stack.append(_Frame(node, event.anchor))

    def end(self) -> None:
        frame = self.stack.pop()
        for source in frame.merges:
            self.merge(frame.node, source)
        if frame.anchor:
            self.anchors[frame.anchor] = frame.node
        self.add(frame.node)

    def alias(self, event: AliasEvent, here: Position) -> None:
        node = self.anchors.get(event.anchor)
        if node is None:
            what = "leads to a value that it is part of" if event.anchor in self.anchors else "has no anchor before it"
            self.report.add(here, f"the alias *{event.anchor} {what}", "write the value out")
            node = Node(here, None)
        if len(self.stack) + node.height > MAX_DEPTH:
            self.too_deep(here)
        self.count(node.size - 1, here)
        self.add(node)

    def add(self, node: Node, *, merge: bool = False) -> None:
        """Puts a finished node where it belongs."""
        self.count(1, node.position)
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        if isinstance(frame.node.items, list):
            frame.node.items.append(node)
            cast("list[JsonValue]", frame.node.value).append(node.value)
            _grow(frame.node, node)
            return
        if frame.at_key:
            frame.merging = merge
            frame.key = None if merge else self.key(frame.node, node)
            frame.key_position = node.position
        elif frame.merging:
            self.merge_later(frame, node)
        elif frame.key is not None:
            _put(frame.node, frame.key, frame.key_position, node)
        frame.at_key = not frame.at_key

    def key(self, parent: Node, node: Node) -> str | None:
        """The key that `node` is, or None for one that is refused."""
        key = node.value
        if not isinstance(key, str):
            what = shown(key) if node.items is None else f"{shown(key)} as a key"
            remedy = "put it in quotes" if node.items is None else "use a text"
            self.report.add(node.position, f"the key {what} is not a text", remedy)
            return None
        if key in parent.keys:
            first = parent.keys[key][0]
            self.report.add(node.position, f"the key {shown(key)} is given twice, first in line {first}", "remove one")
            return None
        return key

    def merge_later(self, frame: _Frame, node: Node) -> None:
        sources = node.items if isinstance(node.items, list) else [node]
        if all(isinstance(source.items, dict) for source in sources):
            frame.merges += sources
        else:
            self.report.add(node.position, "`<<` takes a mapping or a list of them", "give an alias such as *name")

    def merge(self, parent: Node, source: Node) -> None:
        """`<<` as everybody knows it: keys that are there already win, the mapping named first before later ones."""
        for key, node in source.mapping().items():
            if key not in parent.keys:
                self.count(node.size, parent.position)
                _put(parent, key, source.keys[key], node)

    def scalar(self, event: ScalarEvent, here: Position) -> JsonValue:
        text: str = event.value
        if not event.style and event.tag is None:
            return self.plain(text, here)
        if NOT_JSON.search(text):
            self.report.add(here, "a text with a NUL or half a character in it", "remove the \\0 or \\u escape")
            return None
        tag = event.tag
        if tag in (None, "!", f"{_CORE}str"):
            return text
        value = self.plain(text, here)
        if tag in _TAGS and isinstance(value, _TAGS[tag]) and (tag == f"{_CORE}bool") == isinstance(value, bool):
            return value
        if tag in _TAGS:
            self.report.add(here, f"{shown(text)} does not fit its tag {tag.replace(_CORE, '!!')}", "remove the tag")
        else:
            self.refuse_tag(tag, here)
        return None

    def plain(self, text: str, here: Position) -> JsonValue:
        value = meaning(text)
        if value is ENDLESS:
            self.report.add(
                here, f"{text[:60]} is no number that JSON has room for", "put it in quotes if it is a text"
            )
            return None
        return cast("JsonValue", value)

    def refuse_tag(self, tag: str, here: Position) -> None:
        name = shown(tag.replace(_CORE, "!!"))
        self.report.add(here, f"the tag {name} is not allowed", "remove it: schedule files hold plain values")

    def count(self, more: int, here: Position) -> None:
        self.total += more
        if self.total > MAX_VALUES:
            text = f"more than {MAX_VALUES:,} values in one file, aliases written out"
            self.report.add(here, text, "split the file, or use fewer aliases")
            raise Stop

    def too_deep(self, here: Position) -> NoReturn:
        self.report.add(here, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        raise Stop


def _put(parent: Node, key: str, key_position: Position, node: Node) -> None:
    parent.mapping()[key] = node
    parent.keys[key] = key_position
    cast("dict[str, JsonValue]", parent.value)[key] = node.value
    _grow(parent, node)


def _grow(parent: Node, node: Node) -> None:
    parent.size += node.size
    parent.height = max(parent.height, node.height + 1)
