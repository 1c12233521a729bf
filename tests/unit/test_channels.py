"""Channels and heartbeats as settings and schedules have them, their secrets, and what is signed and blanked out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from zendaemon.core.alert import AlertKind
from zendaemon.core.channel import Channel
from zendaemon.core.errors import SettingsError
from zendaemon.core.schedule import Schedule
from zendaemon.notify.apprised import without
from zendaemon.notify.heartbeats import Ping
from zendaemon.notify.sending import signature, signing_key
from zendaemon.references import follow, secret_of
from zendaemon.settings import load_settings

DOC = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
SECRET = "whsec_c2VjcmV0LW9mLWEtdGVzdC10aGF0LWlzLWxvbmc="


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("ZENDAEMON_", "ZENML_")) or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


def test_the_channels_of_the_docs_are_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL):
        (tmp_path / "zendaemon.toml").write_text(block)
        monkeypatch.setenv("ZENDAEMON_CONFIG", str(tmp_path / "zendaemon.toml"))
        channels = load_settings().notify
        assert set(channels) == {"oncall", "data-team", "tickets"}
        assert channels["data-team"].on == (AlertKind.RUN_FAILED, AlertKind.RUN_STUCK, AlertKind.RECOVERED)
        assert [channel.default for channel in channels.values()] == [True, False, True]


def test_every_kind_and_key_is_in_the_docs() -> None:
    rows = {line.split("`")[1] for line in DOC.splitlines() if line.startswith("| `")}
    assert {kind.value for kind in AlertKind} <= rows
    named = set(re.findall(r"`([a-z_]+)`", DOC))
    assert set(Channel.model_fields) <= named


def test_channels_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENDAEMON_NOTIFY", '{"oncall": {"url_env": "ONCALL", "on": "failed"}}')
    assert load_settings().notify == {"oncall": Channel(url_env="ONCALL", on=(AlertKind.FAILED,))}
    monkeypatch.setenv("ZENDAEMON_NOTIFY", "oncall")
    with pytest.raises(SettingsError, match="notify"):
        load_settings()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url_file": "/a", "webhook": "https://x"}, "more than one of url_env, url_file and webhook"),
        ({"webhook": "ftp://x"}, "notify.oncall.webhook"),
        ({"url_file": "/a", "secret_file": "/b"}, "has a secret, which goes with webhook"),
        ({"url_file": "/a", "on": ["fialed"]}, "notify.oncall.on.0"),
        ({"url": "mailto://user:pa55word@x"}, "notify.oncall.url"),
        ({"webhook": "https://x", "secret_env": "A", "secret_file": "/b"}, "secret_env and secret_file"),
    ],
)
def test_a_wrong_channel_is_refused_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, object], said: str
) -> None:
    import json  # noqa: PLC0415

    monkeypatch.setenv("ZENDAEMON_NOTIFY", json.dumps({"oncall": given}))
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert said in str(refused.value)
    assert "pa55word" not in str(refused.value)


def test_the_secret_of_a_channel(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("json://file\n")
    (tmp_path / "zendaemon.notify.oncall").write_text("json://credential\n")
    environment = {"URL": "json://variable", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    hook = Channel(webhook="https://x")
    assert secret_of("oncall", Channel(url_env="URL"), environment)() == "json://variable"
    assert secret_of("oncall", Channel(url_file=str(tmp_path / "url")), environment)() == "json://file"
    assert secret_of("oncall", Channel(), environment)() == "json://credential"
    assert secret_of("oncall", hook, environment)() == "json://credential"
    assert secret_of("other", hook, environment)() is None
    for channel in (Channel(), Channel(url_env="NONE"), Channel(url_file="/nowhere/at/all")):
        with pytest.raises(SettingsError, match="other"):
            secret_of("other", channel, {})()


def test_where_a_reference_leads(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("https://x/secret\n")
    environment = {"URL": "https://x/variable", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert follow("env:URL", "it", environment) == "https://x/variable"
    assert follow(f"file:{tmp_path}/name", "it", environment) == "https://x/secret"
    assert follow("credential:name", "it", environment) == "https://x/secret"
    assert follow("https://x/itself", "it", environment) == "https://x/itself"
    for reference in ("env:NONE", "file:/nowhere", "credential:none"):
        with pytest.raises(SettingsError, match="it"):
            follow(reference, "it", environment)


def scheduled(url: str) -> Schedule:
    return Schedule.model_validate({"name": "nightly", "snapshot": "x", "every": "1h", "heartbeat_url": url})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("env:NIGHTLY", "env:NIGHTLY"),
        ("file:/etc/zendaemon/nightly", "file:/etc/zendaemon/nightly"),
        ("credential:nightly", "credential:nightly"),
        ("https://hc-ping.com/0b5d7f0e", "***"),
    ],
)
def test_a_heartbeat_is_shown_where_it_is_a_reference(url: str, shown: str) -> None:
    made = scheduled(url)
    assert made.model_dump(mode="json")["heartbeat_url"] == shown
    assert "0b5d7f0e" not in repr(made)
    assert made == scheduled(url)
    assert made != scheduled(url + "x")


@pytest.mark.parametrize("url", ["hc-ping.com/0b5d7f0e", "file:relative", "env:", "ftp://x/0b5d7f0e", ""])
def test_what_is_no_heartbeat_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="heartbeat_url") as refused:
        scheduled(url)
    (error,) = refused.value.errors()  # type: ignore[attr-defined]
    assert "0b5d7f0e" not in error["msg"]


@pytest.mark.parametrize(
    ("url", "ping", "address"),
    [
        ("https://h/1", Ping("/start", "r 1"), "https://h/1/start?rid=r+1"),
        ("https://h/1/", Ping("", "r1"), "https://h/1?rid=r1"),
        ("https://h/1?create=1", Ping("/fail", "r1"), "https://h/1/fail?create=1&rid=r1"),
        ("https://h/1", Ping(""), "https://h/1"),
    ],
)
def test_the_address_of_a_ping(url: str, ping: Ping, address: str) -> None:
    assert ping.address(url) == address


def test_a_webhook_is_signed_as_the_reference_signs_it() -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    at = datetime(2026, 11, 23, tzinfo=UTC)
    ours = signature(signing_key(SECRET), "id-1", int(at.timestamp()), b'{"a": 1}')
    assert ours == Webhook(SECRET).sign("id-1", at, '{"a": 1}')
    assert signing_key(SECRET) == signing_key(SECRET.removeprefix("whsec_"))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "not base64 at all"])
def test_a_weak_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(SettingsError, match="base64 of 16 bytes") as refused:
        signing_key(secret)
    assert not secret or secret not in refused.value.message


def test_parts_of_a_url_are_blanked_out() -> None:
    url = "mailtos://us%40er:pass%2Fword@mail.example.com/?to=oncall@example.com"
    text = without(url, "us@er at mail.example.com with pass/word (pass%2Fword) for oncall@example.com: refused")
    assert text == "*** at *** with *** (***) for ***@***: refused"
