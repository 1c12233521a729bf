"""What a sceptical reviewer broke once."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from contract.test_engine import World, schedule, the_one_run, until
from standin import server as standins
from standin.server import StandIn
from structlog.testing import capture_logs

from zendaemon import awake
from zendaemon import engine as engines
from zendaemon.control import NAME, Control, ask
from zendaemon.core.errors import Invalid, ZendaemonError
from zendaemon.core.fire import Fire, FireState
from zendaemon.journal import Journal, database, read_history
from zendaemon.loader import load
from zendaemon.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with StandIn() as server:
        yield World(tmp_path, server)


async def test_time_spent_waiting_for_a_locked_journal_is_no_sleep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 2000)
    monkeypatch.setattr(engines, "_JOURNAL_RETRY", 0.05)
    monkeypatch.setattr(awake, "ASLEEP", timedelta(seconds=1.5))
    with capture_logs() as logs:
        async with world.daemon(schedule(every="1s", catchup="none")) as daemon:
            await until(lambda: daemon.targets._checked)
            with closing(sqlite3.connect(world.folder / "journal.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await asyncio.sleep(1)
                daemon.engine.wake(["nightly"])
                await until(lambda: any(entry["event"] == "journal.unavailable" for entry in logs))
                other.execute("ROLLBACK")
            await until(lambda: daemon.engine.wake(["nightly"]) or len(world.rows) >= 2)
    assert {fire.state for fire in world.rows} <= {FireState.CLAIMED, FireState.STARTED}
    assert not [entry for entry in logs if entry["event"] == "clock.jumped"]


async def test_many_manual_fires_at_once_are_ours_though_their_times_lie_ahead(world: World) -> None:
    async with world.daemon(schedule()) as daemon:
        await until(lambda: daemon.targets._checked)
        for _ in range(12):
            await daemon.engine.fire_now("nightly")
        await world.settled(12)
        world.server.script(standins.RESET_AFTER)
        fire, _ = await daemon.engine.fire_now("nightly")
        assert fire.fire_time > daemon.clock() + timedelta(seconds=6)
        rows = await world.settled(13)
    assert {row.state for row in rows} == {FireState.STARTED}
    assert {row.run_id for row in rows} == {run["id"] for run in world.server.runs.values()}


async def test_a_look_up_that_is_refused_tells_nothing_of_a_lost_start(world: World) -> None:
    permitted = world.server._permitted
    world.server.script(standins.RESET_AFTER)
    async with world.daemon(schedule()) as daemon:
        await until(lambda: daemon.targets._checked)
        world.server._permitted = lambda arrival: (  # type: ignore[method-assign]
            permitted(arrival) if arrival.is_start else (302, {})
        )
        daemon.wake(seconds=6)
        await until(lambda: len(world.server.arrivals) > 8)
        assert [fire.state for fire in world.rows] == [FireState.CLAIMED]
        world.server._permitted = permitted  # type: ignore[method-assign]
        (fire,) = await world.settled()
    the_one_run(world, fire)


def _files(folder: Path, *schedules: dict[str, Any]) -> Path:
    given = {f"s{number}": {"snapshot": "x", **keys} for number, keys in enumerate(schedules)}
    (folder / "a.yaml").write_text(json.dumps({"schedules": given}))
    return folder


SAME = {"config": {"run_name": "train-{{ fire_time | utc | date('%Y%m%dT%H%M%SZ') }}"}}


def test_two_schedules_whose_fires_would_share_a_run(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        load(_files(tmp_path, {"cron": "0 * * * *", **SAME}, {"cron": "0 2 * * *", **SAME}), now=NOW)
    (problem,) = caught.value.problems
    assert "'s1' and 's0' have fires with the same run name 'train-20261124T020000Z'" in problem.message


@pytest.mark.parametrize(
    "other",
    [
        {"cron": "30 2 * * *", **SAME},
        {"cron": "0 2 * * *", "project": "b", **SAME},
        {"cron": "0 2 * * *", "enabled": False, **SAME},
        {"cron": "0 2 * * *"},
    ],
    ids=["other times", "other project", "disabled", "own names"],
)
def test_schedules_whose_run_names_differ_in_the_end(other: dict[str, Any], tmp_path: Path) -> None:
    assert len(load(_files(tmp_path, {"cron": "0 * * * *", **SAME}, other), now=NOW).set.schedules) == 2


def test_a_template_that_makes_half_a_character_is_a_problem(tmp_path: Path) -> None:
    run_name = "{{ '\\ud800' }}-{{ fire_time | date('%Y%m%dT%H%M%S') }}"
    with pytest.raises(Invalid, match="problem"):
        load(_files(tmp_path, {"cron": "0 * * * *", "config": {"run_name": run_name}}), now=NOW)


async def test_half_a_character_at_one_fire_time_fails_that_fire_alone(world: World) -> None:
    run_name = "{{ '\\ud800' if fire_time.hour == 12 else '' }}{{ fire_time | date('%Y%m%dT%H%M%S') }}"
    async with world.daemon(schedule(config={"run_name": run_name})) as daemon:
        daemon.wake(seconds=6)
        await world.settled()
        daemon.wake(hours=1)
        first, second = await world.settled(2)
    assert (first.state, second.state) == (FireState.FAILED, FireState.STARTED)
    assert "half a character" in (first.message or "")


@pytest.mark.parametrize("name", ["a b", "q?x=1", "h#h", "p%20t", "ü"])
async def test_a_state_folder_of_any_name_has_its_journal_and_its_history(name: str, tmp_path: Path) -> None:
    url = load_settings(state=tmp_path / name).journal_url()
    journal = Journal.open(url)
    await journal.claim([Fire(schedule="a", fire_time=NOW)], {})
    await journal.close()
    assert (tmp_path / name / "journal.db").exists()
    assert [fire.schedule for fire in read_history(url)] == ["a"]


async def test_a_control_socket_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(ZendaemonError, match="cannot be made"):
        await Control(tmp_path, {}).start()


@pytest.mark.parametrize("line", [b"garbage\n", b"[]\n", b'{"command":{}}\n', b'{"x":' + b"[" * 100_000 + b"\n"])
async def test_what_is_no_command_is_answered_so(line: bytes, tmp_path: Path) -> None:
    control = Control(tmp_path, {})
    await control.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / NAME))
    writer.write(line)
    assert "not understood" in json.loads(await reader.readline())["error"]
    writer.close()
    await control.stop()


def test_a_daemon_that_ends_in_the_middle_of_its_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / NAME))
        listener.listen()

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(b'{"ok": tr')

        thread = Thread(target=answer)
        thread.start()
        with pytest.raises(ZendaemonError, match="in the middle of its answer"):
            ask(tmp_path, "status")
        thread.join()


class _UnwellOnce(StandIn):
    """Answers 500 to the first look-up of a run, as 0.98 does while it takes back a run that found no slot."""

    refused = False

    def _route(self, arrival: standins.Arrival) -> tuple[int, object]:
        if arrival.method == "GET" and arrival.path.endswith("/runs") and not self.refused:
            self.refused = True
            return 500, {"detail": ["RuntimeError", "Pipeline run model creation has failed."]}
        return super()._route(arrival)


async def test_a_server_that_answers_500_to_a_question_is_not_away(tmp_path: Path) -> None:
    async with _UnwellOnce() as server:
        world = World(tmp_path, server)
        server.script(standins.RESET_AFTER)
        with capture_logs() as logs:
            async with world.daemon(schedule()) as daemon:
                daemon.wake(seconds=6)
                (fire,) = await world.settled()
    assert server.refused
    the_one_run(world, fire)
    assert not [entry for entry in logs if entry["event"] == "server.unavailable"]
