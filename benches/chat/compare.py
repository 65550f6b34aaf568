#!/usr/bin/env python3
"""chat-server beside ngircd and a server with a thread for each connection.

    cargo build --release --bin loadgen --bin chat-server --bin thread-chat
    python3 benches/chat/compare.py memory      KB of memory a connection, and latency, at 100, 1,000, 10,000
    python3 benches/chat/compare.py rate        highest rate of messages with p99 delivery below 50 ms
    python3 benches/chat/compare.py on-off      throughput and CPU a delivery, with loopscope and without

Every figure is of this machine in this run. ngircd is Debian's package of that name.
"""
import json, os, pathlib, selectors, signal, socket, statistics, subprocess, sys, tempfile, time

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
            for rate in (1000, 2000, 4000, 6000, 7000, 8000, 10000, 12000, 16000, 20000, 24000, 28000, 32000, 40000):
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


def saturate(server, rooms=10, members=20, window=5, seconds=3):
    """Deliveries a second, and seconds of CPU a second, of a server that always has something to do.

    Each member says `window` lines at once, and again as soon as it has them back (echo-message). Lines are counted,
    not read, so that the server is what is short of CPU, and nothing piles up beyond the windows.
    """
    host, port = server.target.split(":")
    clients = []
    for n in range(rooms * members):
        s = socket.create_connection((host, int(port)))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(b"CAP REQ :echo-message\r\nNICK n%d\r\nUSER n 0 * :n\r\nCAP END\r\nJOIN #r%d\r\nPING :in\r\n"
                  % (n, n // members))
        answer = b""
        while b" PONG " not in answer:
            answer += s.recv(65536)
        clients.append(s)
    time.sleep(0.3)
    selector = selectors.DefaultSelector()
    for n, s in enumerate(clients):
        s.setblocking(False)
        try:
            while s.recv(1 << 20):
                pass
        except BlockingIOError:
            pass
        says = b"PRIVMSG #r%d :%s\r\n" % (n // members, b"x" * 64) * window
        selector.register(s, selectors.EVENT_READ, [b":n%d!" % n, says, 0, b""])
    cpu, begun, deliveries = server.cpu(), time.monotonic(), 0
    for key in selector.get_map().values():
        key.fileobj.sendall(key.data[1])
    while time.monotonic() - begun < seconds:
        for key, _ in selector.select(1):
            own, says, back, rest = key.data
            got = rest + key.fileobj.recv(1 << 20)
            lines = got[: got.rfind(b"\n") + 1]
            deliveries += lines.count(b"\n")
            back += lines.count(own)
            if back >= window:
                back -= window
                key.fileobj.sendall(says)
            key.data[2:] = back, got[len(lines):]
    took = time.monotonic() - begun
    return deliveries / took, (server.cpu() - cpu) / took


def on_off(rounds=31):
    # A core for the server and one for the load: what differs is the server.
    os.sched_setaffinity(0, {1})
    figures = {(kind, setting): [] for kind in ("part", "full") for setting in ("on", "off")}
    busy = {"part": [], "full": []}
    for number in range(rounds):
        for setting in ("on", "off") if number % 2 else ("off", "on"):
            with Server("chat-server", LOOPSCOPE=setting) as server:
                for thread in os.listdir(f"/proc/{server.process.pid}/task"):
                    os.sched_setaffinity(int(thread), {0})
                throughput, cpu = saturate(server)
                figures["full", setting].append(throughput)
                busy["full"].append(cpu)
            with Server("chat-server", LOOPSCOPE=setting) as server:
                for thread in os.listdir(f"/proc/{server.process.pid}/task"):
                    os.sched_setaffinity(int(thread), {0})
                report, _, cpu, error = load(server, connections=200, rooms=10, rate=2000, duration="3s",
                                             ramp="200ms", mix="privmsg:1")
                if report is None:
                    sys.exit(f"loopscope {setting}: {error}")
                figures["part", setting].append(report["load"]["deliveries"]["delivered"] / cpu)
                busy["part"].append(cpu / 3.2)
    print(f"{rounds} interleaved rounds of 3 s, 200 connections in 10 rooms, the server on a core of its own\n")
    print("| load | loopscope | median | lowest | highest |\n|---|---|---:|---:|---:|")
    titles = {"full": "as much as it can do, deliveries/s", "part": "2,000 messages/s, deliveries for a second of CPU"}
    for (kind, setting), values in figures.items():
        print(f"| {titles[kind]} | {setting} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")
    print("\non to off, median of the rounds' ratios:\n")
    for kind, title in titles.items():
        ratios = [on / off for on, off in zip(figures[kind, "on"], figures[kind, "off"])]
        low, _, high = statistics.quantiles(ratios)
        print(f"* {title}: {statistics.median(ratios):.3f}, half of the rounds {low:.3f} to {high:.3f}; "
              f"the server's core is busy {statistics.median(busy[kind]):.0%}")


if __name__ == "__main__":
    commands = {"memory": memory, "rate": rate, "on-off": on_off}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
