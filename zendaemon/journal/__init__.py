"""The only SQL of zendaemon."""

from zendaemon.journal.journal import Journal
from zendaemon.journal.reading import Last, Reader, Wanted, read_history

__all__ = ["Journal", "Last", "Reader", "Wanted", "read_history"]
