"""The status page as a person on call has it: Debian's Chromium, the real daemon, a real ZenML server.

Where there is no Chromium, what is about HTML alone still runs, and the terminal says NOT RUN for the rest. The
screenshots go to $ZENDAEMON_SCREENSHOTS, where it is set.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from process.browser import chromium, say_not_run, visit
from process.daemon import PATIENCE, Daemon, model, until

from zendaemon.web.words import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Seeder

TOKEN = "not-for-production-0123456789"
NASTY = "<b>bold</b> <script>window.pwned = true</script> & \"quoted\" 'twice'"
WIDTHS = (360, 900, 1440)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'"
)
LATE = {"sla": {"max_time_since_success": "1s"}}
BAD = "schedules:\n  broken:\n    snapshot: prod\n    cron: 61 * * * *\n"


@dataclass(frozen=True, slots=True)
class Served:
    """A daemon with its pages at `url`, these schedules, and the seeder of its server."""

    daemon: Daemon
    seeder: Seeder
    port: int
    good: str
    dotted: str
    bad: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pages(self) -> dict[str, str]:
        return {
            "overview": "/",
            "schedule": f"/schedules/{self.bad}",
            "good": f"/schedules/{self.good}",
            "dotted": f"/schedules/{self.dotted}",
            "timeline": "/timeline",
            "reloads": "/reloads",
            "missing": "/schedules/no.such-schedule",
        }

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
        connection.close()
        return found


@pytest.fixture(scope="module")
def served(servers: ServerPool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("pages")
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    target = seeder.runnable(folder.name).target
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = Daemon(folder, server.url, http=f"127.0.0.1:{port}", http_token=TOKEN)
    found = Served(daemon, seeder, port, f"{folder.name}-good", f"{folder.name}.with.dots", f"{folder.name}-bad")
    berlin = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "tags": ["nightly", "<i>tag</i>"]}
    daemon.write(
        {
            found.good: {**target, "every": "2s", "config": model("rf")},
            found.dotted: {**target, **berlin, **LATE, "description": NASTY, "config": model("rf")},
            found.bad: {"snapshot": f"{folder.name}-prd", "every": "2s"},
        }
    )
    with daemon:
        daemon.wait_for("fire.failed", schedule=found.bad)
        daemon.wait_for("promise.broken", schedule=found.dotted)
        daemon.wait_for("fire.started", schedule=found.good, count=3)
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser | None]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the screenshots."""
    wanted = os.environ.get("ZENDAEMON_SCREENSHOTS")
    return Path(wanted) if wanted else tmp_path_factory.mktemp("screenshots")


def give_token(page: Page) -> None:
    page.get_by_role("textbox", name="Token").fill(TOKEN)
    page.get_by_role("button", name="Use it").click()


def test_every_page_keeps_to_the_policy(served: Served) -> None:
    """No style or script but from files of ours, nothing from elsewhere, and no whole page twice."""
    for name, path in served.pages.items():
        status, headers, text = served.get(path)
        assert status == (HTTPStatus.NOT_FOUND if name == "missing" else HTTPStatus.OK)
        assert headers["content-security-policy"].startswith(CSP)
        assert not re.search(r"<[^>]*\s(?:style|on\w+)=", text), name
        assert re.findall(r"<script[^>]*>", text) == ['<script src="/static/zendaemon.js" defer>']
        assert not re.search(r"(?:src|action)=\"(?!/)", text), name
        if name == "dotted":  # nothing happens to that one
            assert served.get(path, **{"If-None-Match": headers["etag"]})[0] == HTTPStatus.NOT_MODIFIED
    for file in ("zendaemon.css", "zendaemon.js", "favicon.svg"):
        assert served.get(f"/static/{file}")[0] == HTTPStatus.OK


def test_what_others_wrote_is_shown_as_it_is_written(served: Served) -> None:
    for path in ("/", f"/schedules/{served.dotted}", "/?tag=%3Ci%3E%22&search=%3Cscript%3E", "/schedules/%3Cscript%3E"):
        _, _, text = served.get(path)
        assert "<b>bold" not in text
        assert "<i>" not in text
        assert not re.search(r"<script(?! src=\"/static/zendaemon.js\")", text)
    assert "&lt;b&gt;bold&lt;/b&gt; &lt;script&gt;" in served.get("/")[2]


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=9999999999", "page=x", "state=no", "sort=-", "last=x"])
def test_a_query_without_meaning_is_left_out(served: Served, query: str) -> None:
    status, _, text = served.get(f"/?{query}")
    assert (status, served.good in text) == (HTTPStatus.OK, True)
    assert served.get(f"/schedules/{served.good}?before=x&{query}")[0] == HTTPStatus.OK


