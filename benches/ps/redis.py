#!/usr/bin/env python3
"""Reads mini-redis again and again while redis-benchmark keeps 1,000 connections
busy. Checks each task and each chain of awaits, and compares throughput and
latency of the server with and without a reader.

git clone https://github.com/tokio-rs/mini-redis && cd mini-redis
sed -i 's/MAX_CONNECTIONS: usize = 250/MAX_CONNECTIONS: usize = 2000/' src/server.rs
CARGO_PROFILE_RELEASE_DEBUG=full cargo build --release --locked
.../benches/ps/redis.py . [--snapshots 1000] [--slices 6]"""
import argparse, collections, csv, glob, json, os, pathlib, re, statistics, subprocess, sys, threading, time

HERE = pathlib.Path(__file__).resolve().parent
TOOL = pathlib.Path(os.environ.get("LOOPSCOPE_BIN", HERE.parent.parent / "target/release/loopscope"))
CONNECTIONS = 1000
# An await may be some lines below the call that it belongs to.
LINES_OF_CALL = 6
CRATES = os.path.expanduser("~/.cargo/registry/src/*/")
# The tasks besides those of the connections: the workers and the clean-up.
OTHER_KINDS = {"tokio::runtime::scheduler::multi_thread::worker::launch", "mini_redis::db::purge_expired_tasks"}


def quantile(values, q):
    return sorted(values)[round((len(values) - 1) * q)]


