#!/usr/bin/env python3
"""chat-server beside ngircd and a server with a thread for each connection.

    cargo build --release --bin loadgen --bin chat-server --bin thread-chat
    python3 benches/chat/compare.py memory      KB of memory a connection, and latency, at 100, 1,000, 10,000
    python3 benches/chat/compare.py rate        highest rate of messages with p99 delivery below 50 ms
    python3 benches/chat/compare.py on-off      CPU of the server a delivery, with loopscope and without

Every figure is of this machine in this run. ngircd is Debian's package of that name.
"""
import json, os, pathlib, signal, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "target/release"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server under test, started anew."""

    def __init__(self, name, **env):
        self.port, self.dir = free_port(), tempfile.TemporaryDirectory()
        listen = f"127.0.0.1:{self.port}"
        if name == "ngircd":
            conf = pathlib.Path(self.dir.name) / "ngircd.conf"
            conf.write_text(
                "[Global]\nName = a.b.c\nInfo = bench\nListen = 127.0.0.1\n"
                f"Ports = {self.port}\nServerUID = {os.getuid()}\nServerGID = {os.getgid()}\n"
                "[Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxJoins = 0\nMaxPenaltyTime = 0\n"
                "MaxNickLength = 30\n[Options]\nIdent = no\nDNS = no\nPAM = no\n"
            )
            command = ["ngircd", "-n", "-f", str(conf)]
        elif name == "thread-chat":
            command = [str(BIN / "thread-chat"), listen]
        else:
            command = [str(BIN / "chat-server"), "--listen", listen, "--telemetry", "off",
                       "--flood-limit", "off", "--max-connections", "20000"]
        self.log = open(pathlib.Path(self.dir.name) / "log", "w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env={**os.environ, **env})
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            self.log.seek(0)
            sys.exit(f"{name} did not start: {self.log.read()}")
        self.target = listen

    def __enter__(self):
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.dir.cleanup()

    def rss_kb(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1])

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK


def load(server, **flags):
    """A run of the load generator, watched meanwhile."""
    report = pathlib.Path(server.dir.name) / "report.json"
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in flags.items()]
    command = [str(BIN / "loadgen"), "run", "--target", server.target, "--quiet", "--json", str(report),
               "--max-send-lag=10s", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    rss, cpu = 0, 0
    while process.poll() is None:
        try:
            rss, cpu = max(rss, server.rss_kb() or 0), server.cpu()
        except (OSError, ValueError):
            break
        time.sleep(0.1)
    error = process.communicate()[1]
    if not report.exists():
        return None, rss, cpu, error.strip().splitlines()[-1:]
    return json.loads(report.read_text()), rss, cpu, None


def memory():
    print("100 messages/s in rooms of 20, medians of the runs; memory as the system counts it for the process (VmRSS),\n"
          "less that of the server without connections; the kernel's buffers are not in it\n")
    print("| server | connections | runs | KB a connection | lost | p50 | p99 | p99 from to |\n"
          "|---|---:|---:|---:|---:|---:|---:|---:|")
    for connections, runs in ((100, 5), (1_000, 5), (10_000, 1)):
        figures = {"chat-server": [], "thread-chat": [], "ngircd": []}
        for _ in range(runs):
            for name, rows in figures.items():
                with Server(name) as server:
                    empty = server.rss_kb()
                    # ngircd takes some 150 connections a second.
                    report, rss, _, error = load(server, connections=connections, rooms=max(connections // 20, 1),
                                                 rate=100, duration="8s", ramp=f"{max(connections / 100, 1)}s",
                                                 timeout="60s", mix="privmsg:1")
                l, d = report and report["load"]["latency"], report and report["load"]["deliveries"]
                if not l:
                    sys.exit(f"{name} with {connections} connections: {report['verdict']['reasons'] if report else error}")
                joined = report["load"]["connections"]["joined"]
                rows.append((joined, (rss - empty) / joined, d["lost"], l["p50_seconds"] * 1e3, l["p99_seconds"] * 1e3))
        for name, rows in figures.items():
            joined, kb, lost, p50, p99 = (statistics.median(column) for column in zip(*rows))
            every = [row[4] for row in rows]
            print(f"| {name} | {joined:.0f} | {runs} | {kb:.1f} | {lost:.0f} | {p50:.2f} ms | {p99:.2f} ms | "
                  f"{min(every):.2f} to {max(every):.2f} ms |", flush=True)


def rate(runs=3):
    print("1,000 connections in 50 rooms; the rate is raised until p99 passes 50 ms or a message is lost\n")
    print("| run | server | messages sent/s | delivered/s | p99 | CPU of the server |\n|---|---|---:|---:|---:|---:|")
    best = {"chat-server": [], "ngircd": []}
    for run in range(1, runs + 1):
        for name, highest in best.items():
            highest.append(0)
            for rate in (1000, 2000, 4000, 5000, 6000, 7000, 8000, 10000, 12000, 14000, 16000, 18000, 20000, 24000):
                with Server(name) as server:
                    report, _, cpu, error = load(server, connections=1000, rooms=50, rate=rate, duration="8s",
                                                 ramp="2s", mix="privmsg:1")
                if report is None:
                    print(f"| {run} | {name} | {rate} | – | {error} | |", flush=True)
                    break
                l, d = report["load"]["latency"], report["load"]["deliveries"]
                print(f"| {run} | {name} | {rate} | {d['delivered'] / 8:.0f} | {l['p99_seconds'] * 1e3:.1f} ms | "
                      f"{cpu:.1f} s |", flush=True)
                if l["p99_seconds"] > 0.05 or d["lost"]:
                    break
                highest[-1] = d["delivered"] / 8
    ours, theirs = (statistics.median(figures) for figures in best.values())
    print(f"\nmedians of {runs} runs: chat-server {ours:.0f} deliveries/s, ngircd {theirs:.0f}: {ours / theirs:.2f} times")


def on_off(rounds=15):
    # A core for the server and one for the load: what differs is the server.
    os.sched_setaffinity(0, {1})
    figures = {"on": [], "off": []}
    for number in range(rounds):
        for setting in ("on", "off") if number % 2 else ("off", "on"):
            with Server("chat-server", LOOPSCOPE=setting) as server:
                for thread in os.listdir(f"/proc/{server.process.pid}/task"):
                    os.sched_setaffinity(int(thread), {0})
                report, _, cpu, error = load(server, connections=1000, rooms=50, rate=2000, duration="6s", ramp="2s",
                                             mix="privmsg:1")
            if report is None:
                sys.exit(f"loopscope {setting}: {error}")
            figures[setting].append(cpu / report["load"]["deliveries"]["delivered"] * 1e6)
    ratios = [off / on for on, off in zip(figures["on"], figures["off"])]
    print(f"{rounds} interleaved rounds, 1,000 connections, 2,000 messages/s, the server on a core of its own:\n"
          "its CPU for a delivery")
    for setting, values in figures.items():
        print(f"loopscope {setting:3}  median {statistics.median(values):.2f} µs, {min(values):.2f} to {max(values):.2f}")
    print(f"off to on, which is the ratio of throughputs: {statistics.median(ratios):.3f}, median of the rounds "
          f"({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    commands = {"memory": memory, "rate": rate, "on-off": on_off}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
