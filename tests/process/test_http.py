"""The status page's server in the real daemon: what it lets in, what it does, and that firing never waits for it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from process.daemon import Daemon, model, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Seeder

NOWHERE = "http://127.0.0.1:9"
TOKEN = "a-token-of-the-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LATER = {"cron": "0 2 1 1 *", "timezone": "Europe/Berlin"}
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def api(daemon: Daemon, **options: Any) -> httpx.Client:  # noqa: ANN401 - as httpx has them
    """A client of the daemon's latest address."""
    url = daemon.wait_for("http.listening")["url"]
    return httpx.Client(base_url=url, timeout=60, trust_env=False, **options)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """`make(url, **settings)`: a daemon with a page at a free port; none is left at the end."""
    made: list[Daemon] = []

    def one(url: str = NOWHERE, **settings: object) -> Daemon:
        made.append(Daemon(tmp_path / str(len(made)), url, **{"http": "127.0.0.1:0", "http_token": TOKEN, **settings}))
        return made[-1]

    yield one
    for daemon in made:
        daemon.kill()


@pytest.fixture(scope="module")
def its_seeder(servers: ServerPool) -> Seeder:
    return servers.seeder(servers.get("0.98.0"))


def test_fire_pause_and_reload_on_a_real_server(
    make: Callable[..., Daemon], servers: ServerPool, its_seeder: Seeder, unique_name: str
) -> None:
    daemon = make(servers.get("0.98.0").url)
    target = its_seeder.runnable(unique_name).target
    file = daemon.write({unique_name: {**target, **LATER, "config": model("rf")}})
    with daemon, api(daemon, headers=BEARER) as client:
        # A fire by POST makes exactly one run.
        answer = client.post(f"/api/v1/schedules/{unique_name}/fire")
        assert answer.status_code == 202, answer.text
        row = until(lambda: daemon.started(unique_name))[0]
        [run] = its_seeder.runs(unique_name)
        assert (run["id"], run["name"]) == (row["run_id"], answer.json()["run_name"])
        [shown] = client.get(f"/api/v1/fires?schedule={unique_name}").json()["fires"]
        assert (shown["state"], shown["run_id"]) == ("started", run["id"])

        # A reload that is refused shows file, line and excerpt, and changes nothing.
        good = file.read_text()
        file.write_text(good.replace('"cron": "0 2 1 1 *"', '"cron": "0 25 1 1 *"'))
        refused = client.post("/api/v1/reload")
        assert refused.status_code == 409
        [problem] = refused.json()["problems"]
        assert problem["file"] == str(file)
        line = file.read_text().splitlines()[problem["line"] - 1]
        assert (problem["excerpt"], '"0 25 1 1 *"' in line) == (line, True)
        assert client.get("/api/v1/reloads").json()["reloads"][0]["problems"] == [problem]
        assert client.get("/api/v1/status").json()["reload"]["applied"] is False
        assert client.get(f"/api/v1/schedules/{unique_name}").status_code == 200
        file.write_text(good)
        assert client.post("/api/v1/reload").json()["changes"]["unchanged"] == 1

        # A pause survives a restart.
        paused = client.post(f"/api/v1/schedules/{unique_name}/pause", json={"note": "till the audit is over"})
        assert paused.status_code == 200
        assert daemon.stop() == 0
        assert daemon.stray == []
    with daemon, api(daemon, headers=BEARER) as client:
        assert client.get(f"/api/v1/schedules/{unique_name}").json()["paused"] == paused.json()
        assert client.post(f"/api/v1/schedules/{unique_name}/resume").status_code == 200
        assert client.get(f"/api/v1/schedules/{unique_name}").json()["state"] == "active"
    assert TOKEN not in daemon.log()


def test_who_is_refused(make: Callable[..., Daemon]) -> None:
    daemon = make()
    daemon.write({"a": {"snapshot": "x", **LATER}})
    with daemon, api(daemon) as client:
        here = str(client.base_url.netloc.decode())
        for headers, status in (
            ({"Host": "evil.example"}, 421),
            ({**BEARER, "Host": f"evil.example:{client.base_url.port}"}, 421),
            ({**BEARER, "Origin": "http://evil.example"}, 403),
            ({**BEARER, "Origin": f"http://{here}.evil.example"}, 403),
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({**BEARER, "Origin": f"http://{here}"}, 200),
        ):
            answer = client.post("/api/v1/reload", headers=headers)
            assert answer.status_code == status, (headers, answer.text)
            assert "content-security-policy" in answer.headers
            assert "server" not in answer.headers
        for _ in range(9):
            assert client.post("/api/v1/reload", headers={"Authorization": "Bearer wrong"}).status_code == 401
        answer = client.post("/api/v1/reload", headers=BEARER)
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
        assert client.get("/api/v1/status").status_code == 200
        assert client.get("/healthz", headers={"Host": "10.1.2.3"}).json() == {"ok": True, "reason": None}
    assert not daemon.events("http.error")


