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
        """Seconds, by the process's own CPU clock (see clock_getcpuclockid(3)): one call, however many threads it has."""
        return time.clock_gettime(~self.process.pid << 3 | 2)


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


class Crowd:
    """Members of rooms who want what they say back (echo-message), so that they know when all have it.

    Lines are counted, not read, so that the server is what is short of CPU.
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
            says = b"PRIVMSG #r%d :%s\r\n" % (n // members, b"x" * 64)
            self.selector.register(s, selectors.EVENT_READ, [b":n%d!" % n, says, 0, b""])
        self.people = [key.fileobj for key in self.selector.get_map().values()]
        time.sleep(0.3)
        for s in self.people:
            try:
                while s.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass

    def listen(self, seconds, again=None):
        """Reads for so long; `again(key)` is called for each line of its own that a member gets back."""
        for key, _ in self.selector.select(seconds):
            own, _, back, rest = key.data
            got = rest + key.fileobj.recv(1 << 20)
            lines = got[: got.rfind(b"\n") + 1]
            self.deliveries += lines.count(b"\n")
            key.data[2:] = back + lines.count(own), got[len(lines):]
            if again:
                again(key)

    def finish(self, due):
        while self.deliveries < due:
            self.listen(1)

    def full(self, seconds, window=5):
        """Each says `window` lines at once, and again as soon as it has them back: deliveries a second."""
        self.deliveries, said, begun = 0, 0, time.monotonic()

        def say(key):
            nonlocal said
            key.data[2] = 0
            key.fileobj.sendall(key.data[1] * window)
            said += window

        for key in self.selector.get_map().values():
            say(key)
        while time.monotonic() - begun < seconds:
            self.listen(1, lambda key: key.data[2] >= window and say(key))
        self.finish(said * self.members)
        return self.deliveries / (time.monotonic() - begun)

    def part(self, seconds, rate=2000, tick=0.01):
        """So many messages a second, by one after the other: deliveries for a second of the server's CPU."""
        self.deliveries, said, begun, cpu = 0, 0, time.monotonic(), self.server.cpu()
        keys = list(self.selector.get_map().values())
        while (now := time.monotonic() - begun) < seconds:
            while said < now * rate:
                key = keys[said % len(keys)]
                key.fileobj.sendall(key.data[1])
                said += 1
            self.listen(tick)
        self.finish(said * self.members)
        return self.deliveries / (self.server.cpu() - cpu)


def on_off(pairs=10, slices=20):
    """One server with loopscope and one without, loaded in turn, so that both meet the same moods of the machine."""
    # A core for the servers and one for the load: what differs is the server.
    os.sched_setaffinity(0, {1})
    settings, kinds = ("on", "off"), {"full": 0.25, "part": 0.5}
    titles = {"full": "as much as it can do, deliveries/s", "part": "2,000 messages/s, deliveries for a second of CPU"}
    figures = {(kind, setting): [] for kind in kinds for setting in settings}
    ratios = {kind: [] for kind in kinds}
    for _ in range(pairs):
        with Server("chat-server", LOOPSCOPE="on") as on, Server("chat-server", LOOPSCOPE="off") as off:
            crowds = {}
            for setting, server in zip(settings, (on, off)):
                for thread in os.listdir(f"/proc/{server.process.pid}/task"):
                    os.sched_setaffinity(int(thread), {0})
                crowds[setting] = Crowd(server)
                crowds[setting].full(1)
            for kind, seconds in kinds.items():
                seen = {"on": [], "off": []}
                for number in range(slices):
                    for setting in settings if number % 2 else settings[::-1]:
                        seen[setting].append(getattr(crowds[setting], kind)(seconds))
                for setting in settings:
                    figures[kind, setting] += seen[setting]
                ratios[kind].append(statistics.median(on / off for on, off in zip(seen["on"], seen["off"])))
    print(f"{pairs} pairs of servers, each loaded for {slices} slices of {kinds['full']} s and {slices} of {kinds['part']} s in "
          "turn, 200 connections in 10 rooms,\nboth servers on one core, the load on the other\n")
    print("| load | loopscope | median | lowest | highest |\n|---|---|---:|---:|---:|")
    for (kind, setting), values in figures.items():
        print(f"| {titles[kind]} | {setting} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")
    print("\non to off, the median of the pairs' medians:\n")
    for kind, title in titles.items():
        low, middle, high = statistics.quantiles(ratios[kind])
        print(f"* {title}: {middle:.3f}, half of the pairs {low:.3f} to {high:.3f}, all {min(ratios[kind]):.3f} to "
              f"{max(ratios[kind]):.3f}")


if __name__ == "__main__":
    commands = {"memory": memory, "rate": rate, "on-off": on_off}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
