"""What a plain scalar means by YAML 1.2's core schema, and which texts are none that JSON has room for."""

from __future__ import annotations

import re
from math import isfinite
from typing import Final

MAX_DIGITS = 400
WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
NOT_JSON = re.compile("[\0\ud800-\udfff]")
ENDLESS: Final = object()
"""A number that JSON has no room for."""
_MAYBE_NUMBER = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(
    r"0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def meaning(text: str) -> object:
    """The value of a plain scalar: what 1.1 makes of `on`, `1_000`, `12:30` and dates stays a text."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in _MAYBE_NUMBER or not _NUMBER.fullmatch(text):
        return text
    return _number(text)


def _number(text: str) -> object:
    """The number that a text matching _NUMBER means; ENDLESS for infinities, for what is none, and for the endless."""
    if len(text) > MAX_DIGITS or (text[-1] in "fFnN" and "." in text):
        return ENDLESS
    if _INTEGER.fullmatch(text):
        return int(text)
    if text[:2] in ("0o", "0x"):
        return int(text, 0)
    value = float(text)
    return value if isfinite(value) else ENDLESS
