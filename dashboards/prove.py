#!/usr/bin/env python3
"""Runs every expression of every panel and rule against a real Prometheus.

It starts a chat server with mistakes, a load on it, a second server that is
idle, an example with several event loops, and Debian's Prometheus, which
scrapes all of them. It fails if an expression has an error or no value, if its
legend uses a label that its series do not have, if a stall does not make the
alert fire and clear, or if an exemplar does not lead to a finding.

    python3 dashboards/prove.py [--pictures FOLDER]

With --pictures, it checks nothing: it runs a longer load and draws a picture of
each dashboard (dashboards/draw).

Needs cargo, and prometheus and promtool (apt-get install prometheus).
"""

import argparse
import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VARIABLES = {"$__rate_interval": "10s", "$__range": "60s", "$__interval": "5s", "$job": ".+", "$instance": ".+",
             "$runtime": ".+"}
MISTAKES = ["sleep=60ms@2%", "filter@2%", "history@5%", "lock@10%", "password@100%"]
LOAD_SECONDS = 40
LOAD = ["--rate", "80", "--duration", f"{LOAD_SECONDS}s"]
# The load that the pictures show: commands per second, minutes.
PICTURE_STAGES = "40:2m,80:2m,120:2m,60:2m"
PICTURE_SECONDS = 8 * 60


