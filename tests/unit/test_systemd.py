"""sd_notify(3) over a real datagram socket."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from zendaemon.systemd import Notifier

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_messages_arrive(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        notifier = Notifier(address)
        notifier.ready("3 schedules")
        notifier.reloading()
        notifier.alive()
        notifier.stopping("bye")
        said = [listener.recv(1000).decode() for _ in range(4)]
    assert said[0] == "READY=1\nSTATUS=3 schedules"
    assert said[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert int(said[1].rpartition("=")[2]) > 0
    assert said[2:] == ["WATCHDOG=1", "STOPPING=1\nSTATUS=bye"]


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notifier = Notifier.from_environment()
    notifier.ready("x")
    assert notifier.watchdog_seconds == 0
    Notifier(str(tmp_path / "nobody")).alive()


def test_the_watchdog_is_fed_at_half_its_limit_and_by_its_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert Notifier.from_environment().watchdog_seconds == 15
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier.from_environment().watchdog_seconds == 0
