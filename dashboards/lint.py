#!/usr/bin/env python3
"""Lints the Grafana dashboards and the rules against docs/metrics.md and docs/runbook.md.

The rules for dashboards are those of Grafana's dashboard-linter and some more.

Prints every fault and exits with 1 if there is one. Writes the expression of
each panel, with the variables replaced, as a recording rule to the file named
by the first argument, so that promtool can check its syntax.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VARIABLES = {"$__rate_interval": "5m", "$__range": "30m", "$__interval": "15s", "$job": ".+",
             "$instance": ".+", "$runtime": ".+"}
SUFFIXES = ("_bucket", "_sum", "_count")
RUNBOOK = "https://github.com/loopscope/loopscope/blob/main/docs/runbook.md"
METRIC = re.compile(r"(?<![\w:])loopscope_[a-z0-9_]+")


def catalogue():
    """Returns metric names and types, from the table in docs/metrics.md."""
    page = (HERE.parent / "docs" / "metrics.md").read_text()
    return dict(re.findall(r"^\| `(loopscope_\w+)` \| (\w+) \|", page, re.MULTILINE))


def family(name, metrics):
    """Returns the metric in the catalogue that a series belongs to, or None."""
    if name in metrics:
        return name if metrics[name] != "histogram" else None
    base = next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), None)
    return base if metrics.get(base) == "histogram" else None


def expression_faults(expr, metrics, table):
    """Returns the faults of the expression of one panel."""
    for match in METRIC.finditer(expr):
        name, rest = match.group(), expr[match.end():]
        base = family(name, metrics)
        if base is None:
            yield f"{name} is not in docs/metrics.md"
            continue
        selector = re.match(r"\{([^}]*)\}", rest)
        for label in ("job", "instance"):
            if not selector or f'{label}=~"${label}"' not in selector.group(1):
                yield f"{name} has no selector for {label}"
        ranged = re.match(r"\{[^}]*\}\[\$__(rate_interval|range)\]", rest)
        if metrics[base] != "gauge" and not ranged and not table:
            yield f"{name} is a counter: use its rate over $__rate_interval"
        if metrics[base] == "gauge" and ranged:
            yield f"{name} is a gauge: use it without a range"


def display_faults(panel):
    """Returns the options with which Grafana draws a panel that misleads."""
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    if panel["type"] == "timeseries" and not custom.get("axisSoftMax"):
        yield "no axisSoftMax: if all values are 0, the axis ends at 100"
    for override in panel["fieldConfig"]["overrides"]:
        ids = {one["id"]: one["value"] for one in override["properties"]}
        if custom.get("thresholdsStyle", {}).get("mode", "off") != "off" and "unit" in ids and "custom.thresholdsStyle" not in ids:
            yield f"{override['matcher']['options']} has another unit but the same dashed thresholds"
        if ids.get("custom.cellOptions", {}).get("type") == "gauge" and not ids.get("fieldMinMax"):
            yield f"the bars of {override['matcher']['options']} are relative to the highest value of all columns: fieldMinMax"


def panel_faults(panel, metrics):
    """Returns the faults of one panel."""
    yield from display_faults(panel)
    for key in ("title", "description"):
        if not panel.get(key):
            yield f"no {key}"
    if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        yield "no unit"
    if not panel.get("targets"):
        yield "no target"
    if not panel["fieldConfig"]["defaults"].get("thresholds"):
        yield "no thresholds"
    letters = [target.get("refId") for target in panel["targets"]]
    if len(set(letters)) != len(letters):
        yield f"two targets have the same refId: {letters}"
    if panel.get("datasource", {}).get("uid") != "${datasource}":
        yield "its data source is not the variable"
    for target in panel.get("targets", []):
        if not target.get("expr"):
            yield "a target without an expression"
            continue
        yield from expression_faults(target["expr"], metrics, panel["type"] == "table")


def overlap(a, b):
    """Returns whether two panels overlap."""
    a, b = a["gridPos"], b["gridPos"]
    return (a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"])


def layout_faults(panels):
    """Returns the faults of the layout of all panels."""
    ids = [panel["id"] for panel in panels]
    for twice in sorted({i for i in ids if ids.count(i) > 1}):
        yield f"two panels have the id {twice}"
    for n, panel in enumerate(panels):
        if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24:
            yield f"{panel['title']!r} extends beyond the 24 columns of the page"
        for other in panels[n + 1:]:
            if overlap(panel, other):
                yield f"{panel['title']!r} overlaps {other['title']!r}"


def variable_faults(variable):
    """Returns the faults of one variable: dashboard-linter requires a label and a reload."""
    if not variable.get("label"):
        yield "no label"
    if variable["type"] == "query":
        if variable["datasource"].get("uid") != "${datasource}":
            yield "its data source is not the variable"
        if variable["refresh"] != 2:
            yield "is not reloaded when the time range changes"
        if not (variable["multi"] and variable["includeAll"] and variable["allValue"] == ".+"):
            yield "must allow several values and all values"


def dashboard_faults(dashboard, metrics):
    """Returns the faults of one dashboard."""
    if not dashboard.get("uid") or dashboard.get("editable") is not False:
        yield "needs a fixed uid and editable: false"
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    if names[:3] != ["datasource", "job", "instance"]:
        yield f"its variables must begin with datasource, job, instance, not {names}"
    for variable in dashboard["templating"]["list"]:
        yield from (f"variable {variable['name']}: {fault}" for fault in variable_faults(variable))
    used = json.dumps(dashboard["panels"])
    for name in names[1:]:
        if f"${name}" not in used:
            yield f"no panel uses its variable {name}"
    yield from layout_faults(dashboard["panels"])
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield from (f"{panel.get('title')!r}: {fault}" for fault in panel_faults(panel, metrics))


def rules_faults(metrics):
    """Returns the metrics that the rules use and the catalogue does not have."""
    rules = (HERE / "prometheus" / "rules.yml").read_text()
    for name in sorted(set(METRIC.findall(rules))):
        # The names of rule groups look like metrics but are not.
        if family(name, metrics) is None and f"name: {name}" not in rules:
            yield f"{name} is not in docs/metrics.md"


def runbook_faults():
    """Returns alerts without a section in the runbook, sections without an alert, and alerts without a required field."""
    rules = (HERE / "prometheus" / "rules.yml").read_text()
    page = (HERE.parent / "docs" / "runbook.md").read_text()
    readme = (HERE / "README.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    pages = re.findall(r"^## (Loopscope\w+)$", page, re.MULTILINE)
    for name in sorted(set(alerts) ^ set(pages)):
        yield f"{name} is missing in rules.yml or in docs/runbook.md"
    for body in rules.split("- alert: ")[1:]:
        name = body.split("\n")[0]
        for key in ("severity", "summary", "description", "runbook", "runbook_url"):
            if not re.search(rf"^ +{key}:", body, re.MULTILINE):
                yield f"{name} has no {key}"
        severity = re.search(r"severity: (\w+)", body)
        if severity and f"| `{name}` | {severity[1]} |" not in readme:
            yield f"{name} with this severity is missing in dashboards/README.md"
        if f"runbook_url: {RUNBOOK}#{name.lower()}\n" not in body:
            yield f"{name} does not link to its section of docs/runbook.md"


def unused_metrics(metrics, texts):
    """Returns the metrics that no dashboard and no rule uses."""
    named = {family(name, metrics) for name in METRIC.findall("\n".join(texts))}
    return sorted(set(metrics) - named)


def filled_in(expr):
    """Returns the expression with every variable replaced by a value."""
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    return expr


def main():
    metrics = catalogue()
    faults = [] if metrics else ["docs/metrics.md has no table of metrics"]
    faults += [f"prometheus/rules.yml: {fault}" for fault in rules_faults(metrics)]
    faults += [f"docs/runbook.md: {fault}" for fault in runbook_faults()]
    texts = [path.read_text() for path in [HERE / "prometheus" / "rules.yml", *(HERE / "grafana").glob("*.json")]]
    faults += [f"{name} is not used by any dashboard or rule" for name in unused_metrics(metrics, texts)]
    rules, dashboards = [], sorted((HERE / "grafana").glob("*.json"))
    for path in dashboards:
        dashboard = json.loads(path.read_text())
        faults += [f"{path.name}: {fault}" for fault in dashboard_faults(dashboard, metrics)]
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                name = f"panel:{path.stem}_{panel['id']}_{target['refId']}"
                rules.append({"record": name, "expr": filled_in(target["expr"])})
    if len(sys.argv) > 1:
        # promtool reads YAML, and JSON is valid YAML.
        Path(sys.argv[1]).write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(dashboards)} dashboards, {len(rules)} expressions, {len(metrics)} metrics, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
