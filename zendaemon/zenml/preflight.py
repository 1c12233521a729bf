"""The config of a schedule against what the server knows of its target.

Servers drop most of what they do not know without a word, and start the run with the wrong configuration. What would
be dropped or refused is a problem; what is merely odd is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zendaemon.core.near import did_you_mean
from zendaemon.zenml.rows import at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import JsonValue

    from zendaemon.zenml.info import ServerInfo

REFUSED = ("schedule", "build", "parameters")
_MARKS = ("{{", "{%")
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),  # before int, which it is too
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (Mapping, "mapping"),
    (list, "list"),
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a step with the values they were built with. `exact`: the server refuses all others."""

    values: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the server knows of a target.

    `steps` is None when it does not tell; a `dynamic` pipeline makes more of them when it runs.
    """

    config_keys: frozenset[str]
    step_keys: frozenset[str]
    steps: Mapping[str, Parameters] | None = None
    dynamic: bool = False
    guessed_keys: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def known(info: ServerInfo, metadata: object, *, dynamic: bool = False) -> Known:
    """From the metadata of a build's deployment, a template or a snapshot.

    Whatever any part of it names is known: a false alarm would keep a schedule from firing.
    """
    schema = at(metadata, "config_schema")
    configurations = at(metadata, "step_configurations")
    template = at(metadata, "config_template")
    named = [part for part in (schema_steps(schema), configurations, at(template, "steps")) if part]
    steps = {name: _parameters(name, info, schema, configurations, template) for part in named for name in part}
    return Known(
        config_keys=info.config_keys | frozenset(at(schema, "properties") or ()),
        step_keys=info.step_keys | _schema_step_keys(schema),
        steps=steps if named else None,
        dynamic=dynamic,
        guessed_keys=not info.exact_keys and info.newer_than_known,
    )


def _parameters(name: str, info: ServerInfo, *sources: object) -> Parameters:
    schema, configurations, template = sources
    values: dict[str, Any] = dict.fromkeys(_schema_parameters(schema, name))
    values |= at(template, "steps", name, "parameters") or {}
    values |= at(configurations, name, "config", "parameters") or {}
    return Parameters(values, exact=info.refuses_unknown_parameters and bool(schema or configurations))


def schema_steps(schema: object) -> Mapping[str, Any]:
    """The steps in a JSON Schema of ZenML's, by name, references followed."""
    found = follow(schema, at(schema, "properties", "steps"))
    return {name: follow(schema, step) for name, step in (at(found, "properties") or {}).items()}


def _schema_step_keys(schema: object) -> frozenset[str]:
    return frozenset(key for step in schema_steps(schema).values() for key in at(step, "properties") or ())


def _schema_parameters(schema: object, step: str) -> Iterable[str]:
    parameters = follow(schema, at(schema_steps(schema).get(step), "properties", "parameters"))
    return at(parameters, "properties") or ()


def follow(schema: object, part: object) -> object:
    """The part of a JSON Schema that is meant: through `$ref`, and through `anyOf` with null."""
    for _ in range(8):
        if ref := at(part, "$ref"):
            part = at(schema, *str(ref).removeprefix("#/").split("/"))
        elif choices := at(part, "anyOf"):
            part = next((choice for choice in choices if at(choice, "type") != "null"), None)
        else:
            break
    return part


def preflight(found: Known, config: Mapping[str, JsonValue]) -> Findings:
    """Everything in `config` that the server would drop or refuse (problems), or that is odd (warnings)."""
    problems: list[str] = []
    warnings: list[str] = []
    for blocks, text in _findings(found, config):
        (problems if blocks else warnings).append(text)
    return Findings(tuple(problems), tuple(warnings))


def _findings(found: Known, config: Mapping[str, JsonValue]) -> Iterator[tuple[bool, str]]:
    for key, value in config.items():
        if key not in found.config_keys:
            yield _unknown_key(f"config.{key}", key, found.config_keys, found)
        elif key in REFUSED and value and not (key == "parameters" and found.dynamic):
            yield True, f"config.{key}: the server refuses it in a run that it starts itself; remove it"
    yield from _docker("config", config)
    steps = config.get("steps")
    if steps is None:
        return
    if not isinstance(steps, Mapping):
        yield True, "config.steps: must be a mapping of step names"
        return
    for name, step in steps.items():
        yield from _step(found, name, step)


def _step(found: Known, name: str, step: JsonValue) -> Iterator[tuple[bool, str]]:
    place = f"config.steps.{name}"
    if found.steps is not None and name not in found.steps:
        remedy = did_you_mean(name, found.steps) or f"its steps are {listed(found.steps)}"
        yield not found.dynamic, f"{place}: the pipeline has no such step; {remedy}"
    if not isinstance(step, Mapping):
        yield True, f"{place}: must be a mapping, for example of `parameters`"
        return
    for key in step:
        if key not in found.step_keys:
            yield _unknown_key(f"{place}.{key}", key, found.step_keys, found)
    yield from _docker(place, step)
    parameters = step.get("parameters")
    if isinstance(parameters, Mapping) and found.steps and name in found.steps:
        yield from _parameter_findings(f"{place}.parameters", parameters, found.steps[name], found)


def _parameter_findings(
    place: str, given: Mapping[str, JsonValue], has: Parameters, found: Known
) -> Iterator[tuple[bool, str]]:
    for key, value in given.items():
        if key not in has.values:
            remedy = did_you_mean(key, has.values) or (
                f"its parameters are {listed(has.values)}" if has.values else "it has none"
            )
            yield has.exact and not found.dynamic, f"{place}.{key}: the step was not built with it; {remedy}"
        elif _differs(has.values[key], value):
            built = json_type(has.values[key])
            yield False, f"{place}.{key}: is a {json_type(value)}, and the step was built with a {built}"


def _docker(place: str, part: Mapping[str, JsonValue]) -> Iterator[tuple[bool, str]]:
    settings = part.get("settings")
    if isinstance(settings, Mapping) and "docker" in settings:
        yield True, f"{place}.settings.docker: the server refuses it in a run that it starts itself; remove it"


def _unknown_key(place: str, key: str, keys: frozenset[str], found: Known) -> tuple[bool, str]:
    """Blocks, but on a server that is newer than all we know and does not show its keys."""
    remedy = did_you_mean(key, keys) or f"known are {listed(keys)}"
    return not found.guessed_keys, f"{place}: the server does not know this key and would ignore or refuse it; {remedy}"


def _differs(built: object, given: JsonValue) -> bool:
    if built is None or given is None or (isinstance(given, str) and any(mark in given for mark in _MARKS)):
        return False
    kinds = {json_type(built), json_type(given)}
    return len(kinds) > 1 and kinds != {"number", "integer"}


def json_type(value: object) -> str:
    """The type of a value, in the words of JSON Schema."""
    return next((name for types, name in _TYPES if isinstance(value, types)), "null")


def listed(names: Iterable[str], limit: int = 10) -> str:
    """Some of the names, sorted, and how many more there are."""
    found = sorted(names)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more