def test_a_token_in_a_file_may_be_rotated(make: Callable[..., Daemon], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("the-first-token-of-the-tests\n")
    daemon = make(http_token=None, http_token_file=token)
    with daemon, api(daemon) as client:

        def reload(text: str) -> int:
            return client.post("/api/v1/reload", headers={"Authorization": f"Bearer {text}"}).status_code

        assert reload("the-first-token-of-the-tests") == 200
        token.write_text("the-second-token-of-the-tests\n")
        assert [reload("the-first-token-of-the-tests"), reload("the-second-token-of-the-tests")] == [401, 200]
        token.unlink()
        assert reload("the-second-token-of-the-tests") == 503
        assert str(token) not in client.post("/api/v1/reload", headers=BEARER).text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"http": "0.0.0.0:0", "http_token": None}, "ZENDAEMON_HTTP_TOKEN_FILE"),
        ({"http": "[::]:0", "http_token": None}, "ZENDAEMON_HTTP_TOKEN_FILE"),
        ({"http_token": "short"}, "openssl rand"),
        ({"http_token": None, "http_token_file": "/nonexistent/token"}, "cannot read http_token"),
        ({"http": "8787"}, "127.0.0.1:8787"),
    ],
    ids=["beyond loopback without a token", "the same, IPv6", "short token", "no token file", "no address"],
)
def test_what_would_be_unsafe_does_not_start(
    make: Callable[..., Daemon], settings: dict[str, object], words: str
) -> None:
    daemon = make(**settings)
    daemon.write({"a": {"snapshot": "x", **LATER}})
    daemon.start(ready=False)
    assert daemon.ended() == 2
    assert words in daemon.log()
    assert not daemon.events("daemon.starting")


def test_beyond_loopback_every_request_needs_the_token(make: Callable[..., Daemon]) -> None:
    daemon = make(http="0.0.0.0:0")
    with daemon:
        port = httpx.URL(daemon.wait_for("http.listening")["url"]).port
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for path in ("/api/v1/status", "/api/v1/openapi.json", "/"):
                assert client.get(path).status_code == 401
                assert client.get(path, headers=BEARER).status_code == 200
            assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_a_port_in_use_does_not_keep_fires_from_their_time(make: Callable[..., Daemon]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = make(http=f"127.0.0.1:{port}")
        daemon.write({"a": {"snapshot": "x", "every": "1s"}})
        with daemon:
            said = daemon.wait_for("http.unavailable")
            assert said["address"] == f"127.0.0.1:{port}"
            assert "ZENDAEMON_HTTP" in said["remedy"]
            until(lambda: daemon.history("a"))
            assert daemon.stop() == 0
    assert not daemon.events("http.listening")
    assert daemon.stray == []


def test_a_stop_answers_what_was_asked_and_leaves_no_connection(make: Callable[..., Daemon]) -> None:
    daemon = make()
    with daemon, api(daemon) as client:
        assert client.get("/api/v1/status").status_code == 200  # and is kept open
        assert daemon.stop() == 0
        with pytest.raises(httpx.TransportError):
            client.get("/healthz")
    assert not daemon.events("http.error")
    assert daemon.stray == []


NO_SUCH_NAMES = r"Missing test data: \d operations? repeatedly returned 404"
"""What it says of operations on names that it makes up, which no schedule has."""
WITH_NAMES = """
[parameters]
"path.name" = "nightly"
[[operations]]
include-operation-id = "fires"
[operations.parameters]
"query.cursor" = "{cursor}"
"""
WITHOUT_CURSORS = """
[[operations]]
include-operation-id = "fires"
[operations.parameters]
"query.cursor" = "{cursor}"
"""


@pytest.mark.parametrize("config", [WITH_NAMES, WITHOUT_CURSORS], ids=["of a schedule", "of any name"])
def test_schemathesis_finds_nothing(make: Callable[..., Daemon], tmp_path: Path, config: str) -> None:
    """All checks and phases. A cursor is no text that anybody may make up, so it is given one."""
    daemon = make()
    often, seldom = {"snapshot": "x", "every": "2s"}, {"snapshot": "x", "tags": ["a"], **LATER}
    daemon.write({"nightly": seldom, "often": often, "third": often})
    with daemon, api(daemon) as client:
        until(lambda: len(daemon.history()) >= 2)
        cursor = client.get("/api/v1/fires?limit=1").json()["next_cursor"]
        file = tmp_path / "schemathesis.toml"
        file.write_text(config.format(cursor=cursor))
        schema = f"{client.base_url}api/v1/openapi.json"
        given = ["--config-file", file, "run", schema, "--header", f"Authorization: Bearer {TOKEN}"]
        bounded = ["--max-examples", "15", "--generation-deterministic", "--suppress-health-check", "all", "--no-color"]
        found = subprocess.run(
            [SCHEMATHESIS, *given, *bounded], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
        )
        assert found.returncode == 0, found.stdout[-8000:] + found.stderr
        assert int(re.findall(r"(\d+) generated, \1 passed", found.stdout)[0]) > 100, found.stdout
        warnings = re.findall(r"^  ⚠️ +(.+)$", found.stdout, re.MULTILINE)
        assert ("No issues found" in found.stdout) is (not warnings), found.stdout
        expected = NO_SUCH_NAMES if config is WITHOUT_CURSORS else r"(?!)"
        assert all(re.match(expected, warning) for warning in warnings), found.stdout
        operations = re.findall(r"^ *- (?:GET|POST|PUT|DELETE) (\S+)$", found.stdout, re.MULTILINE)
        assert {path.rpartition("/")[0] for path in operations} <= {"/api/v1/schedules/{name}"}, found.stdout
        assert len(warnings) <= 1, found.stdout
        assert client.get("/healthz").status_code == 200
    assert not daemon.events("http.error")
