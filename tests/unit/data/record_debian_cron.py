"""Records what Debian's cron does: the real binary of the package, over changes of the clock, into debian_cron.tsv.

As root on a Debian machine, with a C compiler: `python tests/unit/data/record_debian_cron.py`. It takes some minutes.
The package is downloaded and unpacked, not installed. cron runs in a chroot and a PID namespace of its own, with the
clock of record_debian_cron.c, one process for each expression and each change: jobs beside it could delay it, since
cron sleeps ten seconds between the minutes that it makes up for.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from zoneinfo import ZoneInfo

HERE = Path(__file__).parent
ZONEINFO = Path("/usr/share/zoneinfo")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# A day in each of these stretches is one whose offset is another at its end; all such changes are recorded.
STRETCHES = """
Europe/Berlin 2025-01-01 2025-12-31
America/New_York 2025-01-01 2025-12-31
Australia/Lord_Howe 2025-01-01 2025-12-31
Pacific/Chatham 2024-01-01 2024-12-31
Europe/Dublin 2024-01-01 2024-12-31
Africa/Casablanca 2024-01-01 2025-05-01
Africa/Cairo 2024-01-01 2024-12-31
Asia/Beirut 2024-01-01 2024-12-31
Pacific/Apia 2011-01-01 2012-05-01
Pacific/Kwajalein 1993-08-01 1993-09-01
Antarctica/Casey 2009-10-01 2012-03-01
Antarctica/Casey 2016-10-01 2023-04-01
Antarctica/Troll 2024-01-01 2024-12-31
Antarctica/Vostok 1994-01-01 1994-12-31
America/St_Johns 2006-01-01 2006-12-31
America/Caracas 2007-12-01 2016-06-01
Asia/Pyongyang 2015-08-01 2018-06-01
Asia/Kathmandu 1985-12-01 1986-02-01
""".strip().splitlines()
CALM = (("UTC", "2025-03-30 01:00"), ("Asia/Kathmandu", "2025-03-30 01:00"))  # no change there, for comparison

CALENDAR = """
0 0 1 * *|0 0 31 * *|0 0 29 2 *|0 0 30 2,4 *|0 0 13 * 5|0 0 13 * */5|0 0 */2 * fri|0 0 *,5 * fri|0 0 5,* * fri
0 0 1-31 * fri|0 0 1-7 * mon|0 0 */10 * *|0 0 * * 0|0 0 * * 7|0 0 * * 5-7|0 0 * * 0-7/3|0 0 * * 1-7/3|0 0 * * */7
0 0 * * */2|0 0 * * Mon,FRI,wed|0 0 * * mon-fri/2|0 0 * * sun-tue|0 0 * * mon-3|0 0 1 feb,MAR,Dec *|0 0 1 */5 *
0 0 1 jan-mar/2 *|0 0 31 4,6 mon|0 0 29 2 sat|0 0 29 2 */7|0 0 29 feb */2|0 0 5-5 * *|0 0 5-5/3 * *|0 0 2-30/7 6-9 *
0 0 1,15 * 5|0 0 */31 * *|0 0 */40 * *|0 0 10-20/100 * *|0 0 05 007 *|@weekly|@monthly|@yearly|@annually
""".strip().replace("\n", "|").split("|")  # fmt: skip
CLOCK = """
*/25 1-2 * * *|*/90 * * * *|5-59/20 3 * * *|30-30/5 0 * * *|0 0-23/7 * * *|0 */7 * * *|1,2,5,50-52 0,23 * * *|@hourly
*/60 4 * * *|0-59/30,7 */24 * * *|@daily|@midnight|59 23 * * *|0,0,0 0 * * *|*/1 5 * * *|*,3 6 * * *
""".strip().replace("\n", "|").split("|")  # fmt: skip
REFUSED = """
60 * * * *|* 24 * * *|* * 0 * *|* * 32 * *|* * * 0 *|* * * 13 *|* * * * 8|*/0 * * * *|1-5/0 * * * *|*/ * * * *
*/x * * * *|0-59/2/3 * * * *|*/-5 * * * *|5/15 * * * *|0 1/4 * * *|* * * * mon/2|0 22-4 * * *|50-10 * * * *
* * * * fri-sun|* * * * 5-0|* * * * 7-3|* * * nov-feb *|* * * mon *|* * * * jan|mon * * * *|* * * * Monday|* * * ja *
x * * * *|* * ? * *|1, * * * *|,1 * * * *|1,,2 * * * *|*5 * * * *|1-5-7 * * * *|5- * * * *|-5 * * * *|5-64/30 * * * *
* * L * *|* * 15W * *|* * * * 5L|* * * * 5#2|H * * * *|@reboot|@dayly|@every 10s|@Daily|* * * * JAN|* * * JAN Sun
1-5,30-20 * * * *|1-70/5 * * * *|* * 1-40 * *|0 0 30 2 *|0 0 31 2,4,6,9,11 *
""".strip().replace("\n", "|").split("|")  # fmt: skip


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd, env=env).stdout


def build(root: Path) -> tuple[str, str]:
    """A chroot with cron, its libraries and rules that let root in; returns the package's version and hash."""
    run("apt-get", "-q", "download", "cron", cwd=root)
    package = next(root.glob("cron_*.deb"))
    version, digest = run("dpkg-deb", "-f", str(package), "Version").strip(), package.read_bytes()
    run("dpkg-deb", "-x", str(package), str(root))
    for folder in ("etc/pam.d", "etc/cron.d", "var/spool/cron/crontabs", "run", "tmp", "dev", "lib/security", "root"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "var/run").symlink_to("/run")
    run("gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(root / "lib/clock.so"), str(HERE / "record_debian_cron.c"))
    permit = next(Path("/lib").glob("*/security/pam_permit.so"))
    for program in (str(root / "usr/sbin/cron"), "/bin/true", str(permit)):
        for library in re.findall(r"(/\S+) \(0x", run("ldd", program)):
            target = root / library[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    (root / "etc/ld.so.preload").write_text("/lib/clock.so\n")
    shutil.copy("/bin/true", root / "true")
    shutil.copy(permit, root / "lib/security/pam_permit.so")
    rules = (f"{kind} required /lib/security/pam_permit.so\n" for kind in ("auth", "account", "password", "session"))
    (root / "etc/pam.d/cron").write_text("".join(rules))
    (root / "etc/pam.d/other").write_text((root / "etc/pam.d/cron").read_text())
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/true\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\n")
    (root / "etc/crontab").write_text("")
    run("mknod", "-m", "666", str(root / "dev/null"), "c", "1", "3")
    return version, hashlib.sha256(digest).hexdigest()


def cron(root: Path, expressions: list[str], zone: str, start: datetime, end: datetime) -> list[tuple[int, str]]:
    """What cron logs between two instants, with the second after `start`: jobs are numbered."""
    table = root / "var/spool/cron/crontabs/root"
    table.unlink(missing_ok=True)
    table.write_text("SHELL=/true\n" + "".join(f"{text} job{n}\n" for n, text in enumerate(expressions)))
    table.chmod(0o600)
    for left in ("run/crond.pid", "run/crond.reboot", "log"):
        (root / left).unlink(missing_ok=True)
    shutil.copy(ZONEINFO / zone, root / "zone")
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "TZ": ":/zone",
        "CLOCK_LOG": "/log",
        "CLOCK_START": str(int(start.timestamp())),
        "CLOCK_END": str(int(end.timestamp()) + 59),
    }
    run("unshare", "--pid", "--fork", "chroot", str(root), "/usr/sbin/cron", "-f", "-L", "1", env=environment)
    lines = (line.split(" ", 1) for line in (root / "log").read_text().splitlines())
    return [(int(second) - int(start.timestamp()), text) for second, text in lines]


def fires(log: list[tuple[int, str]], count: int) -> list[list[int]]:
    """The seconds after start at which each job was started."""
    found: list[list[int]] = [[] for _ in range(count)]
    for second, text in log:
        if started := re.search(r"CMD \(job(\d+)\)", text):
            found[int(started[1])].append(second)
    return [sorted(seconds) for seconds in found]


def changes(zone: str, first: str, last: str) -> list[datetime]:
    """The instants at which the offset changes, by looking at every minute of the days on which it does."""
    tz, out = ZoneInfo(zone), []
    day, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last))
    while day < end:
        if day.astimezone(tz).utcoffset() != (day + 24 * HOUR).astimezone(tz).utcoffset():
            minutes = (day + n * MINUTE for n in range(1, 1441))
            out += [at for at in minutes if at.astimezone(tz).utcoffset() != (at - MINUTE).astimezone(tz).utcoffset()]
        day += 24 * HOUR
    return out


