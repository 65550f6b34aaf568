#!/usr/bin/env python3
"""Compares `loopscope ps` with what a program says of its own tasks.

Builds one small program with several versions of Tokio and several settings of
the compiler, runs each, and prints a table. A value is right, not available, or
WRONG; the exit code is 1 if one is wrong, if a task is not found, or if more is
not available than the floor of the flavour permits.

Needs cargo, binutils and a built `loopscope`. `--help` lists the options.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSIONS = ["1.32.0", "1.38.0", "1.44.0", "1.50.0", "1.54.1"]
UNSTABLE = "--cfg tokio_unstable"
PS_TIMEOUT_SECONDS = 120
SERVER_TIMEOUT_SECONDS = 120

TARGET = platform.machine() + "-unknown-linux-gnu"
LTO = {"lto": "fat", "codegen-units": 1}
V0 = "-C symbol-mangling-version=v0"
BUILD_ID = "-C link-arg=-Wl,--build-id"
# "full" of Tokio has parking_lot: it is left out, except where asked for.
FEATURES = ["io-util", "macros", "net", "rt-multi-thread", "sync", "time"]

# Name: (profile settings, RUSTFLAGS, more features of Tokio, what is done with
# the debug information).
FLAVOURS = {
    "no-debug": ({"debug": False}, "", [], None),
    "stripped": ({"debug": False, "strip": "symbols"}, "", [], None),
    "line-tables": ({"debug": "line-tables-only"}, "", [], None),
    "full": ({"debug": "full"}, "", [], None),
    "full-unstable": ({"debug": "full"}, UNSTABLE, [], None),
    "full-tracing": ({"debug": "full"}, UNSTABLE, ["tracing"], None),
    "full-v0": ({"debug": "full"}, V0, [], None),
    "v0-no-debug": ({"debug": False}, V0, [], None),
    "full-lto": ({"debug": "full", **LTO}, "", [], None),
    "lto-stripped": ({"debug": False, "strip": "symbols", **LTO}, UNSTABLE, [], None),
    "full-abort": ({"debug": "full", "panic": "abort"}, "", [], None),
    "test-util": ({"debug": False}, "", ["test-util"], None),
    "full-test-util": ({"debug": "full"}, "", ["test-util"], None),
    "parking-lot": ({"debug": False}, "", ["parking_lot"], None),
    "full-parking-lot": ({"debug": "full"}, "", ["full"], None),
    "static": ({"debug": False}, "-C target-feature=+crt-static -C relocation-model=static", [], None),
    "dev": ({"debug": "full", "opt-level": 0}, "", [], None),
    "apart-dwp": ({"debug": "full", "split-debuginfo": "packed"}, "", [], "dwp"),
    "apart-link": ({"debug": "full"}, BUILD_ID, [], "link"),
    "apart-given": ({"debug": "full"}, BUILD_ID, [], "file"),
    "apart-folder": ({"debug": "full"}, BUILD_ID, [], "folder"),
}
QUICK = [("1.32.0", "no-debug"), ("1.54.1", "stripped"), ("1.54.1", "full-unstable")]
COLUMNS = ["names", "states", "wakers", "spawned", "chains", "lines", "leaves", "branches", "threads"]
# What the threads of the server are for. Two of the three `block_on` are a
# current-thread runtime; one waits in a runtime with workers.
THREADS = {"worker": 2, "blocking": 2, "block_on": 3}

# The columns that a flavour must have, with the number of values that may be
# unavailable. In the legacy form, a symbol does not name a function that is
# passed as a value: the four jobs of the blocking pool have no name.
JOBS = 4
ALWAYS = {"states": 0, "wakers": 0}
FULL = {**ALWAYS, "names": JOBS, "chains": 0, "lines": 0, "leaves": 0, "branches": 0, "threads": 0}
FLOORS = {
    "no-debug": ALWAYS,
    "stripped": ALWAYS,
    "line-tables": {**ALWAYS, "names": JOBS, "threads": 0},
    "full-unstable": {**FULL, "spawned": 0},
    "full-tracing": {**FULL, "spawned": 0},
    "full-v0": {**FULL, "names": 0},
    "v0-no-debug": {**ALWAYS, "names": 0},
    "lto-stripped": {**ALWAYS, "spawned": 0},
    "test-util": ALWAYS,
    "parking-lot": ALWAYS,
    "static": ALWAYS,
}


# These versions do not keep the place of a spawn.
WITHOUT_SPAWN_PLACES = ["1.32.0", "1.38.0", "1.44.0"]


def floor(version, flavour):
    columns = FLOORS.get(flavour, FULL)
    absent = ["spawned"] if version in WITHOUT_SPAWN_PLACES else []
    return {column: allowed for column, allowed in columns.items() if column not in absent}


def is_built(version, flavour, folder):
    program, source = folder / "programs" / version / flavour, HERE / "servers" / "main.rs"
    return program.exists() and program.stat().st_mtime > source.stat().st_mtime


def build(version, flavour, folder):
    """Returns the program of a variant. Builds it if it is not there yet."""
    profile, rustflags, features, apart = FLAVOURS[flavour]
    program = folder / "programs" / version / flavour
    source = HERE / "servers" / "main.rs"
    if is_built(version, flavour, folder):
        return program
    text = (HERE / "servers" / "Cargo.toml.in").read_text()
    text = text.replace("@MAIN@", str(source)).replace("@TOKIO@", version)
    text = text.replace("@FEATURES@", ", ".join(f'"{feature}"' for feature in FEATURES + features))
    crate = folder / version
    crate.mkdir(parents=True, exist_ok=True)
    (crate / "Cargo.toml").write_text(text)
    # With a target, the flags are not for the macros, which are built once.
    command = ["cargo", "build", "--quiet", "--release", "--target", TARGET]
    command += ["--manifest-path", str(crate / "Cargo.toml")]
    for key, value in profile.items():
        command += ["--config", f"profile.release.{key}={json.dumps(value)}"]
    target = folder / "target"
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target), RUSTFLAGS=rustflags, CARGO_INCREMENTAL="0")
    subprocess.run(command, env=environment, check=True)
    program.parent.mkdir(parents=True, exist_ok=True)
    # A folder that is renamed when it is whole, whenever this script is stopped.
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        built = Path(temporary) / flavour
        shutil.copy(target / TARGET / "release" / "ps-server", built)
        set_apart(built, apart, target / TARGET / "release" / "ps-server.dwp")
        for file in sorted(Path(temporary).iterdir(), key=lambda file: file == built):
            goal = program.parent / file.name
            if goal.is_dir():
                shutil.rmtree(goal)
            os.rename(file, goal)
    return program


def set_apart(program, apart, package):
    """Puts the debug information of a program into another file."""
    debug = program.with_name(program.name + ".debug")
    if apart == "dwp":
        shutil.copy(package, program.with_name(program.name + ".dwp"))
    elif apart is not None:
        subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
        subprocess.run(["objcopy", "--strip-all", program], check=True)
        if apart == "link":
            subprocess.run(["objcopy", f"--add-gnu-debuglink={debug}", program], check=True)
    if apart == "folder":
        notes = subprocess.run(["readelf", "--notes", program], capture_output=True, text=True, check=True).stdout
        build_id = notes.split("Build ID: ")[1].split()[0]
        folder = program.with_name(program.name + ".ids") / ".build-id" / build_id[:2]
        folder.mkdir(parents=True)
        os.rename(debug, folder / f"{build_id[2:]}.debug")


def debug_info(program, flavour):
    """Returns the options that name the debug information."""
    apart = FLAVOURS[flavour][3]
    suffix = {"file": ".debug", "folder": ".ids"}.get(apart)
    return ["--debug-info", str(program) + suffix] if suffix else []


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

    def rank(self):
        """Is lower for a worse result."""
        return (not self.wrong, self.right - self.unavailable)

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
    for role, count in THREADS.items():
        seen = sum(thread["role"] == role for thread in document["threads"])
        for at in range(max(seen, count)):
            is_right = True if at < min(seen, count) else None if at < count else False
            cells["threads"].add(is_right, f"{seen} threads are {role}, not {count}")
    return cells, len(known & set(found)), errors


def compare_task(task, seen, cells, label):
    is_blocking = task["scheduler"] == "blocking"
    kind = seen["kind"]
    # The name of an instrumented future may be that of the wrapped one.
    names = [task["name"]] + [function for function, _ in task["awaits"]["steps"]]
    cells["names"].add(None if kind.startswith("0x") else any(name in kind for name in names), f"{label}: {kind}")
    state = (seen["state"], seen["is_blocking"])
    cells["states"].add(state == (task["state"], is_blocking), f"{label}: {state}")
    if task["state"] == "idle":
        is_lost = task["name"] == "on_lost_waker"
        cells["wakers"].add((seen["wakers"] == 0) == is_lost, f"{label}: {seen['wakers']}")
    spawned = seen["spawned_at"]
    right = f"main.rs:{task['spawn_line']}:"
    cells["spawned"].add(None if spawned is None else right in spawned, f"{label}: {spawned}, not {right}")
    if task["leaf"] == "none":
        return
    compare_awaits(task["awaits"], task["leaf"], seen, cells, label)


def compare_awaits(awaits, leaf, seen, cells, label):
    """Compares what a future awaits: `seen` is a task or one of several futures."""
    chain = [step for step in seen["chain"] if "ps_server" in step["function"]]
    functions = [step["function"].split("::")[-1] for step in chain]
    expected = [function for function, _ in awaits["steps"]]
    is_prefix = functions == expected[: len(functions)]
    is_whole = functions == expected
    # Nothing at all, or less with the reason, is not wrong.
    is_said = not seen["chain"] or seen.get("chain_missing")
    incomplete = None if is_prefix and is_said else False
    cells["chains"].add(True if is_whole else incomplete, f"{label}: {functions}, not {expected}")
    for at, (function, line) in enumerate(awaits["steps"]):
        step = chain[at] if is_prefix and at < len(chain) else {"line": None}
        is_right = step["line"] == line and (step["file"] or "").endswith("main.rs")
        is_right = None if step["line"] is None else is_right
        cells["lines"].add(is_right, f"{label}: {function} at {step}, not {line}")
    kind = seen["leaf"]["kind"] if seen.get("leaf") else None
    cells["leaves"].add(None if kind is None else kind == leaf, f"{label}: {seen.get('leaf')}, not {leaf}")
    if leaf != "several":
        return
    several = seen["leaf"] if kind == leaf else {}
    count = several.get("count")
    right = len(awaits["branches"]) + awaits["tasks"]
    cells["branches"].add(None if count is None else count == right, f"{label}: {count} futures, not {right}")
    # The order of those in a list is not known.
    lines = lambda steps: [line for _, line in steps]
    branches = sorted(awaits["branches"], key=lambda branch: (branch["leaf"], lines(branch["awaits"]["steps"])))
    seen_leaf = lambda branch: branch["leaf"]["kind"] if branch.get("leaf") else ""
    seen_lines = lambda branch: [step["line"] or 0 for step in branch["chain"] if "ps_server" in step["function"]]
    found = sorted(several.get("branches", []), key=lambda branch: (seen_leaf(branch), seen_lines(branch)))
    if len(found) != len(branches):
        cells["branches"].add(False if found else None, f"{label}: {len(found)} branches, not {len(branches)}")
        return
    for right, branch in zip(branches, found):
        cells["branches"].add(True, "")
        compare_awaits(right["awaits"], right["leaf"], branch, cells, f"{label}, a branch")


def read(program, loopscope, options):
    server = subprocess.Popen([program, "--block-worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    # A server that does not become ready ends the run.
    deadline = threading.Timer(SERVER_TIMEOUT_SECONDS, server.kill)
    deadline.start()
    try:
        truth = json.loads(server.stdout.readline())
        begin = time.monotonic()
        command = [loopscope, "ps", "--json", "--no-nice", *options, str(truth["pid"])]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PS_TIMEOUT_SECONDS)
        return truth, json.loads(output.stdout), time.monotonic() - begin
    finally:
        deadline.cancel()
        server.stdin.close()
        server.wait()


def faults(cells, version, flavour):
    """Returns what is wrong, and the columns in which too much is unavailable."""
    faults = [f"wrong {column}: {what}" for column in COLUMNS for what in cells[column].wrong]
    for column, allowed in floor(version, flavour).items():
        unavailable = cells[column].unavailable
        if unavailable > allowed or not cells[column].right:
            faults.append(f"{column}: {unavailable} values are unavailable, {allowed} may be")
    return faults


def print_summary(results):
    """Prints one row for each flavour: the lowest values of all versions."""
    print("\n| build | tokio | tasks | " + " | ".join(COLUMNS) + " |")
    print("|---|---|---|" + "---|" * len(COLUMNS))
    for flavour, rows in results.items():
        versions = list(dict.fromkeys(version for version, *_ in rows))
        versions = "all five" if versions == VERSIONS else ", ".join(v.removesuffix(".0") for v in versions)
        tasks = min(f"{count}/{total}" for _, count, total, _ in rows)
        lowest = [str(min((cells[column] for *_, cells in rows), key=Cell.rank)) for column in COLUMNS]
        print("| " + " | ".join([flavour, versions, tasks, *lowest]) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only three variants")
    parser.add_argument("--version", action="append", choices=VERSIONS, help="only this version; repeatable")
    parser.add_argument("--variant", action="append", metavar="VERSION:FLAVOUR", help="only this one; repeatable")
    parser.add_argument("--flavour", action="append", choices=FLAVOURS, help="only this flavour; repeatable")
    parser.add_argument("--loopscope", default=str(HERE.parents[1] / "target/debug/loopscope"), help="the program")
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / "target/ps_matrix", help="for the builds")
    parser.add_argument("--built", action="store_true", help="only the variants that are built already")
    parser.add_argument("--discard", action="store_true", help="remove the artefacts of a flavour after its builds")
    parser.add_argument("--runs", type=int, default=1, help="how often each variant is read")
    arguments = parser.parse_args()
    if arguments.quick:
        variants = QUICK
    elif arguments.variant:
        variants = [tuple(variant.split(":", 1)) for variant in arguments.variant]
    else:
        flavours = arguments.flavour or list(FLAVOURS)
        variants = [(version, flavour) for flavour in flavours for version in arguments.version or VERSIONS]
    if arguments.built:
        variants = [one for one in variants if is_built(*one, arguments.folder)]
    print("| tokio | build | tasks | " + " | ".join(COLUMNS) + " | seconds |")
    print("|---|---|---|" + "---|" * len(COLUMNS) + "---|")
    problems = []
    worst = {}
    for index, (version, flavour) in enumerate(variants):
        program = build(version, flavour, arguments.folder)
        for _ in range(arguments.runs):
            try:
                truth, document, seconds = read(program, arguments.loopscope, debug_info(program, flavour))
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                problems.append(f"{version} {flavour}: {error} {getattr(error, 'stderr', None) or ''}")
                continue
            cells, count, errors = compare(truth, document)
            row = [version, flavour, f"{count}/{len(truth['tasks'])}", *(str(cells[c]) for c in COLUMNS), f"{seconds:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)
            worst.setdefault(flavour, []).append((version, count, len(truth["tasks"]), cells))
            problems += [f"{version} {flavour}: {what}" for what in errors + faults(cells, version, flavour)]
        if arguments.discard:
            # No other flavour uses these files: each has settings of its own.
            is_last = all(later != flavour for _, later in variants[index + 1 :])
            if is_last:
                shutil.rmtree(arguments.folder / "target" / TARGET, ignore_errors=True)
    print_summary(worst)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
