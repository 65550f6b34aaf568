"""Which lines block, for how long, why, and which tasks wait for them."""

from panels import FINDINGS_LINK, FINE, M, Board, column, p, query, rate, steps


def board():
    b = Board("blocking", "blocking", "Which lines of code block the event loop, for how long, why, and who waits for them.", runtime=False)
    b.row("Stalls")
    b.heatmap("How long stalls last", "Stalls that ended, by duration. A band at one height is one call with a fixed price; a spread is a call that depends on data or on others. The dots are single stalls: their label `finding` is the page /findings/ID of the instance.",
              f"sum by (le) (increase(loopscope_blocking_duration_seconds_bucket{{{M}}}[$__rate_interval]))", 12)
    b.lines("Stalls, by cause", "Polls over the threshold that ended, each second. The cause says what kind of call it was: sleep, file, lock, cpu and so on.",
            "ops", [query(f"sum by (cause) ({rate('loopscope_blocking_events_total')}) > 0", "{{cause}}")], 6, stack=True)
    b.lines("Time lost, by cause", "Seconds each second that workers spent in stalls. One whole worker blocked all the time is 100 %.",
            "percentunit", [query(f"sum by (cause) ({rate('loopscope_blocking_seconds_total')}) > 0", "{{cause}}")], 6, stack=True)
    b.lines("Longest poll in progress", "Age of the oldest poll that has not ended, by instance. A saw-tooth is one stall after the other; a ramp is one that has not ended. Dashed: 100 ms and 1 s.",
            "s", [query(f"max by (instance) (loopscope_longest_active_poll_seconds{{{M}}})", "{{instance}}")], 8, thresholds=steps("transparent", 0.1, "orange", 1, "red"))
    b.lines("Length of a stall, p99", "Of a hundred stalls of a cause the longest, to the width of a bucket.",
            "s", [query(p(0.99, "loopscope_blocking_duration_seconds", ["cause"]), "{{cause}}")], 8, log=True)
    b.lines("Blocked workers", "Workers over the threshold at the moment of a scrape, and how many there are. Where the two lines meet, nothing goes on at all.",
            "none", [query(f"sum by (instance) (loopscope_workers_blocked{{{M}}})", "{{instance}} blocked"),
                     query(f"sum by (instance) (loopscope_workers{{{M}}})", "{{instance}} workers")], 8)
    b.row("Lines of code")
    b.table("Lines that block, since each process began", "The lines of code that blocked, the most time first; of a computation its function. These are totals since each process began, not of the range shown: the first stall of a line is where its series begins, and a rate would not see it. The link opens the findings of that instance, with stack and advice.",
            "s", [f"topk(20, sum by (instance, site, cause) (loopscope_blocking_site_seconds_total{{{M}}}))",
                  f"sum by (instance, site, cause) (loopscope_blocking_site_events_total{{{M}}}) and topk(20, sum by (instance, site, cause) (loopscope_blocking_site_seconds_total{{{M}}}))"],
            {"site": "Line", "cause": "Cause", "instance": "Instance", "Value #A": "Time lost", "Value #B": "Stalls"},
            [column("Stalls", unit="none"), column("Time lost", custom__cellOptions={"type": "gauge", "mode": "basic"}, min=0),
             column("Line", custom__width=520), column("Instance", links=[FINDINGS_LINK])], "Time lost")
    b.lines("Time lost, by line", "Seconds each second that workers spent in stalls of a line, for the ten that take the most at each moment.",
            "percentunit", [query(f"topk(10, sum by (site, cause) ({rate('loopscope_blocking_site_seconds_total')}))", "{{site}} ({{cause}})")], 24, stack=True)
    b.row("Victims")
    b.lines("Who waits: schedule delay by kind of task, p99", "How long ready tasks of a kind wait for a worker. Kinds that share a runtime suffer together: the kind that waits is seldom the one that blocks.",
            "s", [query(p(0.99, "loopscope_task_schedule_delay_seconds", ["task"]), "{{task}}")], 12, log=True, thresholds=steps("transparent", 0.005, "orange"))
    b.lines("Pressure, by instance", "Share of the time in which tasks were ready while workers were blocked. Compare with the time lost: a stall on an idle worker costs little, one that holds ready tasks costs all of them.",
            "percentunit", [query(f"sum by (instance, level) ({rate('loopscope_pressure_seconds_total')})", "{{instance}} {{level}}")], 12)
    b.row("Evidence")
    b.lines("Stack captures", "Stacks that were captured, by how that ended. Many that missed: stalls barely longer than the threshold.",
            "ops", [query(f"sum by (result) ({rate('loopscope_captures_total')})", "{{result}}")], 8, 7)
    b.lines("Observations lost", "What was dropped, by the bound that was reached. While this rises, the other figures are lower bounds.",
            "ops", [query(f"sum by (reason) ({rate('loopscope_dropped_total')})", "{{reason}}")], 8, 7)
    b.lines("Not the code's fault", "Time each second that threads in long polls were ready but had no CPU. It is not among the stalls above.",
            "percentunit", [query(f"sum by (instance) ({rate('loopscope_starved_seconds_total')})", "{{instance}}")], 8, 7)
    return b
