"""Debian's Chromium, driven by Playwright, as a person's browser."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Page, expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 90_000.0
"""Milliseconds for what must come; generous, since the machine may be busy with other tests."""


@contextmanager
def chromium() -> Iterator[Browser | None]:
    """A browser, None where there is no Chromium."""
    if not CHROMIUM.exists():
        yield None
        return
    unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox does not work for root
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=unboxed)
        yield browser
        browser.close()


def say_not_run(capfd: pytest.CaptureFixture[str], what: str) -> None:
    """On the terminal, whatever pytest captures: a machine that cannot show it must not look as if it had."""
    with capfd.disabled():
        sys.stderr.write(f"\n{'!' * 100}\nNOT RUN: {what}: no {CHROMIUM} on this machine\n{'!' * 100}\n")
        sys.stderr.flush()


@dataclass
class Visit:
    """A page that somebody looks at. `complaints` is what the browser found wrong: scripts, styles, CSP."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)

    def _console(self, message: Any) -> None:  # noqa: ANN401 - Playwright's
        refused = message.text.startswith("Failed to load resource")  # an answer that tests ask for
        if message.type in ("error", "warning") and not refused:
            self.complaints.append(message.text)


@contextmanager
def visit(browser: Browser, base_url: str, **options: Any) -> Iterator[Page]:  # noqa: ANN401 - Playwright's
    """A fresh profile's page; at its end, the browser had nothing to complain of."""
    context = browser.new_context(base_url=base_url, **options)
    context.set_default_timeout(PATIENCE)
    try:
        seen = Visit(context.new_page())
        yield seen.page
        assert not seen.complaints
    finally:
        context.close()
