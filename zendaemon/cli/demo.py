"""`zendaemon demo`."""

from __future__ import annotations


def command() -> None:
    """The demo."""
