"""Settings: flag before environment before file before surroundings; secrets never shown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from zendaemon.core.address import Address
from zendaemon.core.errors import SettingsError
from zendaemon.settings import load_settings, unknown_variables


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os  # noqa: PLC0415

    for name in list(os.environ):
        if name.startswith(("ZENDAEMON_", "ZENML_")) or name in {"STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"}:
            monkeypatch.delenv(name)


def test_a_flag_goes_before_the_environment_before_the_file_before_zenml(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "zendaemon.toml"
    file.write_text('server_url = "https://file"\nlog_level = "debug"\nresolve_interval = "90s"\n')
    monkeypatch.setenv("ZENML_STORE_URL", "https://zenml")
    assert load_settings().server() == "https://zenml"
    monkeypatch.setenv("ZENDAEMON_CONFIG", str(file))
    assert load_settings().server() == "https://file"
    assert load_settings().resolve_interval == timedelta(seconds=90)
    monkeypatch.setenv("ZENDAEMON_SERVER_URL", "https://environment")
    assert load_settings().server() == "https://environment"
    assert load_settings(server_url="https://flag").server() == "https://flag"
    assert load_settings().log_level == "debug"


def test_a_local_store_of_zenml_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_STORE_URL", "sqlite:////tmp/zen.db")
    with pytest.raises(SettingsError, match="ZENDAEMON_SERVER_URL"):
        load_settings().server()


def test_under_systemd_state_and_credentials_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "zendaemon.api_key").write_text("ZENKEY_secret\n")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/zendaemon")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings()
    assert settings.state == Path("/var/lib/zendaemon")
    assert settings.journal_url() == "sqlite:////var/lib/zendaemon/journal.db"
    read = settings.secret("api_key")
    assert read is not None
    assert read() == "ZENKEY_secret"
    (tmp_path / "zendaemon.api_key").write_text("ZENKEY_rotated")
    assert read() == "ZENKEY_rotated"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ZENDAEMON_MAX_CONCURRENCY": "many"}, ["max_concurrency", "ZENDAEMON_MAX_CONCURRENCY", "integer"]),
        ({"ZENDAEMON_RESOLVE_INTERVAL": "soon"}, ["resolve_interval", "no duration"]),
        ({"ZENDAEMON_RETENTION": "0s"}, ["retention", "longer than zero"]),
        ({"ZENDAEMON_RETENTION_COUNT": "0"}, ["retention_count", "greater than or equal to 1"]),
        ({"ZENDAEMON_LOG_FORMAT": "xml"}, ["log_format", "json"]),
        ({"ZENDAEMON_MAX_CONCURRENCY": "0", "ZENDAEMON_LOG_LEVEL": "loud"}, ["max_concurrency", "log_level"]),
    ],
    ids=["no number", "no duration", "keep nothing", "keep none", "unknown format", "all problems at once"],
)
def test_a_wrong_setting_is_named(variables: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    for word in words:
        assert word in str(caught.value)


def test_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load_settings().retention, load_settings().retention_count) == (timedelta(days=90), 10_000)
    monkeypatch.setenv("ZENDAEMON_RETENTION", "2w")
    monkeypatch.setenv("ZENDAEMON_RETENTION_COUNT", "500")
    assert (load_settings().retention, load_settings().retention_count) == (timedelta(weeks=2), 500)


def test_http(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings().http == Address("127.0.0.1", 8787)
    assert load_settings().http_secret() is None
    assert load_settings(http="off").http is None
    with pytest.raises(SettingsError, match="ZENDAEMON_HTTP_TOKEN_FILE"):
        load_settings(http="0.0.0.0:8787").http_secret()
    for wrong in ("8787", "127.0.0.1", "http://127.0.0.1:8787"):
        with pytest.raises(SettingsError, match="or off"):
            load_settings(http=wrong)
    monkeypatch.setenv("ZENDAEMON_HTTP", "8787")
    with pytest.raises(SettingsError, match="write host:port"):
        load_settings()
    monkeypatch.setenv("ZENDAEMON_HTTP", "[::1]:80")
    assert load_settings().http == Address("::1", 80)
    monkeypatch.setenv("ZENDAEMON_HTTP_HOSTS", "proxy.example, Other.example")
    assert load_settings().http_hosts == ("proxy.example", "other.example")
    with pytest.raises(SettingsError, match="host names without ports"):
        load_settings(http_hosts="proxy.example:443")
    file = tmp_path / "zendaemon.http_token"
    file.write_text("0123456789abcde\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SettingsError, match="less than 16 characters"):
        load_settings().http_secret()
    file.write_text("0123456789abcdef\n")
    read = load_settings(http="[::]:80").http_secret()
    assert read is not None
    file.write_text("another-0123456789abcdef\n")
    assert read() == "another-0123456789abcdef"
    for wrong in ("another-0123\n", "another-0123456789abcdef\n2\n", "schlüssel-0123456789abcdef\n"):
        file.write_text(wrong)
        with pytest.raises(SettingsError, match="http_token has") as error:
            read()
        assert "0123" not in f"{error.value}"


def test_an_unknown_key_of_the_file_gets_a_near_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "zendaemon.toml"
    file.write_text('servr_url = "https://x"\n')
    monkeypatch.setenv("ZENDAEMON_CONFIG", str(file))
    with pytest.raises(SettingsError, match="did you mean server_url"):
        load_settings()


@pytest.mark.parametrize("content", [None, "a = = b"], ids=["missing", "no TOML"])
def test_a_settings_file_that_cannot_be_read(
    content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "zendaemon.toml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("ZENDAEMON_CONFIG", str(file))
    with pytest.raises(SettingsError, match="settings file"):
        load_settings()


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZENDAEMON_TOKEN", "eyJ.secret")
    monkeypatch.setenv("ZENDAEMON_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(SettingsError, match="both set") as caught:
        load_settings().secret("token")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", b"\xff\xfe"], ids=["missing", "empty", "not UTF-8"])
def test_a_secret_file_that_cannot_be_read(content: str | bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "key"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        file.write_text(content)
    read = load_settings(api_key_file=file).secret("api_key")
    assert read is not None
    with pytest.raises(SettingsError, match="key"):
        read()


def test_secrets_are_not_in_the_text_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "TOKEN", "PASSWORD", "DATABASE_URL", "HTTP_TOKEN"):
        monkeypatch.setenv(f"ZENDAEMON_{name}", "hunter2")
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


def test_variables_that_look_like_settings_are_told() -> None:
    found = unknown_variables({"ZENDAEMON_SERVER_ULR": "x", "ZENDAEMON_STATE": "x", "PATH": "x"})
    assert found == ["ZENDAEMON_SERVER_ULR; did you mean ZENDAEMON_SERVER_URL?"]
