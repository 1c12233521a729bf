"""systemd/zendaemon.service, unchanged, under a real systemd in a box (systemd/box.py), with a real ZenML server.

Where no box can be had (not root, no namespaces), the exposure is still measured, and the terminal says NOT RUN.
By hand: `sudo .venv/bin/python -m pytest tests/process/test_systemd.py -s`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from process.systemd.box import HERE, Box, wait_for, why_none

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from zendaemon.demo.pool import ServerPool
    from zendaemon.demo.seed import Seeder
    from zendaemon.demo.server import ZenMLServer

SYSTEMD = Path(__file__).parent.parent.parent / "systemd"
UNIT = SYSTEMD / "zendaemon.service"
MOST_EXPOSURE = 1.5
STATE = "/var/lib/zendaemon"
ZENDAEMON = "/opt/zendaemon/bin/zendaemon"
WATCHDOG = 4  # seconds; HUNG_AFTER of the daemon comes on top where only the engine hangs
BAD = """\
schedules:
  broken:
    snapshot: whatever
    cron: "61 * * * *"
"""


def say_not_run(capfd: pytest.CaptureFixture[str], what: str, why: str) -> None:
    """On the terminal, whatever pytest captures: a machine that cannot show it must not look as if it had."""
    with capfd.disabled():
        sys.stderr.write(f"\n{'!' * 100}\nNOT RUN: {what}: {why}\n{'!' * 100}\n")
        sys.stderr.flush()


def exposure(report: str) -> float:
    found = re.search(r"Overall exposure level for zendaemon\.service:? *: ([0-9.]+)", report)
    assert found, report
    return float(found[1])


def test_exposure_of_the_unit(capfd: pytest.CaptureFixture[str]) -> None:
    if shutil.which("systemd-analyze") is None:
        say_not_run(capfd, "the unit's exposure", "no systemd-analyze on this machine (package systemd)")
        return
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    report = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not report.stderr
    measured = exposure(report.stdout)
    print(f"exposure {measured}")
    assert measured <= MOST_EXPOSURE, report.stdout


def test_the_environment_file_holds_no_secret_and_only_settings() -> None:
    from zendaemon.settings import unknown_variables  # noqa: PLC0415

    text = (SYSTEMD / "zendaemon.env").read_text(encoding="utf-8")
    variables = dict(re.findall(r"^#?(ZENDAEMON_\w+)=(.*)$", text, flags=re.MULTILINE))
    assert not unknown_variables(variables)
    assert not {"ZENDAEMON_API_KEY", "ZENDAEMON_TOKEN", "ZENDAEMON_PASSWORD"} & variables.keys()


def test_under_a_real_systemd(
    tmp_path: Path, servers: ServerPool, capfd: pytest.CaptureFixture[str], unique_name: str
) -> None:
    if why := why_none(tmp_path / "try"):
        say_not_run(capfd, "zendaemon.service under a real systemd", why)
        return
    server = servers.get("0.98.0")
    seeder = servers.seeder(server)
    with Box(tmp_path / "box") as box:
        service = Service(box, server, seeder, seeder.service_account(), unique_name)
        service.install()
        for step in STEPS:
            begin = time.monotonic()
            try:
                step(service)
            except BaseException:
                print(box.run("journalctl", "--no-pager", "--unit=zendaemon.service", check=False))
                raise
            print(f"{time.monotonic() - begin:5.1f} s  {(step.__doc__ or '').splitlines()[0]}")


@dataclass
class Service:
    """zendaemon.service in a box, and the server that it starts runs at."""

    box: Box
    server: ZenMLServer
    seeder: Seeder
    api_key: str
    name: str

    def install(self) -> None:
        """As docs/systemd.md says."""
        self.seeder.runnable(self.name)
        self.box.install_zendaemon()
        self.box.write("/etc/systemd/system/zendaemon.service", UNIT.read_text(encoding="utf-8"))
        settings = (SYSTEMD / "zendaemon.env").read_text(encoding="utf-8")
        url = self.server.url.replace("127.0.0.1", "localhost")  # a name, to be looked up within the sandbox
        settings, changed = re.subn(r"(?m)^#?ZENDAEMON_SERVER_URL=.*$", f"ZENDAEMON_SERVER_URL={url}", settings)
        assert changed == 1
        self.box.write("/etc/zendaemon/zendaemon.env", settings)
        self.box.write("/etc/zendaemon/api_key", self.api_key + "\n", 0o600)
        self.schedule(self.name, seconds=2)
        assert self.box.run("systemd-analyze", "verify", "zendaemon.service") == ""
        self.box.run("systemctl", "daemon-reload")

    def schedule(self, name: str, seconds: int) -> None:
        document = {"schedules": {name: {"snapshot": f"{self.name}-prod", "every": f"{seconds}s"}}}
        self.box.write(f"/etc/zendaemon/schedules/{name}.yaml", json.dumps(document))

    def drop_in(self, name: str, *lines: str) -> None:
        self.box.write(f"/etc/systemd/system/zendaemon.service.d/{name}.conf", "\n".join(("[Service]", *lines, "")))
        self.box.run("systemctl", "daemon-reload")

    def show(self, prop: str) -> str:
        return self.box.show("zendaemon.service", prop)[prop]

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """What the daemon logged, of one event or of all."""
        entries = self.box.journal("zendaemon.service")
        lines = [entry["MESSAGE"] for entry in entries if entry["_TRANSPORT"] == "stdout"]
        parsed = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in parsed if event in ("", line["event"])]

    def await_event(self, event: str, count: int) -> dict[str, Any]:
        """The latest of this event, once there are more than `count` of it."""
        wait_for(lambda: len(self.events(event)) > count, event)
        return self.events(event)[-1]

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self.box.run(ZENDAEMON, "status", "--state", STATE, "--json", check=False).splitlines()[0]
        )
        return answer

    def history(self) -> list[dict[str, Any]]:
        lines = self.box.run(ZENDAEMON, "history", "--state", STATE, "--json", "--limit", "1000").splitlines()
        return [json.loads(line) for line in lines]

    def runs(self) -> list[str]:
        """The ids of all runs of ours that the server has."""
        return [run["id"] for run in self.seeder.runs(self.name)]

    def await_runs(self, more: int = 2) -> None:
        """Until the server has more runs of ours than now."""
        before = len(self.runs())
        wait_for(lambda: len(self.runs()) >= before + more, "runs on the server")

    def killed(self, before: int, hanging: str) -> str:
        """Once the watchdog has killed process `before` and another one is active: what the journal says."""
        wait_for(lambda: self.pid not in (0, before) and self.show("ActiveState") == "active", "restart", 60)
        said = "\n".join(entry["MESSAGE"] for entry in self.box.journal("zendaemon.service"))
        assert f"Watchdog timeout (limit {WATCHDOG}s)!" in said
        assert "Fatal Python error: Aborted" in said  # PYTHONFAULTHANDLER: the journal tells where it hung
        if hanging:
            assert hanging in said
        return said


def starts(service: Service) -> None:
    """`systemctl start` returns when the schedules are in force, and runs appear on the server."""
    service.box.run("systemctl", "start", "zendaemon.service")
    shown = service.box.show("zendaemon.service", "ActiveState", "SubState", "StatusText", "Result")
    assert shown == {"ActiveState": "active", "SubState": "running", "StatusText": "1 schedule", "Result": "success"}
    assert len(service.events("daemon.ready")) == 1
    service.await_runs()


def is_confined(service: Service) -> None:
    """No privileges, a user of its own; the exposure that systemd measures of what is loaded."""
    status = service.box.run("cat", f"/proc/{service.pid}/status")
    for line in (r"NoNewPrivs:\s1", r"Seccomp:\s2", r"CapBnd:\s0{16}", r"CapEff:\s0{16}", r"Uid:\s[1-9]\d*"):
        assert re.search(f"(?m)^{line}", status), status
    assert service.box.run("stat", "-c", "%a", "/var/lib/private/zendaemon").strip() == "700"
    assert exposure(service.box.run("systemd-analyze", "security", "--no-pager", "zendaemon.service")) <= MOST_EXPOSURE


def hides_the_credential(service: Service) -> None:
    """The API key is in no environment, command line, or journal; and no token is."""
    pid = service.pid
    environment = service.box.run("cat", f"/proc/{pid}/environ")
    assert "CREDENTIALS_DIRECTORY=" in environment
    shown = environment + service.box.run("cat", f"/proc/{pid}/cmdline")
    shown += json.dumps(service.box.journal("zendaemon.service")) + service.box.run("systemctl", "show", "zendaemon")
    shown += json.dumps(service.status()) + json.dumps(service.history())
    assert service.api_key not in shown
    assert "eyJ" not in shown


def logs_json(service: Service) -> None:
    """Every line in the journal is a JSON object with an event, a level and an instant."""
    entries = service.box.journal("zendaemon.service")
    lines = [entry["MESSAGE"] for entry in entries if entry["_TRANSPORT"] == "stdout"]
    assert len(lines) > 3
    for line in lines:
        assert {"event", "level", "timestamp"} <= json.loads(line).keys(), line
    fired = service.events("fire.started")[0]
    assert {"schedule", "fire_time", "fire_key", "run_id", "attempt", "lateness_seconds"} <= fired.keys()


def reloads(service: Service) -> None:
    """`systemctl reload` puts a new file in force; the process stays."""
    pid = service.pid
    service.schedule(f"{service.name}-b", seconds=2)
    service.box.run("systemctl", "reload", "zendaemon.service")
    assert service.await_event("reload.applied", 0)["added"] == 1
    wait_for(lambda: service.show("StatusText") == "2 schedules", "the new status")
    assert (service.pid, service.show("ActiveState")) == (pid, "active")
    wait_for(lambda: service.seeder.runs(f"{service.name}-b-"), "a run of the added schedule")


def refuses_a_bad_file(service: Service) -> None:
    """`systemctl reload` with a bad file changes nothing; the place is in the journal, STATUS and `status`."""
    pid = service.pid
    service.box.write("/etc/zendaemon/schedules/bad.yaml", BAD)
    service.box.run("systemctl", "reload", "zendaemon.service")
    service.await_event("reload.refused", 0)
    [problem] = service.events("reload.problem")
    assert problem["file"].endswith("bad.yaml")
    assert problem["line"] == 4
    wait_for(lambda: "refused" in service.show("StatusText"), "STATUS")
    assert (service.pid, service.show("ActiveState")) == (pid, "active")
    told = service.box.run(ZENDAEMON, "status", "--state", STATE)
    assert "REFUSED" in told
    assert "bad.yaml:4:" in told
    service.await_runs()


def reloads_waiting(service: Service) -> None:
    """With the drop-in of docs/systemd.md, `systemctl reload` waits, and fails when it is refused."""
    service.drop_in("reload", "ExecReload=", f"ExecReload={ZENDAEMON} reload")
    pid = service.pid
    said = service.box.run("systemctl", "reload", "zendaemon.service", check=False)
    assert "failed" in said, said
    assert (service.pid, service.show("ActiveState")) == (pid, "active")
    service.box.path("/etc/zendaemon/schedules/bad.yaml").unlink()
    service.box.run("systemctl", "reload", "zendaemon.service")
    assert service.show("StatusText") == "2 schedules"


def can_be_hung(service: Service) -> None:
    """The hook that hangs it is in place, and a short watchdog; a restart."""
    packages = next(service.box.path("/opt/zendaemon/lib").glob("python3.*")) / "site-packages"
    shutil.copy(HERE / "sitecustomize.py", packages)
    service.drop_in("watchdog", f"WatchdogSec={WATCHDOG}s", "RestartSec=1s")
    service.box.run("systemctl", "restart", "zendaemon.service")
    service.await_runs()
    assert service.show("NRestarts") == "0"


def kills_a_hung_loop(service: Service) -> None:
    """A daemon whose whole event loop hangs is killed by the watchdog, restarted, and fires again."""
    pid = service.pid
    service.box.write(f"{STATE}/hang-loop", "")
    service.killed(pid, hanging="sitecustomize.py")
    assert service.show("NRestarts") == "1"
    service.await_runs()


def kills_a_hung_engine(service: Service) -> None:
    """So is one whose engine alone hangs, while it still answers commands: the feeding is by the engine's health."""
    pid = service.pid
    service.box.write(f"{STATE}/hang-engine", "")
    wait_for(lambda: not service.box.path(f"{STATE}/hang-engine").exists(), "the engine to hang")

    def hung() -> bool:
        said = service.status()
        return (said["state"], said.get("pid")) == ("hung", pid)

    wait_for(hung, "the status to say so")
    service.killed(pid, hanging="")
    assert service.show("NRestarts") == "2"
    service.await_runs()


