"""Logs: one JSON object a line, no secret in any of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from zendaemon import log

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_lines_have_event_level_and_timestamp() -> None:
    stream = io.StringIO()
    log.configure("json", "info", stream)
    structlog.get_logger().info("fire.started", schedule="nightly", attempt=1)
    structlog.get_logger().debug("run.postponed")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["schedule"], line["attempt"]) for line in lines] == [
        ("fire.started", "info", "nightly", 1)
    ]
    assert lines[0]["timestamp"].endswith("Z")


def test_a_stream_that_is_no_terminal_gets_json() -> None:
    stream = io.StringIO()
    log.configure(None, "info", stream)
    structlog.get_logger().info("daemon.ready")
    assert json.loads(stream.getvalue())["event"] == "daemon.ready"


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closing it fails, as it must
    log.configure("json", "info", full)
    structlog.get_logger().error("fire.failed", schedule="nightly")
    with pytest.raises(OSError, match="No space left"):
        full.close()


@pytest.mark.parametrize(
    "secret", ["ZENKEY_abcDEF123=", "ZENPROKEY_xyz", "eyJhbGciOi.eyJzdWIi.sig-na_ture", "joe:pass"]
)
@pytest.mark.parametrize("format_", ["json", "console"])
def test_what_looks_like_a_secret_is_blanked_also_in_tracebacks(secret: str, format_: str) -> None:
    stream = io.StringIO()
    log.configure(format_, "info", stream)
    text = f"https://{secret}@host/x" if ":" in secret else f"Bearer {secret} refused"
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger().exception("engine.error", error=text)
    assert secret not in stream.getvalue()
    assert "***" in stream.getvalue()
