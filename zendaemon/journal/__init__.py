"""The only SQL of zendaemon."""

from zendaemon.journal.journal import Journal
from zendaemon.journal.reading import Reader, Wanted, read_history

__all__ = ["Journal", "Reader", "Wanted", "read_history"]
