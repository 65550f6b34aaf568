"""The chat server under load: its traffic and the effect of stalls."""

from panels import DELAY, M, Board, annotation, p, query, rate, steps


def board():
    b = Board("chat", "chat and load", "The chat server under load: traffic, latency inside the server beside the stalls, and who was turned away.", runtime=False)
    b.row("Load")
    b.stat("Connections", "Clients that are connected now.", "none", f"sum(chat_connections{{{M}}})", steps("green"), 6)
    b.stat("Messages in", "Lines received each second, all commands.", "ops", f"sum({rate('chat_messages_in_total')})", steps("green"), 6, 1)
    b.stat("Messages out", "Messages queued for clients each second.", "ops", f"sum({rate('chat_messages_out_total')})", steps("green"), 6, 1)
    b.stat("Fan-out", "Messages out for each message in. It grows with the rooms.", "none",
           f"sum({rate('chat_messages_out_total')}) / sum({rate('chat_messages_in_total')})", steps("green"), 6, 1)
    b.row("Latency and stalls")
    b.lines("Client latency and stalls", "What the clients see (lines, left): from when a message was due to when it was received, and from when it was sent; beside the time that the server lost to blocking (bars, right). Where both rise together, the stalls are the latency; where only the latency rises, look at the load and at the generator's own lag. Needs a load by loadgen run --metrics.",
            "s", [query(p(0.99, "loadgen_latency_seconds"), "from due, p99"),
                  query(f"sum({rate('loopscope_blocking_seconds_total')})", "time lost to blocking"),
                  query(p(0.99, "loadgen_service_seconds"), "from sent, p99"),
                  query(p(0.5, "loadgen_latency_seconds"), "from due, p50")],
            24, 9, thresholds=DELAY, right=("B", "percentunit"))
    b.lines("Session delay", "How long a session that has something to do waits for a worker: the server's own part of the latency above.",
            "s", [query(p(0.99, "loopscope_task_schedule_delay_seconds", ["task"], f'task="session", {M}'), "delay of {{task}}, p99")],
            8, thresholds=DELAY)
    b.lines("Commands", "Lines received each second, by command.",
            "ops", [query(f"sum by (command) ({rate('chat_messages_in_total')}) > 0", "{{command}}")], 8, stack=True)
    b.lines("Bytes", "Bytes each second, from and to clients.",
            "Bps", [query(f"sum({rate('chat_bytes_in_total')})", "in"), query(f"sum({rate('chat_bytes_out_total')})", "out")], 8)
    b.row("Phases")
    b.lines("Planned and sent", "Commands each second: what the plan asks for, what was due, and what the generator sent. The last two apart: the generator is late, and its run is no verdict on the server.",
            "ops", [query(f"sum(loadgen_target_rate{{{M}}})", "plan"),
                    query(f"sum({rate('loadgen_commands_planned_total')})", "due"),
                    query(f"sum({rate('loadgen_commands_sent_total')})", "sent")], 8)
    b.lines("Deliveries not yet there", "What was sent and has not been received by everybody who should. It grows while the server does not keep up.",
            "none", [query(f"sum(loadgen_deliveries_outstanding{{{M}}})", "outstanding")], 8)
    b.lines("Faults that clients see", "Deliveries above the tightest objective, twice or out of order, and failed connections, each second.",
            "ops", [query(f"sum({rate('loadgen_deliveries_late_total')})", "late"),
                    query(f"sum({rate('loadgen_duplicates_total')})", "twice"),
                    query(f"sum({rate('loadgen_out_of_order_total')})", "out of order"),
                    query(f"sum by (kind) ({rate('loadgen_failures_total')})", "failed: {{kind}}")], 8)
    b.lines("Connections", "Clients connected: the ramp, the plateau and the drain of a load test show here.",
            "none", [query(f"sum by (instance) (chat_connections{{{M}}})", "{{instance}}")], 12)
    b.lines("Turned away and dropped", "Connections refused, clients dropped because they read too slowly, and log entries dropped because the log was behind.",
            "ops", [query(f"sum by (reason) ({rate('chat_rejected_total')})", "refused: {{reason}}"),
                    query(f"sum({rate('chat_slow_readers_dropped_total')})", "slow readers"),
                    query(f"sum({rate('chat_history_dropped_total')})", "log entries")], 12)
    b.annotations.append(phases())
    return b


def phases():
    """Returns an annotation for each time span with a constant rate of load."""
    steady = f"loadgen_target_rate{{{M}}} unless changes(loadgen_target_rate{{{M}}}[30s]) > 0"
    return annotation("Load phases", f'count_values by (instance) ("rate", {steady})', "blue", "instance", "{{instance}}",
                      "load of {{rate}}/s")
