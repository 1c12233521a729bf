"""What a command imports: each only what it needs, since imports are most of what a short command costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "alembic",
    "apscheduler",
    "fastapi",
    "httptools",
    "httpx",
    "icalendar",
    "jinja2",
    "opentelemetry",
    "prometheus_client",
    "pydantic_settings",
    "rich",
    "ruamel",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
}
OF_THE_PAGES = {"fastapi", "opentelemetry", "prometheus_client", "starlette", "uvicorn"}
_LOADED = """
import sys
from zendaemon.cli import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit as ended:
    assert not ended.code
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        pytest.param(["version"], set[str](), id="version"),
        pytest.param(
            ["next", "--cron", "0 2 * * *", "--json"],
            HEAVY - {"sqlalchemy", "alembic", "apscheduler", "httpx"} - OF_THE_PAGES,
            id="next --cron --json",
        ),
    ],
)
def test_a_command_imports_what_it_needs(arguments: list[str], allowed: set[str]) -> None:
    code = _LOADED.format(arguments=arguments)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert loaded & HEAVY <= allowed
