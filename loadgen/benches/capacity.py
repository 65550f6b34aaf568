#!/usr/bin/env python3
"""How much the generator can do beside the server, and what each of them costs.

    cargo build --release -p loadgen -p chat-server
    python3 loadgen/benches/capacity.py [--connections 1000] [--rooms 50] [--rates 100,200,…] [--seconds 8]

Each rate is a run of its own against a server of its own. CPU time is that of
/proc/<pid>/stat over the measured time for the server, and what the report says
for the generator.
"""

import argparse
import json
import os
import pathlib
import subprocess

BUILT = pathlib.Path(__file__).resolve().parents[2] / "target/release"
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def run(rate, args):
    server = subprocess.Popen(
        [BUILT / "chat-server", "--listen", "127.0.0.1:0", "--telemetry", "off", "--flood-limit", "off"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    address = server.stdout.readline().split("irc=")[1].split()[0]
    load = [BUILT / "loadgen", "run", "--target", address, "--connections", str(args.connections), "--rooms", str(args.rooms),
            "--rate", str(rate), "--duration", f"{args.seconds}s", "--ramp", "2s", "--mix", "privmsg", "--json", "-",
            "--max-send-lag", "1s"]
    # The progress tells when the measuring begins.
    generator = subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begin = None
    for line in generator.stderr:
        if line.startswith(("all clients are ready", "measuring")) and begin is None:
            begin = cpu(server.pid)
        if line.startswith("target "):
            end = cpu(server.pid)
    assert begin is not None, "the generator printed no line that says when measuring begins"
    report = json.loads(generator.stdout.read())
    server.kill()
    server.wait()
    return report, end - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rates", default="200,400,800,1200,1600,2400")
    args = parser.parse_args()
    print(f"{args.connections} connections in {args.rooms} rooms, {args.seconds} s each\n")
    print("| sent/s | delivered/s | send lag p99 | receive lag p99 | latency p50 | p99 | lost | generator CPU per delivery | server's |")
    print("|---|---|---|---|---|---|---|---|---|")
    for rate in args.rates.split(","):
        report, server_cpu = run(rate, args)
        load, own = report["load"], report["generator"]
        delivered = load["deliveries"]["delivered"]
        ms = lambda timing, p: f"{timing[f'{p}_seconds'] * 1e3:.2f} ms"
        print(f"| {load['commands']['sent_per_second']:.0f} | {delivered / load['measured_seconds']:.0f} | {ms(load['send_lag'], 'p99')} "
              f"| {ms(own['receive_lag'], 'p99')} | {ms(load['latency'], 'p50')} | {ms(load['latency'], 'p99')} | {load['deliveries']['lost']} "
              f"| {own['cpu_seconds'] / delivered * 1e6:.1f} µs | {server_cpu / delivered * 1e6:.1f} µs |", flush=True)


if __name__ == "__main__":
    main()
