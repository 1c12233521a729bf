"""Wrong tokens are counted by sender, in bounded memory; cursors are read strictly."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zendaemon.core.address import Address
from zendaemon.core.errors import SettingsError
from zendaemon.web.cursors import Cursor
from zendaemon.web.refusals import Refused
from zendaemon.web.security import Access, Complaints, Failures

TOKEN = "0123456789abcdef"


def test_a_sender_waits_after_so_many_failures_till_the_first_is_old() -> None:
    failures = Failures(limit=3, window=60)
    for second in (0, 10, 20):
        assert failures.wait("a", second) == 0
        failures.add("a", second)
    assert failures.wait("a", 20) == 40
    assert failures.wait("b", 20) == 0
    assert failures.wait("a", 59.5) == 0.5
    assert failures.wait("a", 60) == 0
    failures.add("a", 60)
    assert failures.wait("a", 61) == 9, "those at 10, 20 and 60"


def test_senders_are_bounded_and_the_latest_stay() -> None:
    failures = Failures(limit=1, senders=10)
    for number in range(1000):
        failures.add(str(number), 0)
    assert len(failures._known) == 10
    assert failures.wait("999", 1) > 0
    assert failures.wait("0", 1) == 0


def test_a_sender_is_said_once_a_minute_and_all_together_seldom() -> None:
    complaints = Complaints(window=60, most=3)
    assert [complaints.due(sender, 0) for sender in "aaba"] == [True, False, True, False]
    assert [complaints.due(sender, 30) for sender in "abcd"] == [False, False, True, False], "no more than three"
    assert complaints.due("d", 60)
    assert complaints.due("a", 60)
    assert not complaints.due("c", 89)
    assert complaints.due("c", 90)
    assert len(complaints._said) == 3


def status(access: Access, sender: str = "192.0.2.1", **headers: str) -> int:
    given = {"host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        access.check("POST", "/api/v1/reload", given, sender)
    except Refused as refused:
        return refused.status
    return 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
    ],
)
def test_whom_failures_are_counted_for(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    access = Access(Address("127.0.0.1", 1), lambda: TOKEN, lambda: 0.0, failures=Failures(limit=1))
    assert status(access, one, authorization="Bearer wrong") == 401
    assert status(access, one, authorization=f"Bearer {TOKEN}") == 429
    assert status(access, other, authorization=f"Bearer {TOKEN}") == (429 if same else 200)


def test_a_missing_token_is_no_guess() -> None:
    access = Access(Address("127.0.0.1", 1), lambda: TOKEN, lambda: 0.0, failures=Failures(limit=1))
    assert [status(access) for _ in range(5)] == [401] * 5
    assert status(access, authorization=f"Bearer {TOKEN}") == 200


def test_a_token_that_cannot_be_read_lets_nobody_in() -> None:
    def gone() -> str:
        raise SettingsError("cannot read http_token from /secret/place")

    access = Access(Address("127.0.0.1", 1), gone, lambda: 0.0)
    assert status(access, authorization="Bearer ") == status(access, authorization=f"Bearer {TOKEN}") == 503


def test_a_token_is_compared_by_the_bytes_that_were_sent() -> None:
    access = Access(Address("127.0.0.1", 1), lambda: "schlüssel-der-tests", lambda: 0.0)
    assert status(access, authorization="Bearer " + "schlüssel-der-tests".encode().decode("latin-1")) == 200
    assert status(access, authorization="Bearer schlüssel-der-tests") == 401
    assert status(access, authorization="Bearer \u4e00") == 401


@pytest.mark.parametrize("token", ["", "   "])
def test_an_empty_token_opens_nothing(token: str) -> None:
    access = Access(Address("127.0.0.1", 1), lambda: TOKEN, lambda: 0.0)
    for scheme in ("Bearer", "bearer", "Basic", "Digest", ""):
        assert status(access, authorization=f"{scheme} {token}") == 401


@given(
    st.datetimes(timezones=st.just(UTC)).filter(lambda at: at.year < 9999),
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,99}", fullmatch=True),
    st.booleans(),
)
def test_a_cursor_is_read_as_it_was_written(fire_time: datetime, schedule: str, manual: bool) -> None:  # noqa: FBT001
    cursor = Cursor(fire_time, schedule, manual)
    assert Cursor.read(str(cursor)) == cursor
    assert len(str(cursor)) <= 400
    assert cursor.until == fire_time + timedelta(microseconds=1)


@pytest.mark.parametrize(
    "time",
    ["9999-12-31T23:59:59.999999+00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-23T02:00"],
)
def test_a_cursor_beyond_the_ends_of_time_is_none(time: str) -> None:
    text = urlsafe_b64encode(json.dumps([time, "a", False]).encode()).decode()
    with pytest.raises(ValueError, match="is no cursor"):
        Cursor.read(text)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: data.decode("latin-1")))
def test_any_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        Cursor.read(text)
