"""The chat server under load: its traffic and the effect of stalls."""

from panels import DELAY_LIMITS, M, Board, annotation, p, query, rate, steps


def board():
    b = Board("chat", "chat and load", "The chat server under load: traffic, latency and stalls on one axis, and rejected clients.", runtime=False)
    b.row("Load")
    b.stat("Connections", "Clients connected now.", "none", f"sum(chat_connections{{{M}}})", steps("green"), 6)
    b.stat("Messages in", "Lines received per second, all commands.", "mps", f"sum({rate('chat_messages_in_total')})", steps("green"), 6, 1)
    b.stat("Messages out", "Messages queued for clients per second.", "mps", f"sum({rate('chat_messages_out_total')})", steps("green"), 6, 1)
    b.stat("Fan-out", "Messages out per message in. It grows with the size of the channels.", "none",
           f"sum({rate('chat_messages_out_total')}) / sum({rate('chat_messages_in_total')})", steps("green"), 6, 1)
    b.row("Latency and stalls")
    b.lines("Client latency and stalls", "Latency of the clients (lines, left axis), measured from the time at which a message was due, and from the time at which it was sent; and the time that the server lost to blocking (bars, right axis). If both rise together, the stalls cause the latency. If only the latency rises, check the load and the generator's own lag. Needs a load by loadgen run --metrics.",
            "s", [query(p(0.99, "loadgen_latency_seconds"), "from due, p99"),
                  query(f"sum({rate('loopscope_blocking_seconds_total')})", "time lost to blocking"),
                  query(p(0.99, "loadgen_service_seconds"), "from sent, p99"),
                  query(p(0.5, "loadgen_latency_seconds"), "from due, p50")],
            24, 9, thresholds=DELAY_LIMITS, right=("B", "percentunit"))
    b.lines("Session delay", "Time that a ready session waits for a worker. This is the server's own part of the latency above.",
            "s", [query(p(0.99, "loopscope_task_schedule_delay_seconds", ["task"], f'task="session", {M}'), "delay of {{task}}, p99")],
            8, thresholds=DELAY_LIMITS)
    b.lines("Commands", "Lines received per second, by command.",
            "mps", [query(f"sum by (command) ({rate('chat_messages_in_total')}) > 0", "{{command}}")], 8, stack=True)
    b.lines("Bytes", "Bytes per second, from and to clients.",
            "Bps", [query(f"sum({rate('chat_bytes_in_total')})", "in"), query(f"sum({rate('chat_bytes_out_total')})", "out")], 8)
    b.row("Phases")
    b.lines("Planned and sent", "Commands per second: planned, due, and sent by the generator. If the last two differ, the generator is late, and its run says nothing about the server.",
            "mps", [query(f"sum(loadgen_target_rate{{{M}}})", "plan"),
                    query(f"sum({rate('loadgen_commands_planned_total')})", "due"),
                    query(f"sum({rate('loadgen_commands_sent_total')})", "sent")], 8)
    b.lines("Outstanding deliveries", "Deliveries that were sent but not received yet. The number grows while the server does not keep up.",
            "none", [query(f"sum(loadgen_deliveries_outstanding{{{M}}})", "outstanding")], 8)
    b.lines("Faults seen by clients", "Deliveries that exceeded the tightest objective, arrived twice or out of order, and failed connections, per second.",
            "eps", [query(f"sum({rate('loadgen_deliveries_late_total')})", "late"),
                    query(f"sum({rate('loadgen_duplicates_total')})", "twice"),
                    query(f"sum({rate('loadgen_out_of_order_total')})", "out of order"),
                    query(f"sum by (kind) ({rate('loadgen_failures_total')})", "failed: {{kind}}")], 8)
    b.lines("Connections", "Connected clients. This shows the ramp, the plateau and the drain of a load test.",
            "none", [query(f"sum by (instance) (chat_connections{{{M}}})", "{{instance}}")], 12)
    b.lines("Rejected and dropped", "Rejected connections, clients disconnected because they read too slowly, and history lines dropped because the disk was too slow.",
            "eps", [query(f"sum by (reason) ({rate('chat_rejected_total')})", "rejected: {{reason}}"),
                    query(f"sum({rate('chat_slow_readers_dropped_total')})", "slow readers"),
                    query(f"sum({rate('chat_history_dropped_total')})", "history lines")], 12)
    b.annotations.append(phases())
    return b


def phases():
    """Returns an annotation for each time span with a constant rate of load."""
    steady = f"loadgen_target_rate{{{M}}} unless changes(loadgen_target_rate{{{M}}}[30s]) > 0"
    return annotation("Load phases", f'count_values by (instance) ("rate", {steady})', "blue", "instance", "{{instance}}",
                      "load of {{rate}}/s")
