"""What is sent to start a run, and to where."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from zendaemon.zenml.info import START_ROUTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import JsonValue

    from zendaemon.core.run import Resolved


def start_path(resolved: Resolved) -> str:
    return f"{START_ROUTES[resolved.kind]}/{resolved.id}/runs"


def start_body(resolved: Resolved, config: Mapping[str, JsonValue], tags: Sequence[str]) -> dict[str, JsonValue]:
    """The body of the POST: wrapped for snapshots, whose route takes anything else as no configuration at all."""
    body = overlay(resolved.base, config)
    if resolved.sends_tags and tags:
        body["tags"] = merged_tags(body.get("tags"), tags)
    return {"run_configuration": body} if resolved.kind == "snapshot" else body


def overlay(base: Mapping[str, JsonValue], config: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`config` laid over `base`: a step's parameters one by one, all else as a whole."""
    merged = {**base, **config}
    base_steps, steps = base.get("steps"), config.get("steps")
    if isinstance(base_steps, dict) and steps is None:
        merged["steps"] = base_steps
    elif isinstance(base_steps, dict) and isinstance(steps, dict):
        merged["steps"] = {**base_steps, **{name: _step(base_steps.get(name), step) for name, step in steps.items()}}
    return merged


def _step(base: JsonValue, step: JsonValue) -> JsonValue:
    if not isinstance(base, dict) or not isinstance(step, dict):
        return step
    merged = {**base, **step}
    under, over = base.get("parameters"), step.get("parameters")
    if isinstance(under, dict) and (over is None or isinstance(over, dict)):
        merged["parameters"] = {**under, **(over or {})}
    return merged


def merged_tags(own: JsonValue, tags: Sequence[str]) -> list[JsonValue]:
    """The config's own tags, then those of the schedule that are not among them."""
    found = list(own) if isinstance(own, list) else []
    names = {tag.get("name") if isinstance(tag, dict) else tag for tag in found if not isinstance(tag, list)}
    return [*found, *cast("list[JsonValue]", [tag for tag in dict.fromkeys(tags) if tag not in names])]


def parameters_alone(template: object) -> dict[str, JsonValue]:
    """Of a `config_template` what a server wants repeated at each start: every parameter of every step."""
    steps = template.get("steps") if isinstance(template, dict) else None
    if not isinstance(steps, dict):
        return {}
    return {
        "steps": {
            name: {"parameters": step["parameters"]}
            for name, step in steps.items()
            if isinstance(step, dict) and step.get("parameters")
        }
    }
