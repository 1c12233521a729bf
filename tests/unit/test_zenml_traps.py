"""The traps of the server's API (zenml-api.md, section 7) and what guards against each.

A guard is a thing of the package, written `module:name`, and a test, written `file:function`. Both must exist. Guards
that lie outside this package name the module of design.md's layout that holds them.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent.parent
SERVERS = "contract/test_zenml_servers.py"
AUTH, CLIENT, ERRORS, RESOLVER = (f"unit/test_zenml_{name}.py" for name in ("auth", "client", "errors", "resolver"))

# number, trap, guard, test
TRAPS = [
    (1, "unwrapped body dropped", "zenml.starting:start_body", f"{SERVERS}:test_a_dropped_configuration_is_noticed"),
    (2, "unknown steps dropped", "zenml.preflight:preflight", f"{SERVERS}:test_what_would_be_dropped_is_a_problem"),
    (3, "misspelt keys dropped", "zenml.preflight:preflight", f"{SERVERS}:test_what_would_be_dropped_is_a_problem"),
    (4, "types never checked", "zenml.preflight:json_type",
     f"{RESOLVER}:test_parameter_types_are_compared_with_what_was_built"),
    (5, "filters ignored", "zenml.asking:check_belongs",
     f"{RESOLVER}:test_a_version_filter_that_is_ignored_is_not_trusted"),
    (6, "newest snapshot is our own", "zenml.resolver:Resolver",
     f"{RESOLVER}:test_unnamed_snapshots_are_never_taken_by_name"),
    (7, "first build cannot be run", "zenml.builds:find", f"{SERVERS}:test_the_newest_build_that_can_be_run"),
    (8, "versions sorted as text", "zenml.builds:find", f"{SERVERS}:test_unknown_names_and_versions"),
    (9, "no project is `default`", "zenml.resolver:Resolver", f"{SERVERS}:test_projects"),
    (10, "every parameter wanted", "zenml.starting:overlay", f"{SERVERS}:test_the_way_of_a_run"),
    (11, "200 means queued", "runs:Runs", None),
    (12, "409 may be another's", "core.errors:NameTaken", f"{SERVERS}:test_a_name_taken_is_said_each_time"),
    (13, "failures hide runs", "zenml.errors:from_answer", f"{CLIENT}:test_faults_of_a_start"),
    (14, "three kinds of 429", "zenml.errors:from_answer", f"{ERRORS}:test_every_answer_is_mapped"),
    (15, "two start slots", "core.pacing:Pace", f"{SERVERS}:test_slots"),
    (16, "no Retry-After", "core.pacing:Pace", f"{ERRORS}:test_retry_after"),
    (17, "404 of a placeholder", "zenml.errors:from_answer", f"{SERVERS}:test_refusals_are_readable"),
    (18, "422 is a bare list", "zenml.errors:read_failure", f"{ERRORS}:test_body_shapes"),
    (19, "{date} by the server", "core.fire:run_name", f"{SERVERS}:test_refusals_are_readable"),
    (20, "rotation leaves tokens", "zenml.auth:Secret", f"{AUTH}:test_a_rotated_file_is_read_at_the_next_login"),
    (21, "key is no bearer token", "zenml.auth:ApiKey", f"{AUTH}:test_the_login_is_as_the_server_wants_it"),
    (22, "expires_in is null", "zenml.auth:Auth", f"{AUTH}:test_no_end_is_no_end"),
    (23, "failed logins add up", "zenml.auth:Auth", f"{AUTH}:test_refused_logins_are_spaced"),
    (24, "200 with a web page", "zenml.info:parse_info", f"{CLIENT}:test_what_is_no_server"),
    (25, "trailing slash: 405", "zenml.starting:start_path", f"{CLIENT}:test_what_is_sent_to_start_a_run"),
    (26, "key replays old run", "core.fire:fire_key",
     f"{CLIENT}:test_another_name_than_the_one_sent_is_rejected_with_the_run"),
    (27, "stored ids go stale", "core.errors:Stale", f"{SERVERS}:test_stale_ids"),
    (28, "deleted run frees name", "journal:Journal", None),
    (29, "missing rights hide rows", "zenml.asking:unknown", f"{SERVERS}:test_unknown_names_and_versions"),
    (30, "each 409 leaves a row", "attempts:Attempts", f"{CLIENT}:test_faults_of_a_start"),
]  # fmt: skip


def test_no_trap_is_missing() -> None:
    assert [trap[0] for trap in TRAPS] == list(range(1, 31))


@pytest.mark.parametrize(
    ("guard", "test"), [trap[2:] for trap in TRAPS], ids=[f"{trap[0]}, {trap[1]}" for trap in TRAPS]
)
def test_the_guard_of_each_trap_exists(guard: str, test: str | None) -> None:
    module, name = guard.split(":")
    found: Any = importlib.import_module(f"zendaemon.{module}")
    assert hasattr(found, name)
    if test is not None:
        file, function = test.split(":")
        assert re.search(rf"^(async )?def {function}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)
