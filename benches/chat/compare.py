#!/usr/bin/env python3
"""Compares chat-server with ngircd and with a server that has one thread per connection.

    cargo build --release --bin loadgen --bin chat-server --bin thread-chat
    python3 benches/chat/compare.py memory      KB of memory per connection, and latency, at 100, 1,000 and 10,000
    python3 benches/chat/compare.py rate        highest message rate with a p99 of delivery below 50 ms
    python3 benches/chat/compare.py on-off      throughput and CPU per delivery, with and without loopscope

All figures are from this machine and this run. ngircd is Debian's package of that name.
"""
import json, os, pathlib, selectors, signal, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "target/release"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A freshly started server under test."""

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
            sys.exit(f"compare.py: {name} did not start: {self.log.read()}")
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
        """Returns the CPU seconds of the process by its CPU clock (see clock_getcpuclockid(3)).

        This takes one call for any number of threads.
        """
        return time.clock_gettime(~self.process.pid << 3 | 2)


def load(server, **flags):
    """Runs the load generator and samples the server's memory and CPU time during the run."""
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
    print("100 messages/s in channels of 20 members, medians of the runs. Memory is the VmRSS of the process minus the\n"
          "VmRSS without connections. It does not include kernel buffers.\n")
    print("| server | connections | runs | KB per connection | lost | p50 | p99 | range of p99 |\n"
          "|---|---:|---:|---:|---:|---:|---:|---:|")
    for connections, runs in ((100, 5), (1_000, 5), (10_000, 1)):
        figures = {"chat-server": [], "thread-chat": [], "ngircd": []}
        for _ in range(runs):
            for name, rows in figures.items():
                with Server(name) as server:
                    empty = server.rss_kb()
                    # ngircd accepts about 150 connections per second.
                    report, rss, _, error = load(server, connections=connections, rooms=max(connections // 20, 1),
                                                 rate=100, duration="8s", ramp=f"{max(connections / 100, 1)}s",
                                                 timeout="60s", mix="privmsg:1")
                l, d = report and report["load"]["latency"], report and report["load"]["deliveries"]
                if not l:
                    sys.exit(f"compare.py: {name} with {connections} connections: "
                             f"{report['verdict']['reasons'] if report else error}")
                joined = report["load"]["connections"]["joined"]
                rows.append((joined, (rss - empty) / joined, d["lost"], l["p50_seconds"] * 1e3, l["p99_seconds"] * 1e3))
        for name, rows in figures.items():
            joined, kb, lost, p50, p99 = (statistics.median(column) for column in zip(*rows))
            p99s = [row[4] for row in rows]
            print(f"| {name} | {joined:.0f} | {runs} | {kb:.1f} | {lost:.0f} | {p50:.2f} ms | {p99:.2f} ms | "
                  f"{min(p99s):.2f} to {max(p99s):.2f} ms |", flush=True)


def rate(runs=3):
    print("1,000 connections in 50 channels. The rate is raised until p99 exceeds 50 ms or a message is lost.\n")
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
    chat_server, ngircd = (statistics.median(figures) for figures in best.values())
    print(f"\nmedians of {runs} runs: chat-server {chat_server:.0f} deliveries/s, ngircd {ngircd:.0f}: "
          f"ratio {chat_server / ngircd:.2f}")


class Clients:
    """Clients in channels. Each gets its own messages back (echo-message) and so knows when they are delivered.

    Received lines are only counted, not parsed, so that the server is what needs the most CPU.
    """

    def __init__(self, server, rooms=10, members=20):
        host, port = server.target.split(":")
        self.server, self.selector, self.deliveries, self.members = server, selectors.DefaultSelector(), 0, members
        for n in range(rooms * members):
            s = socket.create_connection((host, int(port)))
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(b"CAP REQ :echo-message\r\nNICK n%d\r\nUSER n 0 * :n\r\nCAP END\r\nJOIN #r%d\r\nPING :in\r\n"
                      % (n, n // members))
            answer = b""
            while b" PONG " not in answer:
                answer += s.recv(65536)
            s.setblocking(False)
            message = b"PRIVMSG #r%d :%s\r\n" % (n // members, b"x" * 64)
            self.selector.register(s, selectors.EVENT_READ, [b":n%d!" % n, message, 0, b""])
        time.sleep(0.3)
        for s in [key.fileobj for key in self.selector.get_map().values()]:
            try:
                while s.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass

    def receive(self, seconds, on_data=None):
        """Waits up to `seconds` for data and counts it. Calls `on_data(key)` for each client that received data."""
        for key, _ in self.selector.select(seconds):
            own_prefix, _, echoed, rest = key.data
            data = rest + key.fileobj.recv(1 << 20)
            lines = data[: data.rfind(b"\n") + 1]
            self.deliveries += lines.count(b"\n")
            key.data[2:] = echoed + lines.count(own_prefix), data[len(lines):]
            if on_data:
                on_data(key)

    def receive_until(self, deliveries):
        while self.deliveries < deliveries:
            self.receive(1)

    def full_load(self, seconds, window=5):
        """Each client sends `window` lines at once, and again when all are echoed. Returns deliveries per second."""
        self.deliveries, sent, start = 0, 0, time.monotonic()

        def send(key):
            nonlocal sent
            key.data[2] = 0
            key.fileobj.sendall(key.data[1] * window)
            sent += window

        for key in self.selector.get_map().values():
            send(key)
        while time.monotonic() - start < seconds:
            self.receive(1, lambda key: key.data[2] >= window and send(key))
        self.receive_until(sent * self.members)
        return self.deliveries / (time.monotonic() - start)

    def partial_load(self, seconds, rate=2000, tick=0.01):
        """The clients send `rate` messages per second, one after the other. Returns deliveries per CPU second."""
        self.deliveries, sent, start, cpu = 0, 0, time.monotonic(), self.server.cpu()
        keys = list(self.selector.get_map().values())
        while (now := time.monotonic() - start) < seconds:
            while sent < now * rate:
                key = keys[sent % len(keys)]
                key.fileobj.sendall(key.data[1])
                sent += 1
            self.receive(tick)
        self.receive_until(sent * self.members)
        return self.deliveries / (self.server.cpu() - cpu)


def on_off(pairs=10, slices=20):
    """Loads a server with loopscope and one without alternately, so that changes of the machine's speed affect both."""
    # One core for the servers and one for the load: only the servers differ.
    os.sched_setaffinity(0, {1})
    settings, kinds = ("on", "off"), {"full_load": 0.25, "partial_load": 0.5}
    titles = {"full_load": "maximum load, deliveries/s", "partial_load": "2,000 messages/s, deliveries per CPU second"}
    figures = {(kind, setting): [] for kind in kinds for setting in settings}
    ratios = {kind: [] for kind in kinds}
    for _ in range(pairs):
        with Server("chat-server", LOOPSCOPE="on") as on, Server("chat-server", LOOPSCOPE="off") as off:
            clients = {}
            for setting, server in zip(settings, (on, off)):
                for thread in os.listdir(f"/proc/{server.process.pid}/task"):
                    os.sched_setaffinity(int(thread), {0})
                clients[setting] = Clients(server)
                clients[setting].full_load(1)
            for kind, seconds in kinds.items():
                results = {"on": [], "off": []}
                for number in range(slices):
                    for setting in settings if number % 2 else settings[::-1]:
                        results[setting].append(getattr(clients[setting], kind)(seconds))
                for setting in settings:
                    figures[kind, setting] += results[setting]
                ratios[kind].append(statistics.median(on / off for on, off in zip(results["on"], results["off"])))
    print(f"{pairs} pairs of servers, each loaded alternately for {slices} slices of {kinds['full_load']} s and\n"
          f"{slices} of {kinds['partial_load']} s. 200 connections in 10 channels, both servers on one core, the load on\n"
          "the other.\n")
    print("| load | loopscope | median | lowest | highest |\n|---|---|---:|---:|---:|")
    for (kind, setting), values in figures.items():
        print(f"| {titles[kind]} | {setting} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")
    print("\nratio of on to off, median of the pairs' medians:\n")
    for kind, title in titles.items():
        low, median, high = statistics.quantiles(ratios[kind])
        print(f"* {title}: {median:.3f}, middle half of the pairs {low:.3f} to {high:.3f}, all pairs "
              f"{min(ratios[kind]):.3f} to {max(ratios[kind]):.3f}")


if __name__ == "__main__":
    commands = {"memory": memory, "rate": rate, "on-off": on_off}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
