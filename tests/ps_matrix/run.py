#!/usr/bin/env python3
"""Compares `loopscope ps` with what a program says of its own tasks.

Builds one small program with several versions of Tokio and several settings of
the compiler, runs each, and prints a table. A value is right, not available, or
WRONG; the exit code is 1 if one is wrong or if a task is not found.

Needs cargo and a built `loopscope`. `--help` lists the options.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSIONS = ["1.32.0", "1.38.0", "1.44.0", "1.50.0", "1.54.1"]
UNSTABLE = "--cfg tokio_unstable"
PS_TIMEOUT_SECONDS = 60

# Name: (profile settings, RUSTFLAGS, more features of Tokio).
FLAVOURS = {
    "no-debug": ({"debug": False}, "", []),
    "stripped": ({"debug": False, "strip": "symbols"}, "", []),
    "line-tables": ({"debug": "line-tables-only"}, "", []),
    "full": ({"debug": "full"}, "", []),
    "full-unstable": ({"debug": "full"}, UNSTABLE, []),
    "full-tracing": ({"debug": "full"}, UNSTABLE, ["tracing"]),
    "full-v0": ({"debug": "full"}, "-C symbol-mangling-version=v0", []),
    "v0-no-debug": ({"debug": False}, "-C symbol-mangling-version=v0", []),
    "full-lto": ({"debug": "full", "lto": "fat", "codegen-units": 1}, "", []),
    "lto-stripped": ({"debug": False, "lto": "fat", "codegen-units": 1, "strip": "symbols"}, UNSTABLE, []),
    "full-abort": ({"debug": "full", "panic": "abort"}, "", []),
    "test-util": ({"debug": False}, "", ["test-util"]),
    "parking-lot": ({"debug": False}, "", ["parking_lot"]),
    "static": ({"debug": False}, "-C target-feature=+crt-static -C relocation-model=static", []),
    "dev": ({"debug": "full", "opt-level": 0}, "", []),
}
QUICK = [("1.32.0", "no-debug"), ("1.54.1", "stripped"), ("1.54.1", "full-unstable")]
COLUMNS = ["names", "states", "wakers", "spawned", "chains", "lines", "leaves"]


def build(version, flavour, folder):
    """Returns the program of a variant. Builds it if it is not there yet."""
    profile, rustflags, features = FLAVOURS[flavour]
    program = folder / version / "programs" / flavour
    source = HERE / "servers" / "main.rs"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    # "full" of Tokio has parking_lot: it is left out, except where asked for.
    base = ["fs", "io-util", "io-std", "macros", "net", "process", "rt-multi-thread", "signal", "sync", "time"]
    text = (HERE / "servers" / "Cargo.toml.in").read_text()
    text = text.replace("@MAIN@", str(source)).replace("@TOKIO@", version)
    text = text.replace("@FEATURES@", ", ".join(f'"{feature}"' for feature in base + features))
    crate = folder / version
    crate.mkdir(parents=True, exist_ok=True)
    (crate / "Cargo.toml").write_text(text)
    command = ["cargo", "build", "--quiet", "--release", "--manifest-path", str(crate / "Cargo.toml")]
    for key, value in profile.items():
        value = json.dumps(value)
        command += ["--config", f"profile.release.{key}={value}"]
    environment = dict(os.environ, CARGO_TARGET_DIR=str(crate / "target"), RUSTFLAGS=rustflags, CARGO_INCREMENTAL="0")
    subprocess.run(command, env=environment, check=True)
    program.parent.mkdir(exist_ok=True)
    # A renamed copy is whole, whenever this script is stopped.
    with tempfile.NamedTemporaryFile(dir=program.parent, delete=False) as copy:
        shutil.copyfile(crate / "target" / "release" / "ps-server", copy.name)
    # No other variant uses these files: each has settings of its own.
    shutil.rmtree(crate / "target" / "release", ignore_errors=True)
    os.chmod(copy.name, 0o755)
    os.rename(copy.name, program)
    return program


class Cell:
    """The results of one column."""

    def __init__(self):
        self.right = 0
        self.unavailable = 0
        self.wrong = []

    def add(self, is_right, what):
        """`is_right` is None if the value is not available."""
        if is_right is None:
            self.unavailable += 1
        elif is_right:
            self.right += 1
        else:
            self.wrong.append(what)

    def __str__(self):
        if self.wrong:
            return f"{len(self.wrong)} WRONG"
        return f"{self.right}/{self.right + self.unavailable}" if self.right else "-"


def compare(truth, document):
    """Returns the columns, the number of tasks that are listed, and what is missing or false."""
    found = {task["id"]: task for task in document["tasks"]}
    cells = {column: Cell() for column in COLUMNS}
    errors = []
    known = set()
    for task in truth["tasks"]:
        known.add(task["id"])
        label = f"{task['name']} (task {task['id']})"
        seen = found.get(task["id"])
        if seen is None:
            errors.append(f"missing: {label}, {task['state']}")
            continue
        compare_task(task, seen, cells, label)
    runs_worker = [
        task for id, task in found.items()
        if id not in known and task["is_blocking"] and task["state"] == "running"
    ]
    if len(runs_worker) > truth["workers"]:
        errors.append(f"false: {len(runs_worker) - truth['workers']} jobs of the blocking pool")
    for id, task in found.items():
        if id not in known and task not in runs_worker:
            errors.append(f"false: task {id}, {task['state']}, {task['kind']}")
    if len(found) != len(document["tasks"]):
        errors.append("an id appears twice")
    return cells, len(known & set(found)), errors


def compare_task(task, seen, cells, label):
    is_blocking = task["scheduler"] == "blocking"
    kind = seen["kind"]
    # The name of an instrumented future may be that of the wrapped one.
    names = [task["name"]] + [function for function, _ in task["awaits"]]
    cells["names"].add(None if kind.startswith("0x") else any(name in kind for name in names), f"{label}: {kind}")
    state = (seen["state"], seen["is_blocking"])
    cells["states"].add(state == (task["state"], is_blocking), f"{label}: {state}")
    if task["state"] == "idle":
        is_lost = task["name"] == "on_lost_waker"
        cells["wakers"].add((seen["wakers"] == 0) == is_lost, f"{label}: {seen['wakers']}")
    spawned = seen["spawned_at"]
    right = f"main.rs:{task['spawn_line']}:"
    cells["spawned"].add(None if spawned is None else right in spawned, f"{label}: {spawned}, not {right}")
    if not task["awaits"]:
        return
    chain = [step for step in seen["chain"] if "ps_server" in step["function"]]
    functions = [step["function"].split("::")[-1] for step in chain]
    expected = [function for function, _ in task["awaits"]]
    is_prefix = functions == expected[: len(functions)]
    is_whole = functions == expected
    # Nothing at all, or less with the reason, is not wrong.
    is_said = not seen["chain"] or seen["chain_missing"]
    incomplete = None if is_prefix and is_said else False
    cells["chains"].add(True if is_whole else incomplete, f"{label}: {functions}")
    for step, (function, line) in zip(chain, task["awaits"]):
        at = step["line"]
        is_right = at == line and (step["file"] or "").endswith("main.rs")
        cells["lines"].add(None if at is None else is_right, f"{label}: {function} at {step['file']}:{at}, not {line}")
    leaf = seen["leaf"]
    kind = leaf["kind"] if leaf else None
    cells["leaves"].add(None if kind is None else kind == task["leaf"], f"{label}: {leaf}, not {task['leaf']}")


def read(program, loopscope):
    server = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        truth = json.loads(server.stdout.readline())
        begin = time.monotonic()
        command = [*loopscope, "ps", "--json", str(truth["pid"])]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PS_TIMEOUT_SECONDS)
        return truth, json.loads(output.stdout), time.monotonic() - begin
    finally:
        server.stdin.close()
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only three variants")
    parser.add_argument("--version", action="append", choices=VERSIONS, help="only this version; repeatable")
    parser.add_argument("--flavour", action="append", choices=FLAVOURS, help="only this flavour; repeatable")
    parser.add_argument("--loopscope", default=str(HERE.parents[1] / "target/debug/loopscope"), help="the program")
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / "target/ps_matrix", help="for the builds")
    parser.add_argument("--runs", type=int, default=1, help="how often each variant is read")
    arguments = parser.parse_args()
    if arguments.quick:
        variants = QUICK
    else:
        flavours = arguments.flavour or list(FLAVOURS)
        variants = [(version, flavour) for version in arguments.version or VERSIONS for flavour in flavours]
    print("| tokio | build | tasks | " + " | ".join(COLUMNS) + " | seconds |")
    print("|---|---|---|" + "---|" * len(COLUMNS) + "---|")
    problems = []
    for version, flavour in variants:
        program = build(version, flavour, arguments.folder)
        for _ in range(arguments.runs):
            truth, document, seconds = read(program, [arguments.loopscope])
            cells, count, errors = compare(truth, document)
            row = [version, flavour, f"{count}/{len(truth['tasks'])}", *(str(cells[c]) for c in COLUMNS), f"{seconds:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)
            wrong = [f"wrong {column}: {what}" for column in COLUMNS for what in cells[column].wrong]
            problems += [f"{version} {flavour}: {what}" for what in errors + wrong]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
