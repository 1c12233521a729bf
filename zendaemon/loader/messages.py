"""What pydantic finds wrong, in words for people: (message, remedy)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zendaemon.core.errors import ZendaemonError
from zendaemon.core.near import did_you_mean
from zendaemon.core.policy import Condition, Retry, RunFailure, Sla
from zendaemon.core.schedule import KeyedError, Schedule
from zendaemon.loader.report import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from zendaemon.core.shape import Shape

SCHEDULE_KEYS = tuple(key for key in Schedule.model_fields if key != "name")
CONFIG_KEYS = (
    "run_name",
    "enable_cache",
    "enable_artifact_metadata",
    "enable_artifact_visualization",
    "enable_step_logs",
    "enable_pipeline_logs",
    "enable_heartbeat",
    "steps",
    "settings",
    "extra",
    "model",
    "parameters",
    "failure_hook_source",
    "success_hook_source",
    "substitutions",
    "cache_policy",
    "execution_mode",
    "environment",
    "secrets",
    "init_hook_source",
    "init_hook_kwargs",
    "cleanup_hook_source",
    "start_hook_source",
    "end_hook_source",
    "pause_hook_source",
    "resume_hook_source",
)
_OTHER_WORDS = {
    "schedule": "cron",
    "crontab": "cron",
    "interval": "every",
    "run_at": "at",
    "tz": "timezone",
    "concurrency": "overlap",
    "concurrency_policy": "overlap",
    "deadline": "catchup_window",
    "starting_deadline": "catchup_window",
    "retries": "retry",
    "paused": "enabled",
    "disabled": "enabled",
    "suspend": "enabled",
    "workspace": "project",
}
_WANTED = {
    "bool_type": ("true or false", ""),
    "int_type": ("a whole number", "write it without quotes"),
    "float_type": ("a number", "write it without quotes"),
    "string_type": ("a text", "put it in quotes"),
    "tuple_type": ("a list", "write it as [a, b], or as lines with a dash"),
    "mapping_type": ("a mapping", "indent `key: value` lines below it"),
    "dict_type": ("a mapping", "indent `key: value` lines below it"),
    "model_type": ("a mapping", "write it as {key: value}"),
    "uuid_type": ("a UUID", "a build is named by `pipeline` and `version`"),
    "uuid_parsing": ("a UUID", "a build is named by `pipeline` and `version`"),
}


_NESTED: Mapping[str, type[Shape]] = {"retry": Retry, "on_run_failure": RunFailure, "sla": Sla, "when": Condition}


def explain(error: ErrorDetails, subject: str) -> tuple[str, str]:
    """Message and remedy of an error; `subject` is what a problem between keys is said of: `schedule 'nightly'`."""
    key = ".".join(part for part in error["loc"] if isinstance(part, str))
    given, kind, context = shown(error["input"]), error["type"], error.get("ctx", {})
    if kind == "value_error":
        return _own(context["error"], key, subject)
    if kind == "extra_forbidden":
        return unknown_key(str(error["loc"][-1]), below=str(error["loc"][0]) if len(error["loc"]) > 1 else None)
    if kind in _WANTED:
        wanted, remedy = _WANTED[kind]
        fits = kind != "string_type" or not isinstance(error["input"], dict | list | None)
        return f"{key} must be {wanted}, not {given}", remedy if fits else ""
    if kind == "enum":
        choices = [choice.strip(" '") for choice in str(context["expected"]).replace(" or ", ", ").split(",")]
        near = did_you_mean(str(error["input"]), choices)
        return f"{key} must be one of {', '.join(choices)}, not {given}", near
    return _limit(kind, context, key, given) or (f"{key}: {error['msg']}, not {given}", "")


def _limit(kind: str, context: dict[str, object], key: str, given: str) -> tuple[str, str] | None:
    match kind:
        case "greater_than_equal":
            return f"{key} must be {context['ge']:g} or more, not {given}", ""
        case "less_than_equal":
            return f"{key} must be {context['le']:g} or less, not {given}", ""
        case "string_too_short" | "too_short":
            return f"{key} must not be empty", "give a value, or remove the key"
        case "string_pattern_mismatch":
            return (
                f"{key} must be made of a-z, 0-9 and dashes, a letter first, not {given}",
                "write it as check shows it",
            )
        case "too_long" if context["field_type"] != "String":
            return f"{key} must have at most {context['max_length']:,} entries", "use ranges of days, or a calendar"
        case "string_too_long" | "too_long":
            return f"{key} must have at most {context['max_length']} characters", "shorten it"
        case _:
            return None


def _own(error: Exception, key: str, subject: str) -> tuple[str, str]:
    """An error that a model raised itself: `what is wrong; remedy`."""
    text, hint = (error.message, error.hint) if isinstance(error, ZendaemonError) else (str(error), "")
    message, _, remedy = text.partition("; ") if not hint else (text, "", hint)
    if isinstance(error, KeyedError):
        return f"{subject} {message}", remedy
    return f"{key}{' ' if message.startswith('must') else ': '}{message}", remedy


def unknown_key(key: str, *, below: str | None = None) -> tuple[str, str]:
    """An unknown key of a schedule, or of the mapping `below` one of its keys."""
    if below is not None:
        known = tuple(_NESTED[below].model_fields)
        return f"unknown key {shown(key)} in {below}", did_you_mean(key, known) or f"it takes {', '.join(known)}"
    if key in _OTHER_WORDS:
        return f"unknown key {shown(key)}", f"did you mean {_OTHER_WORDS[key]}?"
    if key in CONFIG_KEYS:
        return f"unknown key {shown(key)}", f"did you mean config.{key}? indent it below `config:`"
    return f"unknown key {shown(key)}", did_you_mean(key, SCHEDULE_KEYS) or f"known are {', '.join(SCHEDULE_KEYS)}"