def test_an_unknown_schedule(served: Served) -> None:
    status, _, text = served.get(f"/schedules/{served.bad}x")
    assert status == HTTPStatus.NOT_FOUND
    assert f"Did you mean {served.bad}" in text


def test_a_failed_fire_and_its_reason_in_two_clicks(
    served: Served, browser: Browser | None, capfd: pytest.CaptureFixture[str]
) -> None:
    if browser is None:
        return say_not_run(capfd, "a failed fire is found in two clicks")
    with visit(browser, served.url) as page:
        page.goto("/")
        expect(page.get_by_role("heading", name="Not well")).to_be_visible()
        trouble = page.get_by_role("region", name="Recent trouble")
        expect(trouble.get_by_text("its target leads to nothing that the server can start").first).to_be_visible()
        trouble.get_by_role("link", name=served.bad).click()
        history = page.get_by_role("table", name=f"Fires of {served.bad}, the latest first")
        row = history.get_by_role("row").nth(1)
        expect(row).to_contain_text("failed")
        expect(row).to_contain_text("not found")
        expect(row.locator("code")).to_have_text("unresolved")
    return None


def test_how_long_a_run_took(served: Served, browser: Browser | None, capfd: pytest.CaptureFixture[str]) -> None:
    """Once it has ended on the server, its duration is in the history and in the chart."""
    name = served.good
    ends = ["completed", "failed", "completed"]
    fires = served.daemon.started(name)[: len(ends)]
    for fire, end in zip(fires, ends, strict=True):
        served.seeder.set_status(fire["run_id"], end)
    served.daemon.wait_for("run.status", schedule=name, status="failed")
    served.daemon.wait_for("run.status", schedule=name, status="completed", count=2)
    until(lambda: sum(row["run_ended_at"] is not None for row in served.daemon.started(name)) == len(ends))
    rows = {row["run_id"]: row for row in served.daemon.started(name)}
    took = {}
    for fire in fires:
        row = rows[fire["run_id"]]
        begun, ended = (datetime.fromisoformat(row[key]) for key in ("run_started_at", "run_ended_at"))
        took[row["run_name"]] = seconds((ended - begun).total_seconds())
        assert begun <= ended <= datetime.now(UTC)
    label = f"run durations of the latest {len(ends)} fires: median "
    _, _, text = served.get(f"/schedules/{name}")
    assert f'aria-label="{label}' in text
    assert "No run is known to have ended yet." in served.get(f"/schedules/{served.bad}")[2]
    if browser is None:
        return say_not_run(capfd, "how long a run took")
    with visit(browser, served.url) as page:
        page.goto(f"/schedules/{name}")
        region = page.get_by_role("region", name="Run durations")
        chart = region.get_by_role("img", name=label)
        expect(chart.locator("use.started")).to_have_count(2)
        expect(chart.locator("use.run-failed")).to_have_count(1)
        history = page.get_by_role("table", name=f"Fires of {name}, the latest first")
        heads = history.get_by_role("columnheader").all_inner_texts()
        for run_name, duration in took.items():
            row = history.get_by_role("row").filter(has_text=run_name)
            expect(row.get_by_role("cell").nth(heads.index("Duration"))).to_have_text(duration)
    return None


def test_a_fire_by_hand_with_the_keyboard_alone(
    served: Served, browser: Browser | None, capfd: pytest.CaptureFixture[str]
) -> None:
    if browser is None:
        return say_not_run(capfd, "a fire by hand, with the keyboard alone")

    def tab_to(page: Page, text: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").strip() == text:
                return
        pytest.fail(f"Tab does not lead to {text!r}")

    with visit(browser, served.url) as page:
        page.goto("/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        tab_to(page, served.dotted)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/schedules/{served.dotted}")
        tab_to(page, "Fire now…")
        page.keyboard.press("Enter")
        tab_to(page, "Fire now")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="The daemon's token")).to_be_visible()
        page.keyboard.type("a wrong token, long enough")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("the token is wrong")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("Fired")
        row = page.get_by_role("table", name="Fires of").get_by_role("row").nth(1)
        expect(row).to_contain_text("by hand")
        expect(row).to_contain_text("started")
        assert "token" not in page.url
        assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"
    [fire] = served.daemon.started(served.dotted)
    assert fire["manual"]
    return None


