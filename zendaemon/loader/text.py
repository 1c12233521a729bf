"""Bytes to text, and what a YAML parser says in words for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ruamel.yaml.error import MarkedYAMLError

from zendaemon.loader.files import MAX_BYTES
from zendaemon.loader.report import START, Position, Report, Stop, shown

if TYPE_CHECKING:
    from ruamel.yaml.error import StreamMark

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUOTE = "put the value in quotes"
_SYNTAX: tuple[tuple[str, bool, str, str], ...] = (  # part of the parser's text, show where it began, message, remedy
    (r"found character '\t'", False, "a tab where YAML wants spaces", "indent and separate with spaces"),
    ("that cannot start any token", False, "{char} cannot begin a value", _QUOTE),
    ("could not find expected ':'", True, "a line that is neither `key: value` nor `- item`", "add the colon"),
    ("mapping values are not allowed here", False, "a colon where no key can stand", f"{_QUOTE}, or check the indent"),
    ("sequence entries are not allowed", False, "a list item where none can stand", "begin it on a line of its own"),
    ("found unexpected end of stream", True, "a quote that is never closed", "add the closing quote"),
    ("found unexpected document separator", True, "a quote that is never closed", "add the closing quote"),
    ("expected ',' or ']'", False, "the [ of line {began} is not closed here", "add a comma or the closing ]"),
    ("expected ',' or '}'", False, "the {{ of line {began} is not closed here", "add a comma or the closing }}"),
    ("expected <block end>", False, "this does not fit what began in line {began}", "check the indentation"),
    ("expected '<document start>'", False, "something after the file's one value", "check the brackets and the indent"),
    ("found unknown escape character", False, "an unknown escape in a quoted text", "write \\\\ or use single quotes"),
    ("found duplicate anchor", False, "an anchor that is defined twice", "give it another name"),
    ("found undefined tag handle", False, "a tag of an unknown kind", "remove it"),
)


def decode(data: bytes, report: Report) -> str:
    """The text of a file without its byte order mark. Raises Stop when it is no text."""
    if len(data) > MAX_BYTES:
        report.add(START, f"the file is larger than {MAX_BYTES // 2**20} MiB", "split it into several files")
        raise Stop
    if data.startswith(_UTF16):
        report.add(START, "the file is UTF-16", "save it as UTF-8")
        raise Stop
    data = data.removeprefix(_BOM)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        report.add(_position(before), f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        raise Stop from None
    if control := _CONTROL.search(text):
        name = "a NUL byte" if control[0] == "\0" else f"the control character U+{ord(control[0]):04X}"
        report.add(_position(text[: control.start()]), name, "remove it")
        raise Stop
    return text


def report_syntax(error: Exception, report: Report, last: Position) -> None:
    """Adds what the parser found at its place; `last` is where it was seen last, for errors without a place."""
    if not isinstance(error, MarkedYAMLError):
        report.add(last, f"no YAML that can be read, here or soon after: {shown(str(error))}", "check the syntax")
        return
    began, found = error.context_mark or error.problem_mark, error.problem_mark or error.context_mark
    raw = str(error.problem or error.context)
    for part, at_beginning, message, remedy in _SYNTAX:
        if part in raw:
            char = re.search(r"character '(.+?)' that", raw)
            words = {"char": char[1] if char else "this", "began": began.line + 1}
            report.add(position(began if at_beginning else found), message.format(**words), remedy.format(**words))
            return
    context = f" {error.context}" if error.context and error.problem else ""
    report.add(position(found), f"no YAML{context}: {raw}", "check the syntax")


def position(mark: StreamMark) -> Position:
    return mark.line + 1, mark.column + 1


def _position(before: str) -> Position:
    line = before.count("\n") + 1
    return line, len(before) - (before.rfind("\n") + 1) + 1
