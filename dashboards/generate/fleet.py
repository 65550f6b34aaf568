"""Many instances, the worst first, from the recording rules."""

from panels import (
    BUSY_LIMITS, DELAY_LIMITS, FINDINGS_LINK, LOST_LIMITS, NO_STALLS, PAGE_LINK, M, Board, column, query,
    steps,
)


def worst(rule, n=10):
    return query(f"topk({n}, {rule}{{{M}}})", "{{job}} {{instance}}")


def board():
    b = Board("fleet", "fleet", "Instances side by side, the worst first. Its rates come from the recording rules of rules.yml, so that it is as fast for a thousand instances as for ten.", runtime=False)
    b.row("All instances")
    b.stat("Instances", "Instances that export loopscope's metrics now.", "none", f"count(loopscope_build_info{{{M}}})", steps("green"), 6)
    b.stat("With stalls now", "Instances with at least one blocked worker at the last scrape.", "none",
           f"count(loopscope_workers_blocked{{{M}}} > 0) or vector(0)", steps("green", 1, "red"), 6)
    b.stat("Losing over 1 %", "Instances that lose more than 1 % of their workers' time to blocking.", "none",
           f"count(instance:loopscope_time_lost:ratio_rate5m{{{M}}} > 0.01) or vector(0)", steps("green", 1, "orange"), 6)
    b.stat("Time lost, all instances", "Share of the workers' time of all instances that was spent in stalls.", "percentunit",
           f"avg(instance:loopscope_time_lost:ratio_rate5m{{{M}}})", LOST_LIMITS, 6, 2)
    b.row("Worst first")
    b.table("Instances", "One row for each instance, sorted by time lost. The links open the instance's findings and live page, if this browser can reach it.", "percentunit",
            [f"max by (job, instance) (instance:loopscope_time_lost:ratio_rate5m{{{M}}})", f"max by (job, instance) (instance:loopscope_schedule_delay_seconds:p99_rate5m{{{M}}})",
             f"max by (job, instance) (instance:loopscope_worker_busy:ratio_rate5m{{{M}}})", f"max by (job, instance) (loopscope_longest_active_poll_seconds{{{M}}})",
             f"sum by (job, instance) (loopscope_workers{{{M}}})", f"max by (job, instance) (loopscope_blocking_threshold_seconds{{{M}}})",
             f"group by (job, instance, version) (loopscope_build_info{{{M}}})"],
            {"instance": "Instance", "job": "Job", "Value #A": "Time lost", "Value #B": "Delay, p99", "Value #C": "Busy",
             "Value #D": "Longest now", "Value #E": "Workers", "Value #F": "Threshold", "version": "loopscope"},
            [column("Instance", links=[FINDINGS_LINK, PAGE_LINK]), column("Time lost", thresholds=LOST_LIMITS, decimals=2, custom__cellOptions={"type": "color-text"}),
             column("Delay, p99", unit="s", thresholds=DELAY_LIMITS, custom__cellOptions={"type": "color-text"}), column("Busy", decimals=1, thresholds=BUSY_LIMITS, custom__cellOptions={"type": "color-text"}),
             column("Longest now", unit="s"), column("Workers", unit="none"), column("Threshold", unit="s")], "Time lost", 24)
    b.lines("Time lost", "The ten instances that lose the most at each moment. An instance that stands out has another load, another version, or a slower machine.",
            "percentunit", [worst("instance:loopscope_time_lost:ratio_rate5m")], thresholds=steps("transparent", 0.01, "orange", 0.05, "red"))
    b.lines("Schedule delay, p99", "The ten instances whose tasks wait the longest.",
            "s", [worst("instance:loopscope_schedule_delay_seconds:p99_rate5m")], log=True, thresholds=steps("transparent", 0.005, "orange", 0.05, "red"))
    b.lines("Busy", "The ten instances with the busiest workers. Compare with the time lost: an instance that is busy but not blocked needs more workers, not other code.",
            "percentunit", [worst("instance:loopscope_worker_busy:ratio_rate5m")], thresholds=steps("transparent", 0.9, "red"), decimals=1)
    b.row("Lines and versions")
    b.table("Lines that block, over all instances", "The lines of code that block, over all instances, since each process started. The first line here justifies a separate release.", "s",
            [f"topk(20, sum by (site, cause) (loopscope_blocking_site_seconds_total{{{M}}}))",
             f"count by (site, cause) (loopscope_blocking_site_seconds_total{{{M}}}) and topk(20, sum by (site, cause) (loopscope_blocking_site_seconds_total{{{M}}}))"],
            {"site": "Line", "cause": "Cause", "Value #A": "Time lost", "Value #B": "Instances"},
            [column("Instances", unit="none"), column("Line", custom__width=520)], "Time lost", 16, empty=NO_STALLS)
    b.table("Versions", "Number of instances by version of loopscope. Compare figures only where versions and thresholds agree.", "none",
            [f"count by (job, version) (loopscope_build_info{{{M}}})"], {"job": "Job", "version": "loopscope", "Value": "Instances"}, (), "Instances", 8)
    return b