def test_a_pause_with_a_note_and_its_end(
    served: Served, browser: Browser | None, capfd: pytest.CaptureFixture[str]
) -> None:
    if browser is None:
        return say_not_run(capfd, "a pause with a note")
    with visit(browser, served.url) as page:
        page.goto(f"/schedules/{served.dotted}")
        page.get_by_role("button", name="Pause…").click()
        page.get_by_label("Note").fill(f"{NASTY} wait")
        page.get_by_label("Until").select_option("in 4 hours")
        page.get_by_role("button", name="Pause", exact=True).click()
        give_token(page)
        expect(page.locator("#said")).to_contain_text("Paused until")
        expect(page.get_by_text(f"{NASTY} wait")).to_be_visible()
        page.goto("/")
        row = page.locator("tr", has=page.get_by_role("link", name=served.dotted))
        expect(row.last).to_contain_text(f"{NASTY} wait")
        page.get_by_label("State", exact=True).select_option("paused")
        expect(page.locator("table.schedules tbody tr")).to_have_count(1)
        assert page.url.endswith("/?state=paused")
        page.goto(f"/schedules/{served.dotted}")
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#said")).to_have_text("Resumed.")
        expect(page.get_by_role("button", name="Pause…")).to_be_visible()
        assert page.evaluate("window.pwned") is None
    return None


