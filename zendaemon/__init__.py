"""zendaemon: every scheduled instant becomes exactly one ZenML run, on time."""

__version__ = "0.1.0"