def started(server, port):
    process = subprocess.Popen([server, "--port", port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    return process


def load(port, requests):
    return ["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-c", str(CONNECTIONS), "-n", str(requests),
            "-t", "get", "-d", "32", "--csv"]


def established(port):
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{int(port):04X}") and row[3] == "01" for row in rows)


class Judge:
    """Checks documents. All connections stay open, so the tasks stay the same."""

    def __init__(self, source):
        self.source, self.lines = source, {}
        self.tasks, self.wrong, self.forms = None, collections.Counter(), {}
        self.seconds, self.cpu, self.torn, self.chains, self.missing = [], [], 0, 0, collections.Counter()

    def add(self, document):
        tasks = {(task["id"], task["address"]): task["kind"] for task in document["tasks"]}
        if self.tasks is None:
            self.tasks = tasks
            kinds = collections.Counter(tasks.values())
            of_connections = [kind for kind in kinds if kind not in OTHER_KINDS]
            if sum(kinds[kind] for kind in of_connections) != CONNECTIONS or len(of_connections) != 1:
                self.wrong[f"not one task for each connection: {dict(kinds)}"] += 1
        for task in tasks.items() - self.tasks.items():
            self.wrong[f"a task that is none: {task}"] += 1
        if len(tasks) < len(self.tasks):
            self.wrong["a task is missing"] += len(self.tasks) - len(tasks)
        for verdict in document["verdicts"]:
            self.wrong[f"a verdict: {verdict['reason']}"] += 1
        coverage = document["coverage"]
        self.torn += coverage["torn"]
        self.seconds.append(coverage["seconds"])
        self.cpu.append(coverage["cpu_seconds"])
        for task in document["tasks"]:
            self.chains += bool(task["chain"])
            self.missing[task["chain_missing"]] += 1
            for error in self.errors_of(task["kind"], task["chain"], task["leaf"]):
                self.wrong[error] += 1

    def errors_of(self, kind, chain, leaf):
        """Each await must be one in the source, of the function that follows."""
        places = tuple((one["function"], one["file"], one["line"]) for one in chain)
        branches = (leaf or {}).get("branches") or []
        errors = [error for one in branches for error in self.errors_of(kind, one["chain"], one["leaf"])]
        form = (kind, places, (leaf or {}).get("kind"), len(branches))
        if form not in self.forms:
            following = [place[0] for place in places[1:]] + [None]
            self.forms[form] = [error for place, callee in zip(places, following) for error in self.error(place, callee)]
        return errors + self.forms[form]

    def error(self, place, callee):
        function, file, line = place
        if line is None:
            return []
        lines = self.text(file)
        text = lines[line - 1] if line <= len(lines) else ""
        # The attribute `instrument` gives the whole function its own line.
        if "#[instrument" in text:
            return []
        call = "\n".join(lines[max(0, line - LINES_OF_CALL) : line])
        name = re.sub(r"<.*", "", callee or "").split("::")[-1]
        is_await = ".await" in text or "select!" in text
        return [] if is_await and name in call else [f"{function} does not await {callee} at {file}:{line}: {text.strip()}"]

    def text(self, file):
        if file not in self.lines:
            own = self.source.parent / file
            found = [own] if own.exists() else [pathlib.Path(path) for path in glob.glob(CRATES + file)]
            self.lines[file] = found[0].read_text().split("\n") if found else []
        return self.lines[file]


def snapshots(source, server, count):
    server, port = started(server, "7411"), "7411"
    client = subprocess.Popen(load(port, 10**9), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while established(port) < CONNECTIONS:
        time.sleep(0.1)
    time.sleep(1)
    judge, memory = Judge(source), []
    command = [TOOL, "ps", "--no-nice", "--json", str(server.pid)]
    alone = count // 50
    for _ in range(alone):
        judge.add(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    print(f"{alone} snapshots, a process each: {sum_up(judge)}", flush=True)
    judge.seconds, judge.cpu = [], []
    watch = subprocess.Popen([*command, "--watch", "0.1"], stdout=subprocess.PIPE)
    for number, line in enumerate(watch.stdout, 1):
        judge.add(json.loads(line))
        if number in (10, count - alone):
            status = pathlib.Path(f"/proc/{watch.pid}/status").read_text()
            memory.append(int(re.search(r"VmHWM:\s*(\d+)", status)[1]) // 1024)
        if number == count - alone:
            break
    watch.kill()
    print(f"{count - alone} snapshots of one process: {sum_up(judge)}; memory after 10 and all {memory} MiB")
    print(f"connections at the end {established(port)}; tasks {len(judge.tasks)}, torn {judge.torn}; "
          f"chains {judge.chains}, forms {len(judge.forms)}; without a whole chain {dict(judge.missing)}")
    print(f"wrong: {sum(judge.wrong.values())} {dict(judge.wrong.most_common(5))}", flush=True)
    for process in (client, server):
        process.kill()
        process.wait()
    return not judge.wrong


def sum_up(judge):
    ms = lambda values, q: f"{1000 * quantile(values, q):.0f}"
    return (f"CPU p50 {ms(judge.cpu, 0.5)} ms, p99 {ms(judge.cpu, 0.99)} ms; "
            f"time p50 {ms(judge.seconds, 0.5)} ms, p99 {ms(judge.seconds, 0.99)} ms")


def slice_of(port, pid, options):
    """Returns requests per second, p50 and p99 in ms, and CPU seconds and snapshots of the reader."""
    watch, cpu, read = None, 0.0, []
    if options is not None:
        watch = subprocess.Popen([TOOL, "ps", "--tree", *options, str(pid)], stdout=subprocess.PIPE)
        reader = threading.Thread(target=lambda: read.extend(line for line in watch.stdout if line.startswith(b"read ")))
        reader.start()
    output = subprocess.run(load(port, 50_000), capture_output=True, text=True).stdout
    row = next(csv.DictReader(output[output.index('"test"') :].splitlines()))
    if watch:
        fields = pathlib.Path(f"/proc/{watch.pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        watch.kill()
        reader.join()
    return float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]), cpu, len(read)


def compare(server, slices):
    server, port = started(server, "7412"), "7412"
    ways = {"not read": None, "every second": ["--watch", "1"], "all the time": ["--watch", "0.1"],
            "all the time, without nice": ["--watch", "0.1", "--no-nice"]}
    results = {name: [] for name in ways}
    slice_of(port, server.pid, None)
    for number in range(slices):
        order = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        for name in order:
            results[name].append(slice_of(port, server.pid, ways[name]))
    server.kill()
    print("| read | requests/s | p50 ms | p99 ms | p99 of the slices | snapshots | CPU s of the reader |\n|---|---:|---:|---:|---:|---:|---:|")
    for name, rows in results.items():
        rate, p50, p99, cpu, read = (statistics.median(row[at] for row in rows) for at in range(5))
        of_slices = sorted(row[2] for row in rows)
        print(f"| {name} | {rate:.0f} | {p50:.0f} | {p99:.0f} | {of_slices[0]:.0f} to {of_slices[-1]:.0f} | {read:.0f} | {cpu:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--server", type=pathlib.Path)
    parser.add_argument("--snapshots", type=int, default=1000)
    parser.add_argument("--slices", type=int, default=6)
    arguments = parser.parse_args()
    server = arguments.server or arguments.source / "target/release/mini-redis-server"
    is_right = arguments.snapshots == 0 or snapshots(arguments.source, server, arguments.snapshots)
    if arguments.slices:
        compare(server, arguments.slices)
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
