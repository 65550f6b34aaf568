#!/usr/bin/env python3
"""Measures what a fleet costs Prometheus, with N chat servers on this machine.

    python3 dashboards/scale.py [INSTANCES] [SECONDS]

Prints the number of series per instance, the memory and CPU time of Prometheus,
and how long scrapes, rules and the queries of the fleet dashboard take.
"""

import json
import sys
import tempfile
import time
import urllib.request

import prove


def metric(world, expr):
    result = world.ask("query", query=expr)["result"]
    return float(result[0]["value"][1]) if result else float("nan")


def main():
    instances = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 90
    built = prove.ROOT / "target" / "release"
    with tempfile.TemporaryDirectory() as folder:
        world = prove.World(folder)
        try:
            addresses = []
            for n in range(instances):
                irc, telemetry = prove.free_port(), prove.free_port()
                addresses.append(f"127.0.0.1:{telemetry}")
                world.start(f"server{n}", built / "chat-server", "--workers", "2", "--listen", f"127.0.0.1:{irc}",
                            "--telemetry", addresses[-1], "--data-dir", world.folder / f"data{n}")
                if n == 0:
                    prove.eventually("a server", lambda: urllib.request.urlopen(f"http://{addresses[0]}/healthz", timeout=5))
                    world.start("loadgen", built / "loadgen", "run", "--target", f"127.0.0.1:{irc}", "--connections", "100",
                                "--rooms", "10", "--rate", "50", "--duration", f"{seconds}s", "-q")
            config = {"global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
                      "rule_files": [str(prove.HERE / "prometheus" / "rules.yml")],
                      "scrape_configs": [{"job_name": "chat", "static_configs": [{"targets": addresses}]},
                                         {"job_name": "prometheus", "static_configs": [{"targets": [world.address("prometheus")]}]}]}
            (world.folder / "prometheus.yml").write_text(json.dumps(config))
            world.start("prometheus", "prometheus", f"--config.file={world.folder / 'prometheus.yml'}",
                        f"--storage.tsdb.path={world.folder / 'tsdb'}", f"--web.listen-address={world.address('prometheus')}")
            time.sleep(seconds)
            up = metric(world, 'count(up{job="chat"} == 1)')
            series = metric(world, 'count({__name__=~"loopscope_.+|chat_.+", job="chat"})')
            print(f"{up:.0f} instances up, {series / up:.0f} series per instance; the largest has "
                  f"{metric(world, 'max(scrape_samples_scraped{job=' + chr(34) + 'chat' + chr(34) + '})'):.0f} samples")
            print(f"scrape duration: mean {metric(world, 'avg(scrape_duration_seconds{job=' + chr(34) + 'chat' + chr(34) + '})') * 1e3:.1f} ms, "
                  f"max {metric(world, 'max(scrape_duration_seconds{job=' + chr(34) + 'chat' + chr(34) + '})') * 1e3:.1f} ms")
            print(f"prometheus: {metric(world, 'prometheus_tsdb_head_series'):.0f} series, "
                  f"{metric(world, 'process_resident_memory_bytes{job=' + chr(34) + 'prometheus' + chr(34) + '}') / 2**20:.0f} MB, "
                  f"{metric(world, 'rate(process_cpu_seconds_total{job=' + chr(34) + 'prometheus' + chr(34) + '}[1m])') * 100:.1f} % of a CPU")
            for group in world.ask("rules")["groups"]:
                print(f"rules {group['name']}: {group['evaluationTime'] * 1e3:.1f} ms")
            for place, expr, _, _ in prove.expressions():
                if place.startswith("fleet.json"):
                    begin = time.monotonic()
                    world.ask("query", query=expr)
                    print(f"{(time.monotonic() - begin) * 1e3:6.1f} ms  {place}")
        finally:
            world.end()


if __name__ == "__main__":
    main()
