#!/usr/bin/env python3
"""What a request costs the generator: builds of it alternately against nginx.

    cargo build --release -p loadgen
    python3 loadgen/benches/web_cost.py [BUILD …] [--rates 5000,15000] [--connections 100] [--rounds 5]

BUILD is a path of the command `loadgen`; by default there is only that of this
checkout. CPU time is that of the whole process from the start of the
measurement, as the report says. The figures are medians of the rounds. If `wrk`
is installed, the last line is its closed loop at the rate that it reaches.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

BUILT = pathlib.Path(__file__).resolve().parents[2] / "target/release/loadgen"
TICKS = os.sysconf("SC_CLK_TCK")
CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;
events {{ worker_connections 10000; }}
http {{
    access_log off; keepalive_requests 100000000; client_body_temp_path {folder}; proxy_temp_path {folder};
    fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }}
}}
"""


def nginx(folder, port):
    configuration = pathlib.Path(folder, "configuration")
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, body="x" * 600))
    server = subprocess.Popen(["nginx", "-p", folder, "-c", configuration], stderr=subprocess.DEVNULL)
    time.sleep(1)
    assert server.poll() is None, "nginx did not start"
    return server


def cpu_of_workers(server):
    children = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    fields = [pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in children]
    return sum(int(field[11]) + int(field[12]) for field in fields) / TICKS


def measure(build, url, rate, args):
    command = [build, "run", "--target", url, "--connections", str(args.connections), "--rate", str(rate),
               "--duration", f"{args.seconds}s", "--ramp", "100ms", "--threads", str(args.threads),
               "--max-send-lag", "10s", "--quiet", "--json", "-"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    load, generator = report["load"], report["generator"]
    answered = load["deliveries"]["delivered"]
    micros = lambda pointer, name: load[pointer][f"{name}_seconds"] * 1e6
    return {
        "answered/s": answered / load["measured_seconds"],
        "CPU": generator["cpu_seconds"] / max(answered, 1) * 1e6,
        "send lag p50": micros("send_lag", "p50"), "p99": micros("send_lag", "p99"),
        "latency p50": micros("latency", "p50"), "latency p99": micros("latency", "p99"),
        "lost": load["deliveries"]["lost"],
    }


def closed_loop(url, args):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = subprocess.run(["wrk", "-t1", f"-c{args.connections}", f"-d{args.seconds}s", url],
                          capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    requests = int(re.search(r"(\d+) requests in", text)[1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"wrk: {requests / args.seconds:.0f}/s, {cpu / requests * 1e6:.1f} µs of CPU for each request")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="*", default=[BUILT])
    parser.add_argument("--rates", default="5000,15000,30000")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=18080)
    args = parser.parse_args()
    url = f"http://127.0.0.1:{args.port}/"
    with tempfile.TemporaryDirectory() as folder:
        server = nginx(folder, args.port)
        try:
            for rate in args.rates.split(","):
                figures = {build: [] for build in args.builds}
                for _ in range(args.rounds):
                    for build in args.builds:
                        before = cpu_of_workers(server)
                        figure = measure(build, url, rate, args)
                        figure["server's CPU"] = (cpu_of_workers(server) - before) / figure["answered/s"] / args.seconds * 1e6
                        figures[build].append(figure)
                for build, rounds in figures.items():
                    medians = [f"{name} {statistics.median(r[name] for r in rounds):.1f}" for name in rounds[0]]
                    print(f"{rate}/s {build}: {', '.join(medians)}", flush=True)
            if shutil.which("wrk"):
                closed_loop(url, args)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
