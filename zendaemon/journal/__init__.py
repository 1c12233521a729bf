"""The only SQL of zendaemon."""

from zendaemon.journal.journal import Journal, read_history

__all__ = ["Journal", "read_history"]
