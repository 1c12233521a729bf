"""Hostile files and folders: a problem line within bounds of time and memory, never a traceback or a hang."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from privileges import nobody

import zendaemon.loader.files
from zendaemon.core.errors import Invalid
from zendaemon.core.schedule import Schedule
from zendaemon.loader import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOD = "schedules: {a: {template: x, every: 1h}}\n"
MEGABYTE = 1_000_000
SECONDS, MEGABYTES = 5, 500  # a second is promised; a busy machine gets some more

# In a process of its own, so that a crash, a hang or a bomb shows as such. Modules are loaded before the clock starts.
SCRIPT = """
import json, resource, sys, time
from datetime import UTC, datetime
from pathlib import Path
from zendaemon.core.errors import Invalid
from zendaemon.loader import load
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
start = time.process_time()
try:
    load(Path(sys.argv[1]), now=datetime(2026, 11, 23, 12, tzinfo=UTC))
    found = []
except Invalid as invalid:
    found = [str(problem) for problem in invalid.problems]
seconds = time.process_time() - start  # of its own: the machine may have other work
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]  # getrusage's has the parent's in it
print(json.dumps([found, seconds, int(peak) // 1024]))
"""


def loaded_apart(path: Path) -> list[str]:
    """The problem lines, without the folder, of a load in another process that is held to time and memory."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines, seconds, megabytes = json.loads(done.stdout)
    print(f"{seconds:.3f} s, {megabytes} MB")
    assert seconds < SECONDS
    assert megabytes < MEGABYTES
    return [line.removeprefix(f"{path}/").removeprefix(f"{path.parent}/")[:300] for line in lines]


def laughs(levels: int, width: int) -> str:
    first = "a0: &a0 [lol]\n"
    rest = (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]\n" for n in range(1, levels))
    return first + "".join(rest)


def indented(depth: int) -> str:
    return "".join(f"{' ' * level}k:\n" for level in range(depth))


CONTENTS: dict[str, tuple[str | bytes, str]] = {
    "a billion laughs": (laughs(12, 10), "a.yaml:7:10: more than 250,000 values in one file, aliases written out"),
    "a billion laughs by merge keys": (
        "a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}\n"
        + "".join(f"a{n}: {{<<: *a0}}\n" for n in range(1, 1000)),
        "more than 250,000 values in one file, aliases written out",
    ),
    "aliases that nest": (
        "a0: &a0 " + "[" * 60 + "]" * 60 + "\na1: " + "[" * 60 + "*a0" + "]" * 60,
        "a.yaml:2:65: nested deeper than 100 levels; flatten it",
    ),
    "defaults written into many schedules": (
        "defaults: {config: {a: [" + "1," * 1000 + "]}}\nschedules:\n"
        + "".join(f"  s{n}: {{template: x, every: 1h}}\n" for n in range(5000)),
        "a.yaml:1:11: more than 1,000,000 values, defaults written out",
    ),
    "10 MB of opening brackets": ("[" * 10 * MEGABYTE, "a.yaml:1:1: the file is larger than 4 MiB"),
    "10 MB of pairs of brackets": ("[]," * 3 * MEGABYTE, "a.yaml:1:1: the file is larger than 4 MiB"),
    "4 MB of opening brackets": ("[" * 4 * MEGABYTE, "a.yaml:1:101: nested deeper than 100 levels; flatten it"),
    "4 MB of opening braces": ("{" * 4 * MEGABYTE, "a.yaml:1:101: nested deeper than 100 levels; flatten it"),
    "4 MB of brackets in lines": ("[\n" * 2 * MEGABYTE, "a.yaml:101:1: nested deeper than 100 levels; flatten it"),
    "4 MB of closing brackets": ("]" * 4 * MEGABYTE, "a.yaml:1:1: no YAML while parsing a block node"),
    "5,000 levels of lists": ("schedules: " + "[" * 5000 + "]" * 5000, "a.yaml:1:111: nested deeper than 100 levels"),
    "5,000 levels of mappings": ("{a: " * 5000 + "1" + "}" * 5000, "a.yaml:1:401: nested deeper than 100 levels"),
    "2,000 levels by indent": (indented(2000), "a.yaml:101:101: nested deeper than 100 levels; flatten it"),
    "5,000 levels of dashes": ("- " * 5000 + "x", "a.yaml:1:201: nested deeper than 100 levels; flatten it"),
    "5,000 levels of question marks": ("? " * 5000 + "x", "a.yaml:1:201: nested deeper than 100 levels; flatten it"),
    "a tag that builds an object": (
        "schedules: !!python/object/apply:os.system [touch /tmp/pwned]\n",
        "a.yaml:1:12: the tag '!!python/object/apply:os.system' is not allowed; remove it",
    ),
    "a tag of its own": ("schedules: !Ref x\n", "a.yaml:1:12: the tag '!Ref' is not allowed; remove it"),
    "a set": ("schedules: !!set {a, b}\n", "a.yaml:1:12: the tag '!!set' is not allowed; remove it"),
    "NUL bytes": (b"schedules:\n  a\0: {}\n", "a.yaml:2:4: a NUL byte; remove it"),
    "nothing but NUL bytes": (b"\0" * MEGABYTE, "a.yaml:1:1: a NUL byte; remove it"),
    "a control character": ("schedules:\n  \x1b[31m: {}\n", "a.yaml:2:3: the control character U+001B; remove it"),
    "not UTF-8": ("schedules: {ä: ".encode() + b"\xff}", "a.yaml:1:16: byte 0xff is not UTF-8; save the file as UTF-8"),
    "half a character at the end": (b"a: \xe2\x82", "a.yaml:1:4: byte 0xe2 is not UTF-8; save the file as UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), "a.yaml:1:1: the file is UTF-16; save it as UTF-8"),
    "every byte": (bytes(range(256)) * 100, "a.yaml:2:118: byte 0x80 is not UTF-8; save the file as UTF-8"),
    "two documents": (GOOD + "---\n" + GOOD, "a.yaml:2:1: a second document in one file; remove the `---`"),
    "many documents": ("--- a\n" * MEGABYTE, "a.yaml:1:1: the file is larger than 4 MiB"),
    "a key twice": ("schedules: {}\nschedules: {}\n", "a.yaml:2:1: the key 'schedules' is given twice"),
    "600,000 keys alike": ("{" + "a: b, " * 600_000 + "}", "1000 problems so far; the rest of the file"),
    "tabs": ("schedules:\n\ta:\n\t\tevery: 1h\n", "a.yaml:2:1: a tab where YAML wants spaces"),
    "an empty file": ("", "a.yaml:1:1: the file is empty: `schedules:` is missing; add schedules, or remove the file"),
    "line feeds": ("\n" * MEGABYTE, "a.yaml:1:1: the file is empty: `schedules:` is missing"),
    "a comment of 2 MB": ("#" + "x" * 2 * MEGABYTE, "a.yaml:1:1: the file is empty: `schedules:` is missing"),
    "a text of 2 MB": ("x" * 2 * MEGABYTE, "a.yaml:1:1: the file holds 'xxx"),
    "an open quote of 2 MB": ("'" + "x" * 2 * MEGABYTE, "a.yaml:1:1: a quote that is never closed"),
    "a number of 1 MB": ("schedules: " + "9" * MEGABYTE, "a.yaml:1:12: 999999"),
    "a version that is a bomb": ("%YAML " + "9" * 5000 + "\n---\na: 1\n", "a.yaml:1:1: no YAML that can be read"),
    "a character beyond Unicode": ('schedules: "\\U00110000"', "no YAML that can be read, here or soon after"),
    "2 MB of blanks": ("a" + " " * 2 * MEGABYTE + "b", "a.yaml:1:1: the file holds 'a   "),
    "a zone outside the zones": (
        "schedules: {a: {template: x, every: 1h, timezone: ../../../../etc/passwd}}",
        "a.yaml:1:51: timezone: unknown time zone '../../../../etc/passwd'",
    ),
    "3,000 wrong zones": (
        "schedules:\n" + "".join(f"  s{n}: {{template: x, every: 1h, timezone: Z{n}}}\n" for n in range(3000)),
        "1000 problems so far; the rest of the file was not looked at; mend these first",
    ),
    "an interval beyond the calendar": (
        "schedules: {a: {template: x, every: 99999999w}}",
        "a.yaml:1:37: every must be at most 3660d (ten years)",
    ),
    "every minute, all excluded": (
        "schedules:\n"
        + "".join(f"  s{n}: {{template: x, every: 1m, exclude: ['* * * * *']}}\n" for n in range(10)),
        "a.yaml:2:41: exclude leaves no fire time of every",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), CONTENTS.values(), ids=CONTENTS)
def test_a_hostile_file(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    lines = loaded_apart(path)
    assert any(expected in line for line in lines), lines[:5]
    assert all(line.isprintable() and line.startswith("a.yaml:") for line in lines)


def _link(name: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


def _two_links_per_folder(folder: Path) -> None:
    """A tree whose paths double with each level, though its folders do not."""
    for level in range(30):
        (folder / f"f{level}").mkdir()
        for name in "ab":
            (folder / f"f{level}" / name).symlink_to(f"../f{level + 1}")
    (folder / "f30").mkdir()


def _twice(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD)
    (folder / "b.yaml").symlink_to("a.yaml")


def _socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket has a short limit
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x.yaml")
    finally:
        os.chdir(here)


LOOP = "a symlink loop: it leads back to a folder above it; remove the link"
FOLDERS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a link to itself": (_link("a.yaml", "a.yaml"), ["a.yaml:0:0: a symlink loop; remove the link"]),
    "a link to itself without a suffix": (_link("a", "a"), ["a:0:0: a symlink loop; remove the link"]),
    "a link to its folder": (_link("loop", "."), [f"loop:0:0: {LOOP}"]),
    "a link to the folder above": (_link("loop", ".."), [f"loop:0:0: {LOOP}"]),
    "a link to the root of all": (_link("loop", "/"), [f"loop:0:0: {LOOP}"]),
    "a broken link": (
        _link("a.yaml", "nowhere"),
        ["a.yaml:0:0: a broken symlink to nowhere: no such file or directory; mend or remove the link"],
    ),
    "a named pipe": (
        lambda folder: os.mkfifo(folder / "a.yaml"),
        ["a.yaml:0:0: is a named pipe, not a file; remove it, or give it another suffix"],
    ),
    "a socket": (_socket, ["x.yaml:0:0: is a socket, not a file; remove it, or give it another suffix"]),
    "a device": (
        _link("a.yaml", "/dev/zero"),
        ["a.yaml:0:0: is a device, not a file; remove it, or give it another suffix"],
    ),
    "a file that cannot be read by anybody": (
        _link("a.yaml", "/proc/self/mem"),
        ["a.yaml:0:0: cannot be read: input/output error; check the file system"],
    ),
    "a name that is no text": (
        lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/\xff\n\x1b.yaml")).touch(),
        ["\\xff\\n\\x1b.yaml:1:1: the file is empty: `schedules:` is missing; add schedules, or remove the file"],
    ),
}


@pytest.mark.parametrize(("make", "expected"), FOLDERS.values(), ids=FOLDERS)
def test_a_hostile_folder(tmp_path: Path, make: Callable[[Path], None], expected: list[str]) -> None:
    folder = tmp_path / "schedules"
    folder.mkdir()
    make(folder)
    assert loaded_apart(folder) == expected


def test_two_paths_to_one_file(tmp_path: Path) -> None:
    _twice(tmp_path)
    text = f"b.yaml:0:0: leads to the same as {tmp_path}/a.yaml, so it would be loaded twice; remove one of them"
    assert loaded_apart(tmp_path) == [text]


def test_paths_that_double_with_each_level(tmp_path: Path) -> None:
    _two_links_per_folder(tmp_path)
    lines = loaded_apart(tmp_path)
    assert len(lines) < 100
    assert all("so it would be loaded twice; remove one of them" in line for line in lines)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    expected = "no:0:0: cannot be read: no such file or directory; check the path"
    assert loaded_apart(tmp_path / "no") == [expected]


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zendaemon.loader.files, "MAX_ENTRIES", 10)
    for number in range(20):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(Invalid) as caught:
        load(tmp_path, now=NOW)
    assert [problem.message for problem in caught.value.problems] == [
        "more than 10 files and folders; the rest was not looked at"
    ]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_without_permission(open_folder: Path) -> None:
    (open_folder / "a.yaml").write_text(GOOD)
    (open_folder / "a.yaml").chmod(0)
    (open_folder / "sub").mkdir(mode=0)
    with nobody(), pytest.raises(Invalid) as caught:
        load(open_folder, now=NOW)
    assert [str(problem).removeprefix(f"{open_folder}/") for problem in caught.value.problems] == [
        "a.yaml:0:0: cannot be read: permission denied; let the daemon's user read it",
        "sub:0:0: the folder cannot be read: permission denied; let the daemon's user read it",
    ]


def only_invalid(folder: Path, data: bytes) -> None:
    path = folder / "any.yaml"
    path.write_bytes(data)
    with suppress(Invalid):
        loaded = load(path, now=NOW)
        json.dumps([dict(schedule.config) for schedule in loaded.set.schedules.values()], allow_nan=False).encode()


RELAXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
WORDS = [
    *("defaults", "schedules", "a", "cron", "every", "at", "template", "version", "config", "retry", "run_name", "<<"),
    *("1h", "x", "0 2 * * *", "2026-12-01", "0x1f", ".nan", "1e999", "~", "true", "{{ fire_time }}", "{{ 1/0 }}", "é"),
    *(": ", "- ", *"[]{}'\"\\#\t\r", "? ", "\n", "\n  ", "\n    ", ", ", "|\n", ">\n", "%YAML 1.2\n"),
    *("&a ", "*a", "!!str ", "!x ", "---\n", "...\n", "\x85", "\u2028", "\ufeff", "\\ud800", "\\x"),
]  # fmt: skip


@RELAXED
@given(data=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    only_invalid(tmp_path, data)


@RELAXED
@given(words=st.lists(st.sampled_from(WORDS), max_size=60))
def test_anything_like_yaml(tmp_path: Path, words: list[str]) -> None:
    only_invalid(tmp_path, "".join(words).encode())


KEYS = st.sampled_from([*Schedule.model_fields, "evry", "", "A"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(),
    st.sampled_from([word for word in WORDS if word.isprintable()]), st.dates().map(str), st.datetimes().map(str),
    st.sampled_from(["99999999999999999999d", "0s", "-1h", "0001-01-01", "9999-12-31", "* * * * *", "H H * * *"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=3)
)
BODY = st.dictionaries(KEYS, VALUES, max_size=8)


@RELAXED
@given(defaults=BODY, schedules=st.dictionaries(st.sampled_from("abcXé"), BODY | VALUES, max_size=3))
def test_any_values_for_the_keys(tmp_path: Path, defaults: object, schedules: object) -> None:
    only_invalid(tmp_path, json.dumps({"defaults": defaults, "schedules": schedules}).encode())
