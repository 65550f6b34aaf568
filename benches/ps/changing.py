#!/usr/bin/env python3
"""Reads processes that end, execute, fork or grow meanwhile, and ends the tool at
any moment. Fails if anything but a document or one sentence comes out, or if
the target is not as before.

cargo build --release -p loopscope-cli && benches/ps/changing.py [ROUNDS]"""
import collections, json, os, pathlib, random, re, signal, subprocess, sys, time

HERE = pathlib.Path(__file__).resolve().parent
TOOL = pathlib.Path(os.environ.get("LOOPSCOPE_BIN", HERE.parent.parent / "target/release/loopscope"))
BUILT = HERE.parent.parent / "target/ps"
TARGET = BUILT / "release/changing"
STATE = ("State", "TracerPid", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
TASKS = 2000
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 200


def start(mode):
    target = subprocess.Popen([TARGET, mode], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    target.stdout.readline()
    return target


def ps(pid):
    command = [TOOL, "ps", "--no-nice", "--json", str(pid)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def judged(tool, seen):
    """Counts what came out. Returns the document if there is one."""
    output, errors = (text.decode() for text in tool.communicate())
    without_numbers = lambda text: re.sub(r"\d+", "N", text.strip())
    if tool.returncode == 0 and not errors:
        document = json.loads(output)
        notes = [without_numbers(note)[:60] for note in document["coverage"]["notes"]]
        seen["; ".join(["document", *notes])] += 1
        return document
    is_sentence = tool.returncode == 2 and errors.count("\n") == 1 and "panicked" not in errors
    seen[("" if is_sentence else f"WRONG {tool.returncode}: ") + without_numbers(errors)[:200]] += 1
    return None


def observable(target):
    """Returns what can be seen of the target, as long as it does nothing."""
    lines = pathlib.Path(f"/proc/{target.pid}/status").read_text().splitlines()
    state = [line for line in lines if line.split(":")[0] in STATE]
    return state, len(os.listdir(f"/proc/{target.pid}/fd")), pathlib.Path(f"/proc/{target.pid}/maps").read_text()


def ends(seen):
    for _ in range(ROUNDS):
        target = start("idle")
        tool = ps(target.pid)
        time.sleep(random.random() * 0.25)
        target.kill()
        target.wait()
        judged(tool, seen)


def is_killed(seen):
    target = start("idle")
    time.sleep(0.5)
    before = observable(target)
    for _ in range(ROUNDS):
        tool = ps(target.pid)
        time.sleep(random.random() * 0.25)
        tool.kill()
        tool.communicate()
        seen["killed" if tool.returncode == -signal.SIGKILL else "had ended"] += 1
    time.sleep(0.2)
    if observable(target) != before:
        seen["WRONG: the target is not as before"] += 1
    document = judged(ps(target.pid), seen)
    if [task["kind"] for task in document["tasks"]].count("changing::session") != TASKS:
        seen["WRONG: not all tasks are there"] += 1
    target.kill()
    target.wait()


def changes(mode, seen):
    target = start(mode)
    for _ in range(ROUNDS):
        time.sleep(random.random() * 0.02)
        document = judged(ps(target.pid), seen) or {"tasks": []}
        ids = [task["id"] for task in document["tasks"]]
        if len(ids) != len(set(ids)):
            seen["WRONG: two tasks have one id"] += 1
        if mode == "fork" and document["tasks"] and len(ids) < TASKS:
            seen["WRONG: not all tasks are there"] += 1
    os.killpg(target.pid, signal.SIGKILL)
    target.wait()


def main():
    subprocess.run(["cargo", "build", "--release", "--quiet", "--locked"], cwd=HERE, check=True,
                   env=dict(os.environ, CARGO_TARGET_DIR=str(BUILT)))
    random.seed(1)
    cases = {"the target ends": ends, "the tool is killed": is_killed}
    cases |= {f"the target does {mode}": lambda seen, mode=mode: changes(mode, seen) for mode in ("exec", "fork", "grow")}
    is_wrong = False
    for name, case in cases.items():
        seen = collections.Counter()
        case(seen)
        print(f"{name}, {ROUNDS} times:", flush=True)
        for what, count in seen.most_common():
            print(f"  {count:4} {what}", flush=True)
            is_wrong |= what.startswith("WRONG")
    sys.exit(is_wrong)


if __name__ == "__main__":
    main()