def around(zone: str, change: datetime) -> list[str]:
    """Fixed and wildcard expressions before, inside, at the end of and after the gap or the overlap."""
    before, after = ((change - ago).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for ago in (MINUTE, 0 * MINUTE))
    before += MINUTE
    low, high = min(before, after), max(before, after)
    inside = low + (high - low) / 2
    moments = (low - MINUTE, low, low + MINUTE, inside, high - MINUTE, high, high + MINUTE, high + 2 * HOUR)
    out = [f"{at.minute} {at.hour} * * *" for at in moments]
    h, m, last = low.hour, inside.minute, high.hour
    hours = f"{min(h, last)}-{max(h, last)}"
    out += [
        f"{m} {inside.hour} {inside.day} {inside.month} *", f"{m} {inside.hour} * * {inside.isoweekday()}",
        f"{m} {inside.hour} 1 1 {inside.isoweekday()}", f"{m} {inside.hour} */1 * {inside.strftime('%a')}",
        f"{m} 0-23 * * *", "5 0-23/2 * * *", f"0,30 {h} * * *", f"0,30 {hours} * * *", f"{m} {h},{last} * * *",
        f"0-59/20 {h} * * *", f"{(m + 5) % 60} {h}-{h} * * *", f"*/30 {h} * * *", f"*/15 {last} * * *",
        f"*/20 {hours} * * *", f"{m} * * * *", "0 */1 * * *", f"{m} */2 * * *", f"*/7 {h} {low.day} * *",
        f"*/60 {h},{last} * * *", f"{m}-59/9 */3 * * *", "0 0 * * *", "30 0 * * *", "59 23 * * *", "*/30 0,23 * * *",
        "0 12 * * *", "@daily", "@hourly", f"0 0 * * {high.strftime('%a')}", f"0 {last} {high.day} * *",
        f"0 0 {high.day} * *", "@weekly", "0 1 * * *", "0 2 * * *", "0 3 * * *", "30 1 * * *", "30 2 * * *",
        "*/20 1-3 * * *", "15,45 0-4/2 * * *",
    ]  # fmt: skip
    return list(dict.fromkeys(out))


