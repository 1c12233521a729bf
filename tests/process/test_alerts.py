"""Alerts and heartbeats of the real daemon, at a real mail server and real receivers of webhooks and pings.

The long form of the outage: `ZENDAEMON_OUTAGE_SECONDS=180`.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from process.daemon import Daemon, in_seconds, text_of, until
from standardwebhooks import Webhook
from standin.chaos import Apart
from standin.receivers import Hook, Mailbox
from standin.server import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from standin.receivers import Post

OUTAGE = int(os.environ.get("ZENDAEMON_OUTAGE_SECONDS", "15"))
SECRET = "whsec_c2VjcmV0LW9mLWEtdGVzdC10aGF0LWlzLWxvbmc="
PATHS = ("/", "/schedules/nightly", "/reloads", "/metrics", "/api/v1/status", "/api/v1/schedules/nightly")
TARGET = {"snapshot": "training-prod"}


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as made:
        yield made


def settings(folder: Path, text: str) -> Path:
    """The settings file, and the secret of webhooks beside it."""
    (folder / "secret").write_text(SECRET)
    file = folder / "zendaemon.toml"
    file.write_text(text.replace("SECRET", str(folder / "secret")))
    return file


def data(post: Post) -> dict[str, Any]:
    """What a webhook says, if its signature is right by the reference implementation."""
    Webhook(SECRET).verify(post.body, post.headers)
    found: dict[str, Any] = json.loads(post.body)["data"]
    return found


@pytest.mark.timeout(300 + OUTAGE)
def test_an_outage_with_500_schedules_is_one_alert_at_its_beginning_and_one_at_its_end(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    server = StandIn()
    server.run_status = "completed"
    (tmp_path / "mail").write_text(mailbox.url)
    with Apart(server) as apart, Hook(500, 503) as hook:
        config = settings(
            tmp_path,
            f'[notify.mail]\nurl_file = "{tmp_path}/mail"\n'
            f'[notify.hook]\nwebhook = "{hook.url}/in"\nsecret_file = "SECRET"\n',
        )
        daemon = Daemon(tmp_path, server.url, config=config, resolve_interval="1h")
        begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=8)
        due = [text_of(begin + timedelta(seconds=1 + number % max(1, OUTAGE - 10))) for number in range(500)]
        schedules: dict[str, dict[str, Any]] = {f"due-{n}": {**TARGET, "at": [due[n]]} for n in range(482)}
        for n in range(15):
            schedules[f"lapse-{n}"] = {**TARGET, "at": [due[n]], "catchup_window": f"{OUTAGE // 3}s"}
        for n in range(3):
            once = {"retry": {"max_attempts": 1}, "priority": 90}
            schedules[f"once-{n}"] = {**TARGET, "at": [due[0]], **once}
        daemon.write(schedules)
        with daemon:
            daemon.wait_for("schedule.resolved")
            time.sleep(max(0.0, (begin - datetime.now(UTC)).total_seconds()))
            apart.refuse()
            time.sleep(OUTAGE)
            apart.listen()
            until(lambda: len(mailbox.mails) >= 2 and len(hook.taken) >= 2, 180)
            time.sleep(3)
            rows = daemon.history()
            metrics_of_the_log = Counter(line["channel"] for line in daemon.events("notify.sent"))
    states = Counter(row["state"] for row in rows)
    print(dict(states), mailbox.subjects, [(post.path, post.status) for post in hook.posts])
    assert states.total() == 500
    assert states["missed"] == 15
    assert states["failed"] == 3
    assert [subject.partition("] ")[2] for subject in mailbox.subjects] == [
        "the ZenML server is unavailable",
        "the ZenML server is back",
    ]
    assert len(mailbox.mails) == 2
    text = mailbox.mails[1].get_body(("plain", "html")).get_content()  # type: ignore[union-attr]
    for counted in ("482 were started late", "15 were missed", "3 failed"):
        assert counted in text
    first, second = hook.taken
    assert [data(post)["kind"] for post in (first, second)] == ["unavailable", "recovered"]
    assert data(second)["counts"] == {"late": 482, "missed": 15, "failed": 3, "waiting": 0}
    tries = [post for post in hook.posts if post.headers["webhook-id"] == first.headers["webhook-id"]]
    assert [post.status for post in tries] == [500, 503, 204]
    assert len({post.body for post in tries}) == 1
    assert len(hook.posts) == 4
    assert metrics_of_the_log == {"mail": 2, "hook": 2}
    assert [line["error"] for line in daemon.events("notify.failed")] == ["the answer was 500", "the answer was 503"]
    assert len(daemon.events("notify.back", channel="hook")) == 1
    assert not daemon.events("engine.error")
    assert SECRET not in daemon.log()


@pytest.fixture
def server() -> Iterator[StandIn]:
    made = StandIn()
    with Apart(made):
        yield made


def test_an_alert_that_was_not_delivered_is_sent_by_the_next_process(tmp_path: Path, server: StandIn) -> None:
    with Hook(otherwise=503) as hook:
        config = settings(tmp_path, f'[notify.hook]\nwebhook = "{hook.url}/in"\nsecret_file = "SECRET"\n')
        daemon = Daemon(tmp_path, server.url, config=config)
        daemon.write({"wrong": {"snapshot": "nothing-like-it", "every": "1h"}})
        with daemon:
            until(lambda: len(hook.posts) >= 2)
            (waiting,) = daemon.status()["channels"]
            assert (waiting["channel"], waiting["waiting"], waiting["error"]) == ("hook", 1, "the answer was 503")
            daemon.kill()
            before = len(hook.posts)
            hook.otherwise = 204
            daemon.start()
            until(lambda: hook.taken)
            time.sleep(8)
            assert len({post.headers["webhook-id"] for post in hook.posts}) == 1
            assert len(hook.posts) == before + 1, "delivered once, and the target is not told of again"
            assert daemon.status()["channels"][0]["waiting"] == 0
            daemon.write({"wrong": {**TARGET, "every": "1h"}})
            daemon.reload()
            until(lambda: len(hook.taken) == 2)
    found = [data(post) for post in hook.taken]
    assert [(each["kind"], each["of"]) for each in found] == [("unresolved", None), ("recovered", "unresolved")]
    assert found[0]["schedules"] == ["wrong"]


def test_a_schedule_that_is_paused_after_failures_is_told_and_when_it_is_resumed(
    tmp_path: Path, server: StandIn
) -> None:
    server.run_status = "failed"
    with Hook() as hook:
        config = settings(tmp_path, f'[notify.hook]\nwebhook = "{hook.url}/in"\nsecret_file = "SECRET"\n')
        daemon = Daemon(tmp_path, server.url, config=config)
        daemon.write({"often": {**TARGET, "every": "2s", "pause_after_failures": 2}})
        with daemon:
            daemon.wait_for("schedule.paused", by="failures")
            until(lambda: len(hook.taken) >= 2)
            server.run_status = "completed"
            assert daemon.command("resume", "often").returncode == 0
            until(lambda: len(hook.taken) >= 4)
            assert not daemon.events("engine.error")
    found = sorted((data(post)["kind"], data(post)["of"] or "") for post in hook.taken)
    assert found == [("paused", ""), ("recovered", "paused"), ("recovered", "run_failed"), ("run_failed", "")]
    paused = next(data(post) for post in hook.taken if data(post)["kind"] == "paused")
    assert paused["alerts"][0]["text"].startswith("often is paused: ")


def test_channels_that_hang_or_fail_do_not_disturb_firing(tmp_path: Path, server: StandIn) -> None:
    server.run_status = "failed"
    with Hook(otherwise=0) as hanging, Hook(otherwise=0) as switch:
        (tmp_path / "mail").write_text(
            "mailto://user:pa55word-of-mail@127.0.0.1:9/?from=a@example.org&to=b@example.org"
        )
        config = settings(
            tmp_path, f'[notify.hook]\nwebhook = "{hanging.url}/in"\n[notify.mail]\nurl_file = "{tmp_path}/mail"\n'
        )
        daemon = Daemon(tmp_path, server.url, config=config)
        url = f"{switch.url}/0b5d7f0e-secret-of-a-switch"
        daemon.write({f"tick-{n}": {**TARGET, "every": "1s", "heartbeat_url": url} for n in range(5)})
        with daemon:
            until(lambda: hanging.posts and switch.posts)
            daemon.wait_for("notify.failed", channel="mail")
            count = len(daemon.started())
            time.sleep(10)
            assert len(daemon.started()) >= count + 40
            assert max(row["lateness_seconds"] for row in daemon.started()[-40:]) < 1
            daemon.wait_for("notify.failed", channel="hook", error="no answer within 10 s")
            daemon.wait_for("heartbeat.failed", error="no answer within 10 s")
            shown = json.dumps(daemon.status()) + daemon.command("status").stdout
            assert daemon.stop() == 0
    assert "pa55word-of-mail" not in daemon.log() + shown
    assert "secret-of-a-switch" not in daemon.log() + shown
    assert not daemon.events("engine.error")


def test_no_page_and_no_answer_shows_a_secret(tmp_path: Path, server: StandIn) -> None:
    secrets = ["pa55word-of-mail", "token-of-a-chat", "path-of-a-switch", SECRET, "path-of-the-daemon"]
    with Hook(otherwise=503) as hook:
        (tmp_path / "mail").write_text("mailto://user:pa55word-of-mail@127.0.0.1:9/?from=a@x.org&to=b@x.org")
        config = settings(
            tmp_path,
            f'[notify.hook]\nwebhook = "{hook.url}/in"\nsecret_file = "SECRET"\n'
            f'[notify.mail]\nurl_file = "{tmp_path}/mail"\n[notify.chat]\nurl_env = "ZENDAEMON_CHAT_FOR_TESTS"\n',
        )
        environment = {"chat_for_tests": "slack://token-of-a-chat/token-of-a-chat/token-of-a-chat"}
        daemon = Daemon(
            tmp_path,
            server.url,
            config=config,
            http="127.0.0.1:0",
            log_level="debug",
            heartbeat_url=f"{hook.url}/path-of-the-daemon",
            **environment,
        )
        daemon.write({"nightly": {**TARGET, "every": "1s", "heartbeat_url": f"{hook.url}/path-of-a-switch"}})
        with daemon:
            url = daemon.wait_for("http.listening")["url"]
            daemon.write({"late": {**TARGET, "every": "1s", "heartbeat_url": "htps://h/path-of-a-switch"}}, "bad.yaml")
            shown = [daemon.reload().stdout]
            for channel in ("hook", "mail", "chat"):
                daemon.wait_for("notify.failed", channel=channel)
            daemon.wait_for("heartbeat.failed", schedule="nightly")
            daemon.wait_for("heartbeat.failed", schedule=None)
            shown += [httpx.get(url.rstrip("/") + path, trust_env=False).text for path in PATHS]
            shown += [daemon.command(*words).stdout for words in (["status"], ["notify", "--test"], ["check"])]
            shown.append(json.dumps(daemon.status()))
            assert '"heartbeat_url":"***"' in shown[6]
            assert daemon.stop() == 0
        shown += [
            daemon.log(),
            *(file.read_bytes().decode(errors="replace") for file in (tmp_path / "state").glob("*")),
        ]
    assert "is not available" not in shown[1]
    assert "takes no alerts since" in shown[1]
    for secret in secrets:
        assert not [text[:200] for text in shown if secret in text], secret


def test_a_switch_hears_of_each_run(tmp_path: Path, server: StandIn) -> None:
    with Hook() as switch:
        (tmp_path / "url").write_text(f"{switch.url}/ping/nightly\n")
        server.run_status = "completed"
        daemon = Daemon(tmp_path, server.url, heartbeat_url=f"{switch.url}/ping/daemon", heartbeat_interval="1s")
        well = {**TARGET, "at": [in_seconds(3)], "heartbeat_url": f"file:{tmp_path}/url"}
        bad = {"snapshot": "nothing-like-it", "at": [in_seconds(3)], "heartbeat_url": f"{switch.url}/ping/bad?x=1"}
        daemon.write({"nightly": well, "bad": bad})
        with daemon:
            until(lambda: len([post for post in switch.posts if "nightly" in post.path]) >= 2)
            until(lambda: [post for post in switch.posts if "bad" in post.path])
            (row,) = daemon.started("nightly")
            (failed,) = daemon.history("bad")
            until(lambda: len([post for post in switch.posts if "daemon" in post.path]) >= 3)
            assert daemon.command("notify").returncode == 1
    rid = row["run_id"]
    assert [post.path for post in switch.posts if "nightly" in post.path] == [
        f"/ping/nightly/start?rid={rid}",
        f"/ping/nightly?rid={rid}",
    ]
    (ping,) = [post for post in switch.posts if "bad" in post.path]
    assert ping.path.startswith("/ping/bad/fail?x=1&rid=")
    assert ping.body.decode().startswith(f"failed {failed['fire_time']}: unresolved")


def test_the_command_lists_and_tests_channels(tmp_path: Path, server: StandIn, mailbox: Mailbox) -> None:
    with Hook() as hook:
        config = settings(
            tmp_path,
            f'[notify.hook]\nwebhook = "{hook.url}/in"\nsecret_file = "SECRET"\non = ["failed", "recovered"]\n'
            '[notify.mail]\nurl_env = "MAIL_URL"\ndefault = false\n',
        )
        daemon = Daemon(tmp_path, server.url, config=config)
        listed = daemon.command("notify", "--json")
        rows = [json.loads(line) for line in listed.stdout.splitlines()]
        assert listed.returncode == 1
        assert [(row["channel"], row["kind"], row["on"]) for row in rows] == [
            ("hook", "webhook", ["failed", "recovered"]),
            ("mail", "apprise", ["all"]),
        ]
        assert "MAIL_URL" in rows[1]["error"]
        assert daemon.command("notify", "--test", "hook").returncode == 0
        assert data(hook.taken[0])["title"] == "a test of the channel hook"
        tested = daemon.command("notify", "--test")
        assert tested.returncode == 1
        (tmp_path / "mail").write_text(mailbox.url)
        config.write_text(config.read_text().replace('url_env = "MAIL_URL"', f'url_file = "{tmp_path}/mail"'))
        tested = daemon.command("notify", "--test", "mail")
        assert (tested.returncode, tested.stdout.count("yes")) == (0, 1), tested
        assert mailbox.subjects == ["[zendaemon] a test of the channel mail"]
        daemon.write({"nightly": {**TARGET, "every": "1h", "notify": {"hok": ["failed"]}}})
        (warning,) = json.loads(daemon.command("check", "--json").stdout)["warnings"]
        assert (warning["code"], warning["line"]) == ("unknown-channel", 6)
        assert "did you mean hook?" in warning["message"]
        with daemon:
            assert "did you mean hook?" in daemon.wait_for("schedule.suspect", code="unknown-channel")["warning"]
        unknown = daemon.command("notify", "--test", "hok")
        assert unknown.returncode == 1
        assert "hook" in unknown.stderr
