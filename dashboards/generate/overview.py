"""Whether a service is healthy, which tasks wait, and where to look next."""

from panels import BUSY_LIMITS, DELAY_LIMITS, LOST_LIMITS, NO_STALLS, M, R, Board, p, query, rate, steps

SOME = f'level="some", {M}'
# The series of ended threads rises by the whole time of a thread when the thread ends.
LIVE = f'worker!="ended", {R}'
LOST_SHARE = f"sum({rate('loopscope_blocking_seconds_total')}) / sum(loopscope_workers{{{M}}})"
BUSY_SHARE = f"sum({rate('loopscope_worker_busy_seconds_total', LIVE)}) / sum(loopscope_workers{{{R}}})"


def board():
    b = Board("overview", "overview", "Health of a service: blocking, waiting tasks, worker use, and the cost of loopscope itself.")
    b.row("Health")
    b.stat("Time lost to blocking", "Share of all workers' time that was spent in stalls that have ended. Users begin to notice at about 1 %. The dashboard \"blocking\" shows the lines.",
           "percentunit", LOST_SHARE, LOST_LIMITS, 4, 2)
    b.stat("Workers blocked now", "Workers that have been in one poll for longer than the threshold at the last scrape. A stall that is shorter than the scrape interval may not show here, but it counts in the time lost.",
           "none", f"sum(loopscope_workers_blocked{{{M}}})", steps("green", 1, "red"), 4)
    b.stat("Longest poll now", "Age of the oldest poll in progress. It grows while a stall lasts; a histogram cannot show that. The live page of the instance shows its line.",
           "s", f"max(loopscope_longest_active_poll_seconds{{{M}}})", steps("green", 0.1, "orange", 1, "red"), 4)
    b.stat("Schedule delay, p99", "Time that a ready task waits for its poll. Stalls and overload increase it for all tasks.",
           "s", p(0.99, "loopscope_task_schedule_delay_seconds"), DELAY_LIMITS, 4)
    b.stat("Workers busy", "Share of the workers' time that is spent in polls. Near 100 %, there is more work than the workers can do.",
           "percentunit", BUSY_SHARE, BUSY_LIMITS, 4, 1)
    b.stat("Pressure", "Share of the time in which tasks were ready while a worker was blocked. Some task waited in all of this time.",
           "percentunit", f"avg({rate('loopscope_pressure_seconds_total', SOME)})",
           steps("green", 0.01, "orange", 0.1, "red"), 4, 2)
    b.row("Blocking and waiting tasks")
    b.lines("Time lost, by cause", "Seconds per second that workers spent in stalls. One worker that is always blocked is 100 %.",
            "percentunit", [query(f"sum by (cause) ({rate('loopscope_blocking_seconds_total')}) > 0", "{{cause}}")], stack=True, empty=NO_STALLS)
    b.lines("Schedule delay", "Time that ready tasks wait for a worker. The p99.9 shows the delay that few users notice; the median shows whether all users are affected. Dashed: 5 ms and 50 ms.",
            "s", [query(p(q, "loopscope_task_schedule_delay_seconds"), f"p{name}") for q, name in [(0.5, 50), (0.99, 99), (0.999, "99.9")]],
            log=True, thresholds=DELAY_LIMITS)
    b.lines("Pressure", "Share of the time in which tasks were ready while some workers (`some`) or all workers (`full`) were blocked. A blocked worker that drives I/O and timers counts as all workers.",
            "percentunit", [query(f"avg by (level) ({rate('loopscope_pressure_seconds_total')})", "{{level}}")])
    b.row("Work")
    b.lines("Worker use", "Share of its time that each worker spends in polls. If all are near 100 %, there is more work than the workers can do. If only one is, the work does not spread, or that worker is blocked. A poll counts while it lasts.",
            "percentunit", [query(f"sum by (instance, runtime, worker) ({rate('loopscope_worker_busy_seconds_total', LIVE)})", "{{instance}} {{runtime}} {{worker}}")], thresholds=BUSY_LIMITS)
    b.lines("Run queues", "Ready tasks that wait in the queue shared by all workers and in the workers' own queues. A growing queue means that work arrives faster than it is done.",
            "none", [query(f"sum by (instance, runtime) (loopscope_global_queue_depth{{{R}}})", "{{instance}} {{runtime}} shared"),
                     query(f"sum by (instance, runtime) (loopscope_local_queue_depth{{{R}}})", "{{instance}} {{runtime}} workers' own")])
    b.lines("Tasks alive", "Tasks that exist now in each runtime, by the runtime's own count. A line that only rises is a leak: the tasks never end.",
            "none", [query(f"sum by (instance, runtime) (loopscope_runtime_tasks_alive{{{R}}})", "{{instance}} {{runtime}}")])
    b.row("Machine and loopscope")
    b.lines("Starved of CPU", "Seconds per second that threads in long polls were ready to run but had no CPU. The machine or a CPU limit causes this, so a change to the code does not help.",
            "percentunit", [query(f"sum by (instance) ({rate('loopscope_starved_seconds_total')})", "{{instance}}")], 6, 7)
    b.lines("CPU of the watchdog", "Share of one CPU that loopscope's watchdog uses. It should stay below 0.5 % if there are few stalls; each stall costs a capture.",
            "percentunit", [query(f"sum by (instance) ({rate('loopscope_watchdog_cpu_seconds_total')})", "{{instance}}")], 6, 7)
    b.lines("Observations lost", "Dropped observations, by the limit that was reached. While this rises, the other figures are lower bounds.",
            "eps", [query(f"sum by (reason) ({rate('loopscope_dropped_total')})", "{{reason}}")], 6, 7)
    b.lines("Hooks replaced", "Hooks of loopscope that the application replaced after `watch`. They are not called, so their data is missing. Use watch_with instead.",
            "none", [query(f"sum by (instance) (loopscope_hooks_replaced{{{M}}}) or 0 * sum by (instance) (loopscope_build_info{{{M}}})", "{{instance}}")], 6, 7, thresholds=steps("transparent", 1, "orange"))
    b.lines("What is recorded", "1 for the present level of each instance. With `detect`, only stalls are found: their times are lower bounds, and poll times, schedule delays and busy time are missing. `paused` finds nothing.",
            "none", [query(f"max by (instance, level) (loopscope_recording_info{{{M}}})", "{{instance}} {{level}}")], 24, 5)
    return b
