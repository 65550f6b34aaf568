#!/usr/bin/env python3
"""Holds the dashboards against Grafana's schema, as its foundation SDK knows it.

Each dashboard is read by the SDK and written again: what is of a wrong type
fails to be read, and what the schema does not know is missing afterwards.
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


# What Grafana's Prometheus data source reads and the common schema leaves to it.
OF_THE_DATA_SOURCE = ("builtIn", "tagKeys", "textFormat", "titleFormat")


def missing(ours, theirs, path=""):
    """What `ours` has and `theirs` has not, or has otherwise."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from missing(value, theirs[key], f"{path}.{key}")
            elif ".annotations" in path and key in OF_THE_DATA_SOURCE:
                continue
            elif value is not None and value != [] and value != {}:
                yield f"{path}.{key} is not in the schema"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for n, (a, b) in enumerate(zip(ours, theirs)):
            yield from missing(a, b, f"{path}[{n}]")
    elif ours != theirs:
        yield f"{path} is {ours!r}, which the schema reads as {theirs!r}"


def main():
    register_default_plugins()
    faults, paths = 0, sorted((Path(__file__).resolve().parent / "grafana").glob("*.json"))
    for path in paths:
        ours = json.loads(path.read_text())
        theirs = json.loads(json.dumps(Dashboard.from_json(ours), cls=JSONEncoder))
        for fault in missing(ours, theirs):
            faults += 1
            print(f"{path.name}{fault}", file=sys.stderr)
    print(f"{len(paths)} dashboards read by Grafana's SDK, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
