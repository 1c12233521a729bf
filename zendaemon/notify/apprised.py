"""The process that delivers one message through apprise: an order as JSON on stdin, what went wrong on stdout."""

from __future__ import annotations

import json
import logging
import re
import sys
from urllib.parse import unquote

_SHORTEST = 4  # characters of a part of the URL that is blanked out


class _Collected(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def without(url: str, text: str) -> str:
    """The text without any part of the URL but its scheme and what is too short to be a secret."""
    parts = re.split(r"[/:@?&=,]+", url.partition("://")[2])
    blank = {url, *parts, *map(unquote, parts)}
    for part in sorted(blank, key=len, reverse=True):
        if len(part) >= _SHORTEST:
            text = text.replace(part, "***")
    return text


def main() -> int:
    """Exit status 0 when it is delivered."""
    order = json.load(sys.stdin)
    import apprise  # noqa: PLC0415 - only now it is known that there is something to do

    collected = _Collected()
    logger = logging.getLogger("apprise")
    logger.addHandler(collected)
    logger.propagate = False
    to = apprise.Apprise()
    if not to.add(order["url"]):
        sys.stdout.write("apprise does not understand the channel's URL")
        return 1
    if to.notify(body=order["body"], title=order["title"], notify_type=apprise.NotifyType(order["type"])):
        return 0
    said = "; ".join(dict.fromkeys(collected.lines)) or "apprise could not deliver it"
    sys.stdout.write(without(order["url"], said))
    return 1


if __name__ == "__main__":
    sys.exit(main())
