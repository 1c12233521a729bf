"""The configuration keys of each version of the server, for servers that do not show their own schema."""

from __future__ import annotations

_NAMED = frozenset({"failure_hook_source", "success_hook_source"})
_ENABLE = frozenset({"enable_cache", "enable_artifact_metadata", "enable_artifact_visualization", "enable_step_logs"})

CONFIG_KEYS: dict[tuple[int, int], frozenset[str]] = {
    (0, 62): _ENABLE | {"run_name", "schedule", "build", "steps", "settings", "extra", "model", "parameters", "retry"},
    (0, 75): _NAMED | {"tags", "substitutions"},
    (0, 85): frozenset({"enable_pipeline_logs", "cache_policy", "execution_mode"}),
    (0, 91): frozenset({"environment", "secrets", "init_hook_source", "init_hook_kwargs", "cleanup_hook_source"}),
    (0, 98): frozenset(
        {"enable_heartbeat", "start_hook_source", "end_hook_source", "pause_hook_source", "resume_hook_source"}
    ),
}
"""What each version added (zenml-api.md, section 4)."""

STEP_KEYS: dict[tuple[int, int], frozenset[str]] = {
    (0, 62): _ENABLE
    | _NAMED
    | {"step_operator", "experiment_tracker", "parameters", "settings", "extra", "model", "retry", "outputs", "name"},
    (0, 75): frozenset({"substitutions"}),
    (0, 85): frozenset({"cache_policy"}),
    (0, 91): frozenset({"environment", "secrets", "runtime"}),
    (0, 98): frozenset({"start_hook_source", "end_hook_source", "heartbeat_healthy_threshold", "group"}),
}

NEWEST = max(CONFIG_KEYS)


def keys_of(table: dict[tuple[int, int], frozenset[str]], release: tuple[int, ...]) -> frozenset[str]:
    """All keys that a server of this release may know.

    Releases between two of the table are given the keys of the next one: a key that is there is not to be refused.
    """
    later = [version for version in table if version >= release[:2]]
    upto = min(later) if later else NEWEST
    return frozenset().union(*(keys for version, keys in table.items() if version <= upto))