def test_a_refused_reload_with_its_line(
    served: Served, browser: Browser | None, shots: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = served.daemon.write_text(BAD, "bad.yaml")
    try:
        if browser is None:
            served.daemon.reload()
            assert "bad.yaml:4:11" in served.get("/reloads")[2]
            return say_not_run(capfd, "a refused reload, by its button")
        with visit(browser, served.url) as page:
            page.goto("/")
            page.get_by_role("button", name="Reload the files").click()
            give_token(page)
            expect(page.locator("#said")).to_contain_text("1 problem")
            page.get_by_role("listitem").filter(has_text="The last reload was refused").get_by_role("link").click()
            problem = page.locator(".problems li").first
            expect(problem).to_contain_text("bad.yaml:4:11")
            expect(problem).to_contain_text("61 is out of range")
            line, caret = problem.locator("pre").inner_text().splitlines()
            assert line[caret.index("^")] == "6"
            page.screenshot(path=shots / "refused.png", full_page=True)
            file.unlink()
            page.get_by_role("button", name="Reload the files").click()
            expect(page.locator("#said")).to_contain_text("Reloaded")
            expect(page.locator(".reload h2").first).to_contain_text("Applied")
    finally:
        file.unlink(missing_ok=True)
    return None


def test_the_page_is_live_and_leaves_the_reader_alone(
    served: Served, browser: Browser | None, capfd: pytest.CaptureFixture[str]
) -> None:
    if browser is None:
        return say_not_run(capfd, "the page is live")
    with visit(browser, served.url, viewport={"width": 900, "height": 400}) as page:
        page.goto("/")
        search = page.get_by_label("Search")
        search.type("zzz")
        expect(page.get_by_text("No schedule is like that.")).to_be_visible()
        search.fill("")
        expect(page.locator("table.schedules tbody tr")).to_have_count(3)
        search.focus()
        page.evaluate("window.scrollTo(0, 300)")
        first = page.locator(".brief li").first.get_attribute("data-key")
        expect(page.locator(".brief li").first).not_to_have_attribute("data-key", first or "")
        assert page.evaluate("document.activeElement.id") == "search"
        assert page.evaluate("window.scrollY") == 300
        page.goto(f"/schedules/{served.good}")
        page.get_by_role("button", name="Pause…").click()
        page.get_by_label("Note").type("half a no")
        newest = page.locator("table.history tbody tr").first
        before = newest.get_attribute("data-key") or ""
        expect(newest).not_to_have_attribute("data-key", before)
        expect(page.get_by_label("Note")).to_be_focused()
        assert page.get_by_label("Note").input_value() == "half a no"
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    return None


def test_it_says_when_the_daemon_does_not_answer(
    served: Served, browser: Browser | None, capfd: pytest.CaptureFixture[str]
) -> None:
    if browser is None:
        return say_not_run(capfd, "the page says when it is not connected")
    with visit(browser, served.url) as page:
        page.goto("/")
        expect(page.locator("#connection")).to_have_text("live")
        served.daemon.send(SIGSTOP)
        try:
            expect(page.locator("#connection")).to_contain_text("not connected since")
        finally:
            served.daemon.send(SIGCONT)
        expect(page.locator("#connection")).to_have_text("live")
    until(lambda: served.daemon.status()["healthy"])
    return None


def test_instants_in_the_zone_that_is_wanted(
    served: Served, browser: Browser | None, capfd: pytest.CaptureFixture[str]
) -> None:
    if browser is None:
        return say_not_run(capfd, "instants in the reader's zone")
    with visit(browser, served.url, timezone_id="Asia/Kolkata") as page:
        page.goto(f"/schedules/{served.dotted}")
        first = page.locator("table.nexts time").first
        for zone, pattern in (("UTC", r"0[01]:30:00Z$"), ("schedule's zone", r"02:30:00 \+0[12]:00$"),
                              ("my zone", r"0[67]:00:00 \+05:30$")):  # fmt: skip
            page.get_by_label("Times").select_option(zone)
            expect(first).to_have_text(re.compile(pattern))
        page.reload()
        expect(first).to_have_text(re.compile(r"\+05:30$"))
    return None


def test_without_a_token_it_says_at_once_that_nothing_can_be_changed(
    browser: Browser | None, tmp_path: Path, shots: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon(tmp_path, "http://127.0.0.1:9", http="127.0.0.1:0", http_token=None)
    daemon.write({"nightly": {"snapshot": "prod", "cron": "0 2 * * *"}})
    with daemon:
        if browser is None:
            return say_not_run(capfd, "buttons that need a token")
        with visit(browser, daemon.wait_for("http.listening")["url"]) as page:
            for path, names in (
                ("/", ["Reload the files"]),
                ("/reloads", ["Reload the files"]),
                ("/schedules/nightly", ["Fire now…", "Pause…"]),
            ):
                page.goto(path)
                expect(page.get_by_text("Nothing can be changed here:")).to_be_visible()
                for name in names:
                    button = page.get_by_role("button", name=name)
                    expect(button).to_be_disabled()
                    expect(button).to_have_accessible_description(re.compile("ZENDAEMON_HTTP_TOKEN_FILE"))
                button.focus()
                page.keyboard.press("Enter")
                expect(page.locator("#said")).to_contain_text("ZENDAEMON_HTTP_TOKEN_FILE")
                expect(page.get_by_role("dialog")).to_have_count(0)
                found = Axe().run(page)
                assert not found.response["violations"], found.generate_report()
            page.screenshot(path=shots / "no-token.png", full_page=True)
    return None


def test_axe_finds_nothing(served: Served, browser: Browser | None, capfd: pytest.CaptureFixture[str]) -> None:
    if browser is None:
        return say_not_run(capfd, "axe")
    for scheme, width in (("light", 1440), ("dark", 1440), ("light", 360)):
        with visit(browser, served.url, color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
            for path in served.pages.values():
                page.goto(path)
                found = Axe().run(page)
                assert not found.response["violations"], f"{path} {scheme} {width}: {found.generate_report()}"
            page.goto(served.pages["schedule"])
            for button in ("Fire now…", "Pause…"):
                page.get_by_role("button", name=button).click()
                assert not (found := Axe().run(page)).response["violations"], found.generate_report()
                page.keyboard.press("Escape")
    return None


def test_nothing_is_cut_off_at_any_width(
    served: Served, browser: Browser | None, shots: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if browser is None:
        return say_not_run(capfd, "screenshots")
    for scheme, media in (("light", "screen"), ("dark", "screen"), ("light", "print")):
        for width in WIDTHS:
            with visit(browser, served.url, color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
                page.emulate_media(media=media)
                for name, path in served.pages.items():
                    page.goto(path)
                    expect(page.locator("#connection")).to_have_text("live")
                    wide = page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= width, f"{name} is {wide} pixels wide"
                    page.screenshot(path=shots / f"{name}-{width}-{scheme}-{media}.png", full_page=True)
    return None