def stops(service: Service) -> None:
    """`systemctl stop` lets a start in hand end, longer than the watchdog's time; exit status 0."""
    os.killpg(service.server.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: service.status()["attempts"]["in_flight"] > 0, "a start in hand")
        service.box.run("systemctl", "stop", "--no-block", "zendaemon.service")
        time.sleep(WATCHDOG + 1.5)
        shown = service.box.show("zendaemon.service", "ActiveState", "StatusText")
        assert shown == {"ActiveState": "deactivating", "StatusText": "finishing the attempts in hand"}
    finally:
        os.killpg(service.server.pid, signal.SIGCONT)
    wait_for(lambda: service.show("ActiveState") == "inactive", "the end")
    shown = service.box.show("zendaemon.service", "Result", "ExecMainStatus")
    assert shown == {"Result": "success", "ExecMainStatus": "0"}
    assert service.events("daemon.stopped")


def starts_again(service: Service) -> None:
    """The journal can be read by root while the daemon is down, and be used by the daemon afterwards."""
    assert service.history()
    service.box.run("systemctl", "start", "zendaemon.service")
    service.await_runs()
    wait_for(lambda: all(row["state"] != "claimed" for row in service.history()), "all claims settled")
    service.box.run("systemctl", "stop", "zendaemon.service")


def doubled_nothing(service: Service) -> None:
    """Through all of it, every started fire is one run of the server, and every run one fire."""
    started = [row for row in service.history() if row["state"] == "started"]
    assert len({(row["schedule"], row["fire_time"]) for row in started}) == len(started)
    assert sorted(row["run_id"] for row in started) == sorted(service.runs())
    assert len(started) > 15
    assert not [row for row in service.history() if row["state"] == "failed"]


STEPS: list[Callable[[Service], None]] = [
    starts,
    is_confined,
    hides_the_credential,
    logs_json,
    reloads,
    refuses_a_bad_file,
    reloads_waiting,
    can_be_hung,
    kills_a_hung_loop,
    kills_a_hung_engine,
    stops,
    starts_again,
    doubled_nothing,
]
