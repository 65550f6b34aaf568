"""The chat server under load: what goes through it, and what stalls do to it."""

from panels import DELAY, M, Board, p, query, rate, steps


def board():
    b = Board("chat", "chat and load", "The chat server under load: traffic, latency inside the server beside the stalls, and who was turned away.", runtime=False)
    b.row("Load")
    b.stat("Connections", "Clients that are connected now.", "none", f"sum(chat_connections{{{M}}})", steps("green"), 6)
    b.stat("Messages in", "Lines received each second, all commands.", "ops", f"sum({rate('chat_messages_in_total')})", steps("green"), 6, 1)
    b.stat("Messages out", "Messages queued for clients each second.", "ops", f"sum({rate('chat_messages_out_total')})", steps("green"), 6, 1)
    b.stat("Fan-out", "Messages out for each message in. It grows with the rooms.", "none",
           f"sum({rate('chat_messages_out_total')}) / sum({rate('chat_messages_in_total')})", steps("green"), 6, 1)
    b.row("Latency and stalls")
    b.lines("Session delay and stalls", "How long a session that has something to do waits for a worker (line, left), beside the time lost to blocking (bars, right): where both rise together, the stalls are the latency. The load generator's report says the same of the deliveries that its clients see.",
            "s", [query(p(0.99, "loopscope_task_schedule_delay_seconds", ["task"], f'task="session", {M}'), "delay of {{task}}, p99"),
                  query(f"sum({rate('loopscope_blocking_seconds_total')})", "time lost to blocking")],
            24, 9, thresholds=DELAY, right=("B", "percentunit"))
    b.lines("Commands", "Lines received each second, by command.",
            "ops", [query(f"sum by (command) ({rate('chat_messages_in_total')}) > 0", "{{command}}")], 12, stack=True)
    b.lines("Bytes", "Bytes each second, from and to clients.",
            "Bps", [query(f"sum({rate('chat_bytes_in_total')})", "in"), query(f"sum({rate('chat_bytes_out_total')})", "out")], 12)
    b.row("Phases")
    b.lines("Connections", "Clients connected: the ramp, the plateau and the drain of a load test show here.",
            "none", [query(f"sum by (instance) (chat_connections{{{M}}})", "{{instance}}")], 12)
    b.lines("Turned away and dropped", "Connections refused, clients dropped because they read too slowly, and log entries dropped because the log was behind.",
            "ops", [query(f"sum by (reason) ({rate('chat_rejected_total')})", "refused: {{reason}}"),
                    query(f"sum({rate('chat_slow_readers_dropped_total')})", "slow readers"),
                    query(f"sum({rate('chat_history_dropped_total')})", "log entries")], 12)
    return b
