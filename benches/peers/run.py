#!/usr/bin/env python3
"""Builds the peers and runs them in interleaved rounds, each in its own process.
Prints the tables of ../README.md."""
import argparse, json, os, pathlib, statistics, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parent
UNITS = {"yield": "per poll", "pingpong": "per message and answer", "echo": "per echo of 64 bytes"}
FLAVOURS = {1: "current-thread", 2: "2 workers"}
TRACED = ("tokio-blocked", "console")


def build(*features):
    env = dict(os.environ, RUSTFLAGS="--cfg tokio_unstable")
    target = HERE / "target" / ("tracing" if features else "plain")
    command = ["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", str(target)]
    if subprocess.run([*command, *features], cwd=HERE, env=env).returncode:
        sys.exit("run.py: the peers could not be built, see above")
    return target / "release" / "peers"


def run(binary, name, workload, workers):
    """Runs one process and returns its samples."""
    # Loopscope's variables in the caller's environment would change its rows.
    env = {key: value for key, value in os.environ.items() if not key.startswith("LOOPSCOPE")}
    if name == "loopscope-off":
        env["LOOPSCOPE"] = "off"
    process = subprocess.run([binary, name, workload, str(workers)], capture_output=True, text=True, env=env)
    if process.returncode:
        sys.exit(f"run.py: {name} failed: {process.stderr.strip()}")
    return json.loads(process.stdout)


def column(lines, name, key):
    """Returns the median of each round."""
    return [statistics.median(line[key]) for line in lines if line["configuration"] == name]


def quantile(values, q):
    return sorted(values)[round((len(values) - 1) * q)]


def table(names, lines):
    print("| configuration | median | 10 % | 90 % | added | throughput | CPU added |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in names:
        bare = "bare-tracing" if name in TRACED else "bare"
        costs, bare_costs = column(lines, name, "ns"), column(lines, bare, "ns")
        # Compares each round with the bare runtime in the same round: the
        # machine's speed changes between rounds by more than some rows cost.
        added = statistics.median(a - b for a, b in zip(costs, bare_costs))
        throughput = statistics.median(b / a for a, b in zip(costs, bare_costs))
        cpu = zip(column(lines, name, "cpu_ns"), column(lines, bare, "cpu_ns"))
        cpu_added = statistics.median(a - b for a, b in cpu)
        low, high = quantile(costs, 0.1), quantile(costs, 0.9)
        figures = f"{statistics.median(costs):.0f} | {low:.0f} | {high:.0f} | {added:+.0f}"
        print(f"| {name} | {figures} | {throughput:.3f} | {cpu_added:+.0f} |", flush=True)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=positive, default=7, help="number of rounds (default: 7)")
    arguments.add_argument("--only", default="", help="run only the configurations whose name contains this, and the bare ones")
    arguments.add_argument("--workload", choices=UNITS, action="append", help="run only this workload (default: all)")
    arguments.add_argument("--json", type=argparse.FileType("w"), help="write one line per process to this file")
    options = arguments.parse_args()
    configurations = {}
    for binary in [build(), build("--features", "tracing")]:
        for name in subprocess.run([binary], capture_output=True, text=True, check=True).stdout.split():
            if options.only in name or name.startswith("bare"):
                configurations[name] = binary
    names = list(configurations)
    for workload in options.workload or UNITS:
        for workers, flavour in FLAVOURS.items():
            lines = []
            for number in range(options.rounds):
                print(f"{workload}, {flavour}: round {number + 1} of {options.rounds}", file=sys.stderr)
                # The order alternates, so that none always runs after the same one.
                for name in names if number % 2 == 0 else reversed(names):
                    line = run(configurations[name], name, workload, workers)
                    lines.append(line)
                    if options.json:
                        print(json.dumps(dict(round=number, **line)), file=options.json, flush=True)
            print(f"\n{workload}, {flavour}, {options.rounds} interleaved rounds, ns {UNITS[workload]}\n")
            table(names, lines)


if __name__ == "__main__":
    main()
