#!/usr/bin/env python3
"""Counts the false alarms of `loopscope ps` on healthy servers under load.

Starts each server (axum, tonic, hyper, mini-redis, chat-server; release builds
with debug information), puts it under load, reads it again and again, and prints
a table with the verdicts by kind. Nothing is wrong in these servers, so the exit
code is 1 if there is a verdict. The documents with verdicts are kept.

Needs cargo, redis-benchmark, and a built `loopscope`. `--help` lists the
options.
"""

import argparse
import collections
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MINI_REDIS = "0.4.1"
SERVERS = ["axum", "tonic", "hyper", "mini-redis", "chat"]
START_SECONDS = 30
END_SECONDS = 60


def build(folder, servers):
    """Builds the servers and the load. Returns the folder of each program."""
    target = folder / "target"
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target), RUSTFLAGS="")
    programs = {}
    if set(servers) & {"axum", "tonic", "hyper"}:
        text = (HERE / "servers" / "Cargo.toml.in").read_text().replace("@SOURCES@", str(HERE / "servers"))
        (folder / "Cargo.toml").write_text(text)
        command = ["cargo", "build", "--release", "--quiet", "--manifest-path", str(folder / "Cargo.toml")]
        subprocess.run(command, env=environment, check=True)
        programs["own"] = target / "release"
    if "mini-redis" in servers:
        root = folder / "mini-redis"
        if not (root / "bin" / "mini-redis-server").exists():
            command = ["cargo", "install", "--quiet", "--root", str(root), "--version", MINI_REDIS, "mini-redis"]
            subprocess.run([*command, "--config", 'profile.release.debug="full"'], env=environment, check=True)
        programs["mini-redis"] = root / "bin"
    if "chat" in servers:
        command = ["cargo", "build", "--release", "--quiet", "-p", "chat-server", "-p", "loadgen"]
        subprocess.run([*command, "--config", 'profile.release.debug="full"'], cwd=ROOT, env=environment, check=True)
        programs["chat"] = target / "release"
    return programs


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"no server listens at port {port}")


def start(server, programs, connections, seconds, log):
    """Returns the processes of a server and of its load."""
    quiet = {"stdout": log, "stderr": log}
    if server == "mini-redis":
        port = free_port()
        process = subprocess.Popen([programs["mini-redis"] / "mini-redis-server", "--port", str(port)], **quiet)
        wait_for(port)
        load = ["redis-benchmark", "-p", str(port), "-c", str(connections), "-t", "set,get", "-l", "-q"]
    elif server == "chat":
        port = free_port()
        process = subprocess.Popen([programs["chat"] / "chat-server", "--listen", f"127.0.0.1:{port}", "--telemetry", "off"], **quiet)
        wait_for(port)
        load = [programs["chat"] / "loadgen", "run", "--target", f"127.0.0.1:{port}", "--rooms", "10", "--connections"]
        load += [str(connections), "--rate", "2000", "--duration", f"{int(seconds) + END_SECONDS}s"]
    else:
        process = subprocess.Popen([programs["own"] / f"{server}-server"], stdout=subprocess.PIPE, stderr=log, text=True)
        address = process.stdout.readline().strip()
        kind = "grpc" if server == "tonic" else server
        load = [programs["own"] / "load", kind, address, str(connections)]
    return process, subprocess.Popen(load, **quiet)


def watch(server, arguments, programs):
    """Reads one server. Returns the row of the table and the number of verdicts."""
    seconds = 60 * arguments.minutes
    kinds, tasks, times = collections.Counter(), [], []
    kept = arguments.folder / f"{server}.jsonl"
    with open(arguments.folder / f"{server}.log", "w") as log, open(kept, "w") as verdicts:
        process, load = start(server, programs, arguments.connections, seconds, log)
        reader = None
        try:
            time.sleep(2)
            command = [arguments.loopscope, "ps", "--json", "--no-nice", "--watch", str(arguments.pause), str(process.pid)]
            reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            end = time.monotonic() + seconds
            for line in reader.stdout:
                document = json.loads(line)
                tasks.append(len(document["tasks"]))
                times.append(document["coverage"]["seconds"])
                kinds.update(verdict["kind"] for verdict in document["verdicts"])
                if document["verdicts"]:
                    verdicts.write(line)
                if time.monotonic() > end:
                    break
            has_ended = [name for name, of in (("server", process), ("load", load)) if of.poll() is not None]
        finally:
            for child in (reader, load, process):
                if child:
                    child.kill()
                    child.wait()
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "0"
    if has_ended or not tasks:
        found += f" (not valid: {' and '.join(has_ended) or 'nothing was read'} ended)"
    tasks, times = sorted(tasks) or [0], sorted(times) or [0]
    median = f"{tasks[len(tasks) // 2]:,} ({tasks[0]:,} to {tasks[-1]:,})"
    row = [server, f"{arguments.minutes:g}", f"{len(tasks):,}", median, f"{times[len(times) // 2]:.2f}", found]
    return "| " + " | ".join(row) + " |", sum(kinds.values()) + len(has_ended)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", choices=SERVERS, help="only this server; repeatable")
    parser.add_argument("--minutes", type=float, default=10, help="for each server")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two readings")
    parser.add_argument("--at-once", type=int, default=2, help="how many servers run at the same time")
    parser.add_argument("--loopscope", default=str(ROOT / "target/release/loopscope"), help="the program")
    parser.add_argument("--folder", type=Path, default=ROOT / "target/ps_alarms", help="for builds and results")
    parser.add_argument("--programs", type=Path, help="a folder that has all programs: nothing is built")
    arguments = parser.parse_args()
    servers = arguments.server or SERVERS
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if "mini-redis" in servers and not shutil.which("redis-benchmark"):
        parser.error("redis-benchmark is not installed; --server selects other servers")
    if arguments.programs:
        programs = dict.fromkeys(["own", "mini-redis", "chat"], arguments.programs)
    else:
        programs = build(arguments.folder, servers)
    print("| server | minutes | readings | tasks: median (range) | seconds of a reading, median | verdicts |")
    print("|---|---|---|---|---|---|", flush=True)
    alarms = 0
    with ThreadPoolExecutor(arguments.at_once) as pool:
        for row, count in pool.map(lambda server: watch(server, arguments, programs), servers):
            print(row, flush=True)
            alarms += count
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