def short(seconds: list[int]) -> str:
    """The times as steps from one to the next, with repeated steps counted: `60*3` is a minute, three times."""
    steps = [later - earlier for earlier, later in zip([0, *seconds], seconds, strict=False)]
    runs = ((step, len(list(same))) for step, same in groupby(steps))
    return " ".join(str(step) if count == 1 else f"{step}*{count}" for step, count in runs)


def day(root: Path, kind: str, zone: str, around: datetime, expressions: list[str]) -> list[str]:
    """From four hours before an instant until the day after it, each expression with a cron of its own."""
    start, end = around - 4 * HOUR, around + 27 * HOUR
    return [
        line(kind, zone, start, end, text, fires(cron(root, [text], zone, start, end), 1)[0]) for text in expressions
    ]


def line(kind: str, zone: str, start: datetime, end: datetime, expression: str, seconds: list[int]) -> str:
    return "\t".join((kind, zone, f"{start:%Y-%m-%dT%H:%M}", f"{end:%Y-%m-%dT%H:%M}", expression, short(seconds)))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def record(root: Path) -> list[str]:
    lines = []
    for stretch in STRETCHES:
        zone, first, last = stretch.split()
        for change in changes(zone, first, last):
            kind = f"change {change:%Y-%m-%dT%H:%M}"
            lines += day(root, kind, zone, change, around(zone, change))
            hour = ((change - MINUTE).astimezone(ZoneInfo(zone)).hour + 1) % 24
            lines += day(root, f"crowded {kind}", zone, change, [f"0-59/2 {hour} * * *"])
            print(zone, change, len(lines), file=sys.stderr)
    for zone, at in CALM:
        lines += day(root, "calm", zone, utc(at), [*around(zone, utc(at)), *CLOCK])
    # In UTC nothing is made up for, so that one crontab may hold them all.
    start, end = utc("2027-12-30"), utc("2029-01-03")
    found = fires(cron(root, CALENDAR, "UTC", start, end), len(CALENDAR))
    lines += [line("calendar", "UTC", start, end, *fired) for fired in zip(CALENDAR, found, strict=True)]
    start, end = utc("2027-12-31T12:00"), utc("2028-01-01T12:00")
    for expression in REFUSED:
        log = cron(root, [expression], "UTC", start, end)
        said = next((text for _, text in log if text.startswith("Error")), "loaded")
        lines.append(line(f"parse {said}", "UTC", start, end, expression, fires(log, 1)[0]))
    return lines


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="debian-cron-") as folder:
        root = Path(folder)
        version, digest = build(root)
        lines = record(root)
    zones = (ZONEINFO / "tzdata.zi").open().readline().split()[-1]
    head = [
        "# What Debian's cron does; recorded from the real binary by record_debian_cron.py, which says how.",
        f"# package cron {version} {os.uname().machine}, sha256 {digest}",
        f"# zones of tzdata {zones}",
        "# kind, zone, start and end (UTC), expression, seconds from one start of the job to the next (n*k: k times)",
    ]
    (HERE / "debian_cron.tsv").write_text("\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()
