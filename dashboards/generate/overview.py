"""Whether a service is healthy, which tasks wait, and where to look next."""

from panels import BUSY, DELAY, LOST, M, R, Board, p, query, rate, steps

SOME = f'level="some", {M}'
LOST_SHARE = f"sum({rate('loopscope_blocking_seconds_total')}) / sum(loopscope_workers{{{M}}})"
BUSY_SHARE = f"sum({rate('loopscope_worker_busy_seconds_total', R)}) / sum(loopscope_workers{{{R}}})"


def board():
    b = Board("overview", "overview", "Is it healthy, who waits, what blocks, and what does loopscope itself cost.")
    b.row("Verdict")
    b.stat("Time lost to blocking", "Share of all workers' time that went into stalls that have ended. Above 1 % users begin to notice. The dashboard \"blocking\" has the lines.",
           "percentunit", LOST_SHARE, LOST, 4, 2)
    b.stat("Workers blocked now", "Workers that have been in one poll for longer than the threshold at the last scrape. A stall shorter than the scrape interval may not show here; it does show in the time lost.",
           "none", f"sum(loopscope_workers_blocked{{{M}}})", steps("green", 1, "red"), 4)
    b.stat("Longest poll now", "Age of the oldest poll in progress. It grows while a stall lasts, which no histogram can show. Open the live page of the instance for its line.",
           "s", f"max(loopscope_longest_active_poll_seconds{{{M}}})", steps("green", 0.1, "orange", 1, "red"), 4)
    b.stat("Schedule delay, p99", "How long a task that is ready waits for its poll: what stalls and overload cost everybody else.",
           "s", p(0.99, "loopscope_task_schedule_delay_seconds"), DELAY, 4)
    b.stat("Workers busy", "Share of the workers' time that goes into polls. Near 100 % there is more work than workers.",
           "percentunit", BUSY_SHARE, BUSY, 4, 1)
    b.stat("Pressure", "Share of the time in which tasks were ready while some worker was blocked. Whatever this shows, somebody waited for.",
           "percentunit", f"avg({rate('loopscope_pressure_seconds_total', SOME)})",
           steps("green", 0.01, "orange", 0.1, "red"), 4, 2)
    b.row("Blocking and who waits for it")
    b.lines("Time lost, by cause", "Seconds each second that workers spent in stalls. One whole worker blocked all the time is 100 %. Nothing shows where nothing blocks.",
            "percentunit", [query(f"sum by (cause) ({rate('loopscope_blocking_seconds_total')}) > 0", "{{cause}}")], stack=True)
    b.lines("Schedule delay", "How long ready tasks wait for a worker. The p99.9 meets the first users; the median says whether everybody is hit. Dashed: 5 ms and 50 ms.",
            "s", [query(p(q, "loopscope_task_schedule_delay_seconds"), f"p{name}") for q, name in [(0.5, 50), (0.99, 99), (0.999, "99.9")]],
            log=True, thresholds=DELAY)
    b.lines("Pressure", "Share of the time in which tasks were ready while workers were blocked: some of them, or in full all.",
            "percentunit", [query(f"avg by (level) ({rate('loopscope_pressure_seconds_total')})", "{{level}}")])
    b.row("Work")
    b.lines("Worker use", "Share of its time that each worker spends in polls. Near 100 % on all: more work than workers. On one only: work does not spread, or that one is blocked. A poll counts when it ends.",
            "percentunit", [query(f"sum by (instance, runtime, worker) ({rate('loopscope_worker_busy_seconds_total', R)})", "{{instance}} {{runtime}} {{worker}}")], thresholds=BUSY)
    b.lines("Run queues", "Tasks that are ready and wait: in the queue that all workers share, and in the workers' own. Growth means work comes faster than it is done.",
            "none", [query(f"sum by (instance, runtime) (loopscope_global_queue_depth{{{R}}})", "{{instance}} {{runtime}} shared"),
                     query(f"sum by (instance, runtime) (loopscope_local_queue_depth{{{R}}})", "{{instance}} {{runtime}} workers' own")])
    b.lines("Tasks alive", "Tasks that live now in each runtime, by its own count. A line that only climbs is a leak: tasks that nobody ends.",
            "none", [query(f"sum by (instance, runtime) (loopscope_runtime_tasks_alive{{{R}}})", "{{instance}} {{runtime}}")])
    b.row("The machine and the observer")
    b.lines("Starved of CPU", "Time each second that threads in long polls were ready but had no CPU. This is the machine's or the CPU limit's doing: no change to the code helps.",
            "percentunit", [query(f"sum by (instance) ({rate('loopscope_starved_seconds_total')})", "{{instance}}")], 6, 7)
    b.lines("CPU of the watchdog", "What loopscope's watchdog costs: share of one CPU. It should stay below 0.5 % where little blocks; each stall costs it a capture.",
            "percentunit", [query(f"sum by (instance) ({rate('loopscope_watchdog_cpu_seconds_total')})", "{{instance}}")], 6, 7)
    b.lines("Observations lost", "What was dropped, by the bound that was reached. While this rises, the other figures are lower bounds.",
            "ops", [query(f"sum by (reason) ({rate('loopscope_dropped_total')})", "{{reason}}")], 6, 7)
    b.stat("Hooks replaced", "Hooks of loopscope's that the application set anew after it, so that they are not called: what they record is missing. Use watch_with instead.",
           "none", f"sum(loopscope_hooks_replaced{{{M}}}) or vector(0)", steps("green", 1, "orange"), 6)
    return b
