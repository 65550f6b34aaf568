"""Which lines block, for how long, why, and which tasks wait for them."""

from panels import FINDINGS_LINK, NO_LIMITS, NO_STALLS, M, Board, column, gauge, p, query, rate, steps


def board():
    b = Board("blocking", "blocking", "Which lines of code block the event loop, for how long, why, and which tasks wait.", runtime=False)
    b.row("Stalls")
    b.heatmap("How long stalls last", "Ended stalls, by duration. A band at one height is a call with a fixed duration. A spread is a call whose duration depends on data or on other threads. The dots are single stalls; their label `finding` is the ID in the path /findings/ID of the instance.",
              f"sum by (le) (increase(loopscope_blocking_duration_seconds_bucket{{{M}}}[$__rate_interval]))", 12)
    b.lines("Stalls, by cause", "Ended polls over the threshold per second. The cause is the kind of call: sleep, file, lock, cpu and so on.",
            "eps", [query(f"sum by (cause) ({rate('loopscope_blocking_events_total')}) > 0", "{{cause}}")], 6, stack=True, empty=NO_STALLS)
    b.lines("Time lost, by cause", "Seconds per second that workers spent in stalls. One worker that is always blocked is 100 %.",
            "percentunit", [query(f"sum by (cause) ({rate('loopscope_blocking_seconds_total')}) > 0", "{{cause}}")], 6, stack=True, empty=NO_STALLS)
    b.lines("Longest poll in progress", "Age of the oldest poll that has not ended, by instance. A saw-tooth is a series of stalls. A ramp is one stall that has not ended. Dashed: 100 ms and 1 s.",
            "s", [query(f"max by (instance) (loopscope_longest_active_poll_seconds{{{M}}})", "{{instance}}")], 8, thresholds=steps("transparent", 0.1, "orange", 1, "red"))
    b.lines("Length of a stall, p99", "The duration that 1 % of a cause's stalls exceed, with the precision of a bucket.",
            "s", [query(p(0.99, "loopscope_blocking_duration_seconds", ["cause"]), "{{cause}}")], 8, log=True, empty=NO_STALLS)
    b.lines("Blocked workers", "Workers that were blocked at the time of a scrape, and all workers. Where the two lines meet, no task makes progress.",
            "none", [query(f"sum by (instance) (loopscope_workers_blocked{{{M}}})", "{{instance}} blocked"),
                     query(f"sum by (instance) (loopscope_workers{{{M}}})", "{{instance}} workers")], 8)
    b.row("Lines of code")
    b.table("Lines that block, since each process started", "The lines of code that blocked, sorted by time; for a computation, its function. The values are totals since each process started, not for the range shown, because a rate does not count the first stall of a line, with which its series begins. The link opens the findings of that instance, with stack and advice.",
            "s", [f"topk(20, sum by (instance, site, cause) (loopscope_blocking_site_seconds_total{{{M}}}))",
                  f"sum by (instance, site, cause) (loopscope_blocking_site_events_total{{{M}}}) and topk(20, sum by (instance, site, cause) (loopscope_blocking_site_seconds_total{{{M}}}))"],
            {"site": "Line", "cause": "Cause", "instance": "Instance", "Value #A": "Time lost", "Value #B": "Stalls"},
            [column("Stalls", unit="locale"), gauge("Time lost"),
             column("Line", custom__width=520), column("Instance", links=[FINDINGS_LINK])], "Time lost", empty=NO_STALLS)
    b.lines("Time lost, by line", "Seconds per second that workers spent in stalls of a line, for the ten lines that take the most time at each moment.",
            "percentunit", [query(f"topk(10, sum by (site, cause) ({rate('loopscope_blocking_site_seconds_total')}))", "{{site}} ({{cause}})")], 24, stack=True, empty=NO_STALLS)
    b.row("Waiting tasks")
    b.lines("Schedule delay by kind of task, p99", "Time that ready tasks of a kind wait for a worker. A stall delays all kinds on its runtime, so the kind that waits is seldom the kind that blocks.",
            "s", [query(p(0.99, "loopscope_task_schedule_delay_seconds", ["task"]), "{{task}}")], 12, log=True, thresholds=steps("transparent", 0.005, "orange"))
    b.lines("Pressure, by instance", "Share of the time in which tasks were ready while workers were blocked. Compare it with the time lost: a stall on an idle worker costs little, but a stall for which ready tasks wait delays all of them.",
            "percentunit", [query(f"sum by (instance, level) ({rate('loopscope_pressure_seconds_total')})", "{{instance}} {{level}}")], 12)
    b.row("Evidence")
    b.lines("Stack captures", "Stack captures, by their result. Many missed captures mean that stalls are barely longer than the threshold. A signal is given up if other code claims it.",
            "eps", [query(f"sum by (result) ({rate('loopscope_captures_total')})", "{{result}}"),
                    query(f"sum({rate('loopscope_signals_given_up_total')})", "signal given up")], 8, 7)
    b.lines("Observations lost", "Dropped observations, by the limit that was reached. While this rises, the other figures are lower bounds.",
            "eps", [query(f"sum by (reason) ({rate('loopscope_dropped_total')})", "{{reason}}")], 8, 7)
    b.lines("Starved of CPU", "Seconds per second that threads in long polls were ready to run but had no CPU. The stalls above do not include this time.",
            "percentunit", [query(f"sum by (instance) ({rate('loopscope_starved_seconds_total')})", "{{instance}}")], 8, 7)
    return b
