#!/usr/bin/env python3
"""Checks the dashboards against Grafana's schema, as in its foundation SDK.

The SDK reads each dashboard and writes it again: what is missing afterwards is
not in the schema. The SDK does not check types, so this compares the values
with the types that the SDK declares.
"""

import enum
import json
import sys
import typing
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


# Fields of Grafana's Prometheus data source, which the common schema does not have.
DATA_SOURCE_FIELDS = ("builtIn", "step", "tagKeys", "textFormat", "titleFormat")


def missing(ours, theirs, path=""):
    """Returns what is in `ours` and missing or different in `theirs`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from missing(value, theirs[key], f"{path}.{key}")
            elif ".annotations" in path and key in DATA_SOURCE_FIELDS:
                continue
            elif value is not None and value != [] and value != {}:
                yield f"{path}.{key} is not in the schema"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for n, (a, b) in enumerate(zip(ours, theirs)):
            yield from missing(a, b, f"{path}[{n}]")
    elif ours != theirs:
        yield f"{path} is {ours!r}, which the schema reads as {theirs!r}"


def has_type(value, kind):
    """Returns whether a value has a declared type. Does not check all parts of it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (object, typing.Any):
        return True
    if origin is typing.Union:
        return any(has_type(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is not None:
        return isinstance(value, origin) and (origin is not list or all(has_type(one, arguments[0]) for one in value))
    if issubclass(kind, enum.Enum):
        return value in [one.value for one in kind]
    if isinstance(value, dict) and hasattr(kind, "from_json"):
        # The SDK does not read some lists of objects.
        return set(value) <= set(kind.from_json(value).to_json()) and not any(mistyped(kind.from_json(value)))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def mistyped(value, path=""):
    """Returns the values in an object of the SDK that do not have their declared type."""
    if isinstance(value, list):
        for n, one in enumerate(value):
            yield from mistyped(one, f"{path}[{n}]")
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from mistyped(one, f"{path}.{key}")
    elif type(value).__module__.startswith("grafana_foundation_sdk") and not isinstance(value, enum.Enum):
        kinds = typing.get_type_hints(type(value))
        for name, one in vars(value).items():
            if name in kinds and not has_type(one, kinds[name]):
                yield f"{path}.{name} is {one!r}, not a {kinds[name]}"
            else:
                yield from mistyped(one, f"{path}.{name}")


def main():
    register_default_plugins()
    faults, paths = 0, sorted((Path(__file__).resolve().parent / "grafana").glob("*.json"))
    for path in paths:
        ours = json.loads(path.read_text())
        try:
            read = Dashboard.from_json(ours)
        except KeyError as key:
            faults += 1
            print(f"{path.name}: an object has no {key}", file=sys.stderr)
            continue
        theirs = json.loads(json.dumps(read, cls=JSONEncoder))
        for fault in [*missing(ours, theirs), *mistyped(read)]:
            faults += 1
            print(f"{path.name}{fault}", file=sys.stderr)
    print(f"{len(paths)} dashboards read by Grafana's SDK, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
