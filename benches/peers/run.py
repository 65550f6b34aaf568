#!/usr/bin/env python3
"""Builds the peers and runs them side by side: interleaved rounds, a process
each, medians. Prints the tables of ../README.md."""
import argparse, os, pathlib, statistics, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE / "target"
UNITS = {"yield": "a poll", "pingpong": "a message there and back", "echo": "an echo of 64 bytes"}


def build(*features):
    env = dict(os.environ, RUSTFLAGS="--cfg tokio_unstable")
    target = TARGET / ("tracing" if features else "plain")
    command = ["cargo", "build", "--release", "--quiet", "--target-dir", str(target)]
    subprocess.run([*command, *features], cwd=HERE, env=env, check=True)
    return target / "release" / "peers"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7, help="how often each is run (default: 7)")
    arguments.add_argument("--only", default="", help="only configurations with this in their name, and the bare ones")
    arguments.add_argument("--workload", choices=UNITS, action="append", help="only this one (default: all)")
    options = arguments.parse_args()
    binaries = [build(), build("--features", "tracing")]
    configurations = []
    for binary in binaries:
        for name in subprocess.run([binary], capture_output=True, text=True, check=True).stdout.split():
            if options.only in name or name.startswith("bare"):
                configurations.append((binary, name))
    for workload in options.workload or UNITS:
        for flavour, title in (("1", "current-thread"), ("2", "2 workers")):
            times = {name: [] for _, name in configurations}
            for number in range(options.rounds):
                print(f"{workload}, {title}: round {number + 1} of {options.rounds}", file=sys.stderr)
                for binary, name in configurations:
                    env = dict(os.environ, LOOPSCOPE="off") if name == "loopscope-off" else os.environ
                    run = subprocess.run([binary, name, workload, flavour], capture_output=True, text=True, env=env)
                    if run.returncode:
                        sys.exit(f"run.py: {name} failed: {run.stderr.strip()}")
                    times[name].append(float(run.stdout))
            print(f"\n{workload}, {title}, {options.rounds} interleaved rounds, ns {UNITS[workload]}\n")
            print("| configuration | median | lowest | highest | added | throughput |\n|---|---:|---:|---:|---:|---:|")
            for _, name in configurations:
                bare = statistics.median(times["bare-tracing" if name in ("tokio-blocked", "console") else "bare"])
                median = statistics.median(times[name])
                low, high = min(times[name]), max(times[name])
                print(f"| {name} | {median:.0f} | {low:.0f} | {high:.0f} | {median - bare:+.0f} | {bare / median:.3f} |", flush=True)


if __name__ == "__main__":
    main()
