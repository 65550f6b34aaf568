#!/usr/bin/env python3
"""loadgen's HTTP driver beside wrk, hey and oha: one server, one rate.

    cargo build --release -p loadgen
    python3 loadgen/benches/beside.py [--seconds 10] [--rate 400] [--oha PATH]

The server answers after 20 ms. In the second round it stands still once, for a
second, as a blocking call in an event loop makes it. Tools that are not
installed are left out, and said so. wrk knows no rate: it sends as fast as its
connections are answered.
"""

import argparse
import asyncio
import json
import multiprocessing
import pathlib
import re
import shutil
import subprocess
import time

DELAY, FREEZE = 0.020, 1.0
LOADGEN = pathlib.Path(__file__).resolve().parents[2] / "target/release/loadgen"


class Page(asyncio.Protocol):
    """Answers every request after DELAY; keeps connections alive."""

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            _, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(DELAY, self.answer)

    def answer(self):
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")


def serve(port, freeze_after):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Page, "127.0.0.1", port.value)
        port.value = server.sockets[0].getsockname()[1]
        if freeze_after:
            loop.call_later(freeze_after, time.sleep, FREEZE)
        await server.serve_forever()

    asyncio.run(main())


def seconds(text):
    """`1.23ms`, `45 us`, `0.0203` as seconds."""
    number, unit = re.fullmatch(r"([0-9.]+)\s*(\w*)", text.strip()).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "secs": 1, "": 1, "m": 60}[unit]


def out(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False).stdout


def wrk(url, args):
    text = out("wrk", "-t1", f"-c{args.connections}", f"-d{args.seconds}s", "--latency", url)
    at = dict(re.findall(r"^\s+(50|90|99)%\s+(\S+)", text, re.M))
    most = re.search(r"Latency\s+\S+\s+\S+\s+(\S+)", text).group(1)
    rate = re.search(r"Requests/sec:\s+(\S+)", text).group(1)
    return [float(rate), *(seconds(at[p]) for p in ("50", "90", "99")), seconds(most)]


def hey(url, args):
    each = args.rate / args.connections
    text = out("hey", "-z", f"{args.seconds}s", "-c", args.connections, "-q", f"{each:g}", url)
    at = dict(re.findall(r"^\s+(50|90|99)% in (\S+) secs", text, re.M))
    slowest = re.search(r"Slowest:\s+(\S+)", text).group(1)
    rate = re.search(r"Requests/sec:\s+(\S+)", text).group(1)
    return [float(rate), *(seconds(at[p]) for p in ("50", "90", "99")), seconds(slowest)]


def oha(url, args, *more):
    text = out(args.oha, "--no-tui", "--output-format", "json", "-z", f"{args.seconds}s", "-c", args.connections, "-q", args.rate, *more, url)
    report = json.loads(text)
    at, summary = report["latencyPercentiles"], report["summary"]
    return [summary["requestsPerSec"], at["p50"], at["p90"], at["p99"], summary["slowest"]]


def loadgen(url, args):
    text = out(LOADGEN, "run", "--target", url, "--connections", args.connections, "--rate", args.rate, "--duration",
               f"{args.seconds}s", "--ramp", "0s", "--max-send-lag", "1s", "--quiet", "--json", "-")
    load = json.loads(text)["load"]
    row = lambda timing: [timing[f"{p}_seconds"] for p in ("p50", "p90", "p99", "max")]
    rate = load["commands"]["sent_per_second"]
    return [rate, *row(load["latency"])], [rate, *row(load["service"])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rate", type=int, default=400)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--oha", default=shutil.which("oha"))
    args = parser.parse_args()
    tools = [("wrk", wrk, shutil.which("wrk")), ("hey -q", hey, shutil.which("hey")), ("oha -q", oha, args.oha),
             ("oha -q --latency-correction", lambda url, args: oha(url, args, "--latency-correction"), args.oha)]
    for title, freeze in (("every answer after 20 ms", 0), ("the same, and the server stands still once for 1 s", args.seconds * 0.4)):
        print(f"\n{title}\n\n| tool | requests/s | p50 | p90 | p99 | max |\n|---|---|---|---|---|---|")
        for name, tool, path in [*tools, ("loadgen", loadgen, LOADGEN)]:
            if not path:
                print(f"| {name} | not installed |")
                continue
            port = multiprocessing.Value("i", 0)
            server = multiprocessing.Process(target=serve, args=(port, freeze), daemon=True)
            server.start()
            while not port.value:
                time.sleep(0.01)
            found = tool(f"http://127.0.0.1:{port.value}/", args)
            server.kill()
            server.join()
            rows = zip(("loadgen", "loadgen, service time"), found) if name == "loadgen" else [(name, found)]
            for label, (rate, *times) in rows:
                print(f"| {label} | {rate:.0f} | " + " | ".join(f"{at * 1e3:.1f} ms" for at in times) + " |", flush=True)


if __name__ == "__main__":
    main()
