#!/usr/bin/env python3
"""Prints a test for `promtool test rules`: a rolling deployment fires no alert.

Each of 50 loaded pods is replaced by one at a new address, one every 30 s. The
scrapes of a pod that ends fail for a while before Prometheus forgets it, or it
is forgotten at once. The counters of a new pod begin at zero.
"""

import json
import re
from pathlib import Path

PODS = 50
SCRAPES = 320
SCRAPE_SECONDS = 15
RULES = Path(__file__).resolve().parent / "prometheus" / "rules.yml"


def values(first, last, value, step=0):
    """Returns the samples of a target that lives from one scrape to another."""
    return f"_x{first - 1} {value}+{step}x{last - first} stale" if first else f"{value}+{step}x{last} stale"


def series(address, first, last, failed_scrapes=0):
    """Yields the series of one pod."""
    target = f'job="chat", instance="{address}"'
    up = values(first, last, 1)
    if failed_scrapes:
        up = up.removesuffix("stale") + f"0x{failed_scrapes - 1} stale"
    yield f"up{{{target}}}", up
    per_scrape = {
        'loopscope_build_info{%s, version="0.1.0"}': (1, 0),
        'loopscope_workers{%s, runtime="tokio"}': (4, 0),
        "loopscope_workers_blocked{%s}": (0, 0),
        "loopscope_longest_active_poll_seconds{%s}": (0.002, 0),
        'loopscope_blocking_seconds_total{%s, cause="file"}': (0, 0.2),
        'loopscope_pressure_seconds_total{%s, level="full"}': (0, 0.01),
        'loopscope_worker_busy_seconds_total{%s, runtime="tokio", worker="0"}': (0, 40),
        'loopscope_dropped_total{%s, reason="ended_before_capture"}': (0, 3),
        'loopscope_task_poll_duration_seconds_count{%s, task="session"}': (0, 1500),
        'loopscope_task_schedule_delay_seconds_bucket{%s, task="session", le="0.001"}': (0, 1495),
        'loopscope_task_schedule_delay_seconds_bucket{%s, task="session", le="+Inf"}': (0, 1500),
        'loopscope_blocking_pool_queue_depth{%s, runtime="tokio"}': (0, 0),
    }
    for name, (value, step) in per_scrape.items():
        yield name % target, values(first, last, value, step)


def main():
    inputs = []
    for pod in range(PODS):
        replaced = 40 + 2 * pod
        inputs += series(f"10.0.0.{pod}:9464", 0, replaced, failed_scrapes=pod % 5)
        inputs += series(f"10.0.1.{pod}:9464", replaced, SCRAPES)
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    checks = [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": []}
              for minute in range(1, SCRAPES * SCRAPE_SECONDS // 60, 2) for alert in alerts]
    print(json.dumps({
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{SCRAPE_SECONDS}s",
        "tests": [{"interval": f"{SCRAPE_SECONDS}s", "alert_rule_test": checks,
                   "input_series": [{"series": name, "values": samples} for name, samples in inputs]}],
    }))


if __name__ == "__main__":
    main()
