"""How each kind of task affects the others and itself."""

from panels import M, R, Board, column, p, query, rate, steps


def board():
    b = Board("tasks", "tasks", "Poll time, schedule delay, lints and numbers of each kind of task; queues and the blocking pool of each runtime.")
    b.row("Polls")
    b.lines("Poll time by kind of task, p99", "How long polls take, to the width of a bucket. Dashed: 10 ms, where polls begin to hurt others.",
            "s", [query(p(0.99, "loopscope_task_poll_duration_seconds", ["task"]), "{{task}}")], log=True, thresholds=steps("transparent", 0.01, "orange"))
    b.lines("Schedule delay by kind of task, p99", "How long ready tasks of a kind wait for a worker. The kind that waits is seldom the one that blocks.",
            "s", [query(p(0.99, "loopscope_task_schedule_delay_seconds", ["task"]), "{{task}}")], log=True, thresholds=steps("transparent", 0.005, "orange"))
    b.lines("Polls longer than 10 ms", "Share of the polls of a kind that took longer than 10 ms. Exact, since 10 ms is the bound of a bucket.",
            "percentunit", [query(f"1 - sum by (task) ({rate('loopscope_task_poll_duration_seconds_bucket', SHORT)}) / sum by (task) ({rate('loopscope_task_poll_duration_seconds_count')})", "{{task}}")])
    b.lines("Busy, by kind of task", "Share of one worker's time that the polls of a kind take. What is above 100 % keeps more than one worker busy.",
            "percentunit", [query(f"sum by (task) ({rate('loopscope_task_poll_duration_seconds_sum')})", "{{task}}")], stack=True)
    b.lines("Polls, by kind of task", "Polls each second. A kind with very many short ones may be waking itself: see the lints.",
            "ops", [query(f"sum by (task) ({rate('loopscope_task_poll_duration_seconds_count')})", "{{task}}")])
    b.heatmap("How long polls take", "All polls, by duration. Healthy is a band far below 1 ms; what lies above 10 ms is a stall.",
              f"sum by (le) (increase(loopscope_task_poll_duration_seconds_bucket{{{M}}}[$__rate_interval]))")
    b.row("Lives")
    b.lines("Tasks alive", "Tasks that live now, by kind. A line that only climbs is a leak: tasks that nobody ends.",
            "none", [query(f"sum by (task) (loopscope_tasks_alive{{{M}}})", "{{task}}")])
    b.lines("Tasks begun", "Tasks spawned each second, by kind. Spawning is cheap, not free: thousands a second are worth a look.",
            "ops", [query(f"sum by (task) ({rate('loopscope_tasks_spawned_total')})", "{{task}}")])
    b.lines("Begun less ended", "Tasks spawned less tasks ended, each second, by kind. Above zero for long: they pile up.",
            "ops", [query(f"sum by (task) ({rate('loopscope_tasks_spawned_total')}) - sum by (task) ({rate('loopscope_tasks_completed_total')})", "{{task}}")])
    b.table("Lints, since each process began", "What tasks do that is seldom meant. self-wake: polls that woke their own task, which spins if nothing else does; lost-waker: pending tasks that nobody can wake any more; never-yielded: tasks that ran to their end in one long poll; large-future: futures so large that moving them costs. Only named futures are looked at so closely.",
            "none", [f"sum by (instance, task, lint) (loopscope_task_lints_total{{{M}}}) > 0"],
            {"task": "Kind", "lint": "Lint", "instance": "Instance", "Value": "Count"},
            [column("Count", custom__cellOptions={"type": "gauge", "mode": "basic"}, min=0)], "Count", 12)
    b.table("Largest future of each kind", "Bytes that each task of a kind takes at least, for named futures. Box what is large and seldom used; do not hold large buffers over an await.",
            "bytes", [f"max by (task) (loopscope_task_future_size_bytes{{{M}}})"],
            {"task": "Kind", "Value": "Size"}, [column("Size", custom__cellOptions={"type": "gauge", "mode": "basic"}, min=0)], "Size", 12)
    b.row("Blocking pool")
    b.lines("Threads and queue", "Threads of the pool for spawn_blocking, and calls that wait for one. A queue that stays means the pool is too small, or its calls too long.",
            "none", [query(f"sum by (instance, runtime) (loopscope_blocking_pool_threads{{{R}}})", "{{instance}} {{runtime}} threads"),
                     query(f"sum by (instance, runtime) (loopscope_blocking_pool_idle_threads{{{R}}})", "{{instance}} {{runtime}} idle"),
                     query(f"sum by (instance, runtime) (loopscope_blocking_pool_queue_depth{{{R}}})", "{{instance}} {{runtime}} waiting calls")])
    b.lines("Wait for a thread, p99", "How long calls of loopscope::spawn_blocking waited for a thread of the pool, by name. Tokio itself does not tell this.",
            "s", [query(p(0.99, "loopscope_blocking_pool_queue_wait_seconds", ["task"]), "{{task}}")], log=True)
    b.lines("Time on a thread, p99", "How long calls of loopscope::spawn_blocking held a thread of the pool, by name. Calls of minutes belong on a thread of their own.",
            "s", [query(p(0.99, "loopscope_blocking_pool_run_seconds", ["task"]), "{{task}}")], log=True)
    b.row("Event loops")
    b.lines("Polls and parks", "Polls each second, and how often workers parked for want of work. Many parks for each poll: the loop is idle.",
            "ops", [query(f"sum by (instance, runtime) ({rate('loopscope_worker_polls_total', R)})", "{{instance}} {{runtime}} polls"),
                    query(f"sum by (instance, runtime) ({rate('loopscope_worker_parks_total', R)})", "{{instance}} {{runtime}} parks")])
    b.lines("Loop lag, p99", "How late an event loop with a canary is, from a wake to its poll: for loops whose tasks no hook sees. Nothing shows without a canary.",
            "s", [query(p(0.99, "loopscope_loop_lag_seconds", ["instance", "loop"]), "{{instance}} {{loop}}")], log=True, thresholds=steps("transparent", 0.005, "orange"))
    b.lines("Unanswered canaries", "Age of a canary's wake that has led to no poll yet. What grows here is a loop that stands still.",
            "s", [query(f"max by (instance, loop) (loopscope_loop_lag_unanswered_seconds{{{M}}})", "{{instance}} {{loop}}")])
    return b


SHORT = f'le="0.01", {M}'
