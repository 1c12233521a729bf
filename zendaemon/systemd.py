"""sd_notify(3): what systemd is told over $NOTIFY_SOCKET; nothing where there is none."""

from __future__ import annotations

import os
import socket

from zendaemon import clock


class Notifier:
    """Tells the service manager. Errors are ignored: a manager that does not listen must not stop the daemon."""

    def __init__(self, address: str | None, watchdog_usec: int = 0) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self.watchdog_seconds = watchdog_usec / 1_000_000 / 2
        """How often `alive` is to be said, half the limit that systemd gives; 0 without a watchdog."""

    @classmethod
    def from_environment(cls) -> Notifier:
        """As systemd set it up for this very process."""
        usec = int(os.environ.get("WATCHDOG_USEC") or 0)
        if os.environ.get("WATCHDOG_PID") not in (None, str(os.getpid())):
            usec = 0
        return cls(os.environ.get("NOTIFY_SOCKET"), usec)

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={clock.monotonic_usec()}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.connect(self._address)
                to.sendall("\n".join(lines).encode())
        except OSError:
            return
