"""How each kind of task affects the others and itself."""

from panels import NO_CALLS, NO_CANARY, NO_LINTS, M, R, Board, gauge, p, query, rate, steps


def board():
    b = Board("tasks", "tasks", "Poll time, schedule delay, lints and numbers of each kind of task; queues and the blocking pool of each runtime.")
    b.row("Polls")
    b.lines("Poll time by kind of task, p99", "Duration of polls, with the precision of a bucket. Dashed: 10 ms, from where polls noticeably delay other tasks.",
            "s", [query(p(0.99, "loopscope_task_poll_duration_seconds", ["task"]), "{{task}}")], 12, log=True, thresholds=steps("transparent", 0.01, "orange"))
    b.lines("Schedule delay by kind of task, p99", "Time that ready tasks of a kind wait for a worker. The kind that waits is seldom the kind that blocks.",
            "s", [query(p(0.99, "loopscope_task_schedule_delay_seconds", ["task"]), "{{task}}")], 12, log=True, thresholds=steps("transparent", 0.005, "orange"))
    b.lines("Polls longer than 10 ms", "Share of the polls of a kind that took longer than 10 ms. The value is exact, because 10 ms is the bound of a bucket.",
            "percentunit", [query(f"1 - sum by (task) ({rate('loopscope_task_poll_duration_seconds_bucket', SHORT)}) / (sum by (task) ({rate('loopscope_task_poll_duration_seconds_count')}) > 0)", "{{task}}")], 12)
    b.lines("Busy, by kind of task", "Share of one worker's time that the polls of a kind take. A kind above 100 % keeps more than one worker busy.",
            "percentunit", [query(f"sum by (task) ({rate('loopscope_task_poll_duration_seconds_sum')})", "{{task}}")], 12, stack=True)
    b.lines("Polls, by kind of task", "Polls per second. A kind with very many short polls may wake itself: see the lints.",
            "ops", [query(f"sum by (task) ({rate('loopscope_task_poll_duration_seconds_count')})", "{{task}}")], 12)
    b.heatmap("How long polls take", "All polls, by duration. In a healthy service they form a band far below 1 ms. Polls above 10 ms are stalls.",
              f"sum by (le) (increase(loopscope_task_poll_duration_seconds_bucket{{{M}}}[$__rate_interval]))", 12)
    b.row("Task lifetimes")
    b.lines("Tasks alive", "Tasks that exist now, by kind. A line that only rises is a leak: the tasks never end.",
            "none", [query(f"sum by (task) (loopscope_tasks_alive{{{M}}})", "{{task}}")])
    b.lines("Tasks spawned", "Tasks spawned per second, by kind. Spawning has a cost, so check kinds with thousands per second.",
            "ops", [query(f"sum by (task) ({rate('loopscope_tasks_spawned_total')})", "{{task}}")])
    b.lines("Spawned minus ended", "Tasks spawned minus tasks ended, per second, by kind. If it stays above zero, tasks accumulate; below zero, they end faster than new ones start.",
            "ops", [query(f"sum by (task) ({rate('loopscope_tasks_spawned_total')}) - sum by (task) ({rate('loopscope_tasks_completed_total')})", "{{task}}")], decimals=2, signed=True)
    b.table("Lints, since each process started", "Suspicious behaviour of tasks. self-wake: polls that woke their own task; such a task spins if nothing else wakes it. lost-waker: pending tasks that can never be woken again. never-yielded: tasks that ran to their end in one long poll. large-future: futures that are so large that moving them is expensive. Lints exist only for named futures.",
            "locale", [f"sum by (instance, task, lint) (loopscope_task_lints_total{{{M}}}) > 0"],
            {"task": "Kind", "lint": "Lint", "instance": "Instance", "Value": "Count"},
            [gauge("Count")], "Count", 12, empty=NO_LINTS)
    b.table("Largest future of each kind", "Minimum size of each task of a kind, for named futures. Box large parts that are seldom used, and do not hold large buffers across an await.",
            "bytes", [f"max by (task) (loopscope_task_future_size_bytes{{{M}}})"],
            {"task": "Kind", "Value": "Size"}, [gauge("Size")], "Size", 12)
    b.row("Blocking pool")
    b.lines("Threads and queue", "Threads of the pool for spawn_blocking, and calls that wait for a thread. If there is always a queue, the pool is too small or its calls are too long.",
            "none", [query(f"sum by (instance, runtime) (loopscope_blocking_pool_threads{{{R}}})", "{{instance}} {{runtime}} threads"),
                     query(f"sum by (instance, runtime) (loopscope_blocking_pool_idle_threads{{{R}}})", "{{instance}} {{runtime}} idle"),
                     query(f"sum by (instance, runtime) (loopscope_blocking_pool_queue_depth{{{R}}})", "{{instance}} {{runtime}} waiting calls")])
    b.lines("Wait for a thread, p99", "Time that calls of loopscope::spawn_blocking waited for a thread of the pool, by name. Tokio itself does not provide this.",
            "s", [query(p(0.99, "loopscope_blocking_pool_queue_wait_seconds", ["task"]), "{{task}}")], log=True, empty=NO_CALLS)
    b.lines("Time on a thread, p99", "Time that calls of loopscope::spawn_blocking held a thread of the pool, by name. Run calls of minutes on a separate thread.",
            "s", [query(p(0.99, "loopscope_blocking_pool_run_seconds", ["task"]), "{{task}}")], log=True, empty=NO_CALLS)
    b.row("Event loops")
    b.lines("Polls and parks", "Polls per second, and how often per second workers parked because they had no work. If there are many parks per poll, the loop is idle.",
            "ops", [query(f"sum by (instance, runtime) ({rate('loopscope_worker_polls_total', R)})", "{{instance}} {{runtime}} polls"),
                    query(f"sum by (instance, runtime) ({rate('loopscope_worker_parks_total', R)})", "{{instance}} {{runtime}} parks")])
    b.lines("Loop lag, p99", "Time from a canary's wake to its poll, by event loop. It is meant for loops whose tasks no hook sees.",
            "s", [query(p(0.99, "loopscope_loop_lag_seconds", ["instance", "loop"]), "{{instance}} {{loop}}")], log=True, thresholds=steps("transparent", 0.005, "orange"), empty=NO_CANARY)
    b.lines("Unanswered canaries", "Age of a canary's wake that no poll has followed yet. It grows while the loop is blocked.",
            "s", [query(f"max by (instance, loop) (loopscope_loop_lag_unanswered_seconds{{{M}}})", "{{instance}} {{loop}}")], empty=NO_CANARY)
    return b


SHORT = f'le="0.01", {M}'