class World:
    """The processes and their ports."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.processes = []
        self.loops = None
        self.ports = {name: free_port() for name in ["irc", "loaded", "idle_irc", "idle", "loops", "load", "prometheus"]}

    def start(self, name, *command, **environment):
        log = open(self.folder / f"{name}.log", "w")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=self.folder,
                                   env={**os.environ, **environment})
        self.processes.append(process)
        return process

    def address(self, name):
        return f"127.0.0.1:{self.ports[name]}"

    def end(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def ask(self, path, **parameters):
        """Returns the data of Prometheus' answer. Raises an exception for an error."""
        url = f"http://{self.address('prometheus')}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["error"]) from None


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(what, condition, timeout=60):
    """Waits until `condition` returns something true, and returns it."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            found = condition()
        except (OSError, RuntimeError):
            found = None
        if found:
            return found
        time.sleep(0.2)
    sys.exit(f"{what} did not happen within {timeout} s")


def rules_without_minutes(folder):
    """Writes the rules with waiting times of seconds instead of minutes, and returns their path."""
    rules = (HERE / "prometheus" / "rules.yml").read_text()
    path = folder / "rules.yml"
    path.write_text(re.sub(r"(for: \d+)m\n", r"\1s\n", rules))
    return path


def start(world, rules, load):
    """Starts all processes, and returns the one of the load."""
    built = ROOT / "target" / "release"
    inject = [word for mistake in MISTAKES for word in ("--inject", mistake)]
    server = [built / "chat-server", "--workers", "2"]
    world.start("loaded", *server, "--listen", world.address("irc"), "--telemetry", world.address("loaded"),
                "--data-dir", world.folder / "data", "--password", "p", *inject)
    world.start("idle", *server, "--listen", world.address("idle_irc"), "--telemetry", world.address("idle"),
                "--data-dir", world.folder / "data2", "--inject", "sleep=6s@100%")
    world.loops = world.start("loops", ROOT / "target" / "debug" / "examples" / "event_loops", "600",
                              LOOPSCOPE_TELEMETRY=world.address("loops"))
    targets = [{"targets": [world.address("loaded"), world.address("idle")], "labels": {"job": "chat"}},
               {"targets": [world.address("loops")], "labels": {"job": "loops"}},
               {"targets": [world.address("load")], "labels": {"job": "load"}}]
    config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
              "rule_files": [str(rules)],
              "scrape_configs": [{"job_name": "all", "static_configs": targets}]}
    (world.folder / "prometheus.yml").write_text(json.dumps(config))
    world.start("prometheus", "prometheus", f"--config.file={world.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={world.folder / 'tsdb'}", f"--web.listen-address={world.address('prometheus')}",
                "--enable-feature=exemplar-storage")
    for name in ["loaded", "idle", "loops"]:
        eventually(name, lambda: urllib.request.urlopen(f"http://{world.address(name)}/healthz", timeout=5).status == 200)
    return world.start("loadgen", built / "loadgen", "run", "--target", world.address("irc"), "--connections", "100",
                       "--rooms", "10", *load, "--ramp", "3s", "--pass", "p",
                       "--churn", "2", "--mix", "privmsg:80,join:10,names:10", "-q", "--metrics", world.address("load"))


def filled_in(expr):
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    return expr


def expressions():
    """Yields, for each expression: where it is, its text, the labels of its legend, and whether it is one of several of a table."""
    for path in sorted((HERE / "grafana").glob("*.json")):
        dashboard = json.loads(path.read_text())
        for annotation in dashboard["annotations"]["list"]:
            # `check_alert` makes an alert fire.
            if not annotation.get("builtIn") and annotation["name"] != "Alerts":
                labels = re.findall(r"{{(\w+)}}", annotation["titleFormat"] + annotation["textFormat"])
                yield f"{path.name}: {annotation['name']}", filled_in(annotation["expr"]), labels, False
        for panel in dashboard["panels"]:
            targets = panel.get("targets", [])
            is_merged = panel["type"] == "table" and len(targets) > 1
            for target in targets:
                labels = re.findall(r"{{(\w+)}}", target["legendFormat"])
                yield f"{path.name}: {panel['title']} ({target['refId']})", filled_in(target["expr"]), labels, is_merged


def is_finite(series):
    samples = series.get("values") or [series["value"]]
    return any(math.isfinite(float(value)) for _, value in samples)


def check_panels(world, end):
    """Runs every expression over the time of the load. Returns their number and the faults."""
    faults, count = [], 0
    for place, expr, labels, is_merged in expressions():
        count += 1
        try:
            result = world.ask("query_range", query=expr, start=end - 30, end=end, step=1)["result"]
        except RuntimeError as error:
            faults.append(f"{place}: {error}: {expr}")
            continue
        if not any(is_finite(series) for series in result):
            faults.append(f"{place}: {'only NaN' if result else 'empty'}: {expr}")
        for label in labels:
            if any(label not in series["metric"] for series in result):
                faults.append(f"{place}: a series has no label {label}: {expr}")
        # Grafana merges rows whose labels are equal. The name of a metric is a label.
        if is_merged and any("__name__" in series["metric"] for series in result):
            faults.append(f"{place}: a series has a metric's name, so the table does not merge its rows: {expr}")
    return count, faults


def check_rules(world):
    """Checks the rules as Prometheus runs them. The expression in an alert's comparison must have values."""
    faults, count = [], 0
    groups = world.ask("rules")["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        count += 1
        if rule["health"] != "ok":
            faults.append(f"rule {rule['name']}: {rule.get('lastError', rule['health'])}")
        if rule["name"] in ("LoopscopeTargetLost", "LoopscopeTargetsAbsent"):
            continue  # Empty while all targets are up; see check_lost.
        compared = re.sub(r" > [\d.]+", "", rule["query"])
        if not world.ask("query", query=compared)["result"]:
            faults.append(f"rule {rule['name']}: the compared expression has no value: {compared}")
    return count, faults


def alert(world, name, instance):
    """Returns whether an alert fires for an instance."""
    alerts = world.ask("alerts")["alerts"]
    return any(a["state"] == "firing" and a["labels"]["alertname"] == name and a["labels"].get("instance") == instance
               for a in alerts)


def check_alert(world):
    """Sends one message that makes the idle server sleep for 6 s on its event loop."""
    instance = world.address("idle")
    assert not alert(world, "LoopscopeStallInProgress", instance), "the alert fires although nothing blocks"
    with socket.create_connection(("127.0.0.1", world.ports["idle_irc"]), 10) as client:
        client.sendall(b"NICK one\r\nUSER one 0 * :one\r\nJOIN #room\r\n")
        received = b""
        while b" 366 " not in received:
            received += client.recv(4096)
        begin = time.monotonic()
        client.sendall(b"PRIVMSG #room :sleep\r\n")
        eventually("the alert", lambda: alert(world, "LoopscopeStallInProgress", instance), 20)
        fired = time.monotonic() - begin
        eventually("its end", lambda: not alert(world, "LoopscopeStallInProgress", instance), 30)
        cleared = time.monotonic() - begin
    print(f"a stall of 6 s: the alert fired after {fired:.1f} s and cleared after {cleared:.1f} s")


def check_exemplars(world):
    """Checks that each exemplar's label is the id of a finding."""
    found = world.ask("query_exemplars", query="loopscope_blocking_duration_seconds_bucket", start=time.time() - 300, end=time.time())
    ids = {(series["seriesLabels"]["instance"], e["labels"]["finding"]) for series in found for e in series["exemplars"]}
    ids = {(instance, finding) for instance, finding in ids if instance != world.address("load")}
    assert ids, "there are no exemplars"
    for instance, finding in ids:
        with urllib.request.urlopen(f"http://{instance}/findings/{finding}", timeout=10) as response:
            assert json.load(response)["finding"]["id"] == finding
    print(f"{len(ids)} exemplars lead to their findings")


def check_scrapes(world):
    """Checks the exposition with promtool, and that a scrape resets no counter."""
    def text():
        with urllib.request.urlopen(f"http://{world.address('idle')}/metrics", timeout=10) as response:
            return response.read()

    subprocess.run(["promtool", "check", "metrics"], input=text(), check=True)
    def counts(body):
        return dict(re.findall(r"^(\w+_total(?:{[^}]*})?) (\S+)$", body.decode(), re.MULTILINE))

    first, second = counts(text()), counts(text())
    decreased = [name for name, value in first.items() if float(second[name]) < float(value)]
    assert not decreased, f"a scrape reset {decreased}"
    print(f"promtool check metrics: no fault; {len(first)} counters, none decreased")


def check_lost(world):
    """Checks that the alert for lost targets fires: the load generator has ended; this ends the example, too."""
    world.loops.terminate()
    query = next(rule["query"] for group in world.ask("rules")["groups"] for rule in group["rules"]
                 if rule["name"] == "LoopscopeTargetLost")
    lost = {world.address("load"), world.address("loops")}
    eventually("the loss of two targets", lambda: lost == {
        series["metric"]["instance"] for series in world.ask("query", query=query)["result"]}, 60)
    print("the alert for lost targets fires")


def draw(world, folder):
    """Draws the dashboards over the time of the load."""
    # Without the time in which connections close.
    end = int(time.time()) - 8
    subprocess.run(["node", HERE / "draw" / "draw.mjs", f"http://{world.address('prometheus')}", folder,
                    "--from", str(end - PICTURE_SECONDS + 10), "--to", str(end), "--scrape", "5"], check=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pictures", metavar="FOLDER", help="draws the dashboards instead of checking them")
    arguments = arguments.parse_args()
    build = ["cargo", "build", "--quiet", "--release"]
    subprocess.run([*build, "--bin", "loadgen", "--bin", "chat-server"], cwd=ROOT, check=True)
    # CI's tests have built this one, with all features.
    subprocess.run(["cargo", "build", "--quiet", "--all-features", "--example", "event_loops"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        try:
            if arguments.pictures:
                load = start(world, HERE / "prometheus" / "rules.yml", ["--stages", PICTURE_STAGES])
                load.wait(PICTURE_SECONDS + 60)
                draw(world, Path(arguments.pictures).resolve())
                return 0
            load = start(world, rules_without_minutes(world.folder), LOAD)
            load.wait(LOAD_SECONDS + 60)
            # The end of the load, without the time in which connections close.
            end = time.time() - 8
            count, faults = check_panels(world, end)
            rules, more = check_rules(world)
            faults += more
            print(f"{count} expressions of panels and {rules} rules, {len(faults)} faults")
            print("\n".join(faults), file=sys.stderr)
            check_exemplars(world)
            check_scrapes(world)
            check_alert(world)
            check_lost(world)
        finally:
            world.end()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
