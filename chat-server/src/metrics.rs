//! The server's own metrics, `chat_*`. `/metrics` shows them together with
//! those of loopscope.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::handshake_metrics::HandshakeMetrics;
use crate::irc::command::Command;

/// The upper bounds of the buckets: the same as in loopscope's histograms.
const DURATION_BUCKETS_SECONDS: [f64; 19] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Why the server refused or ended a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rejection {
    /// The number of connections has reached `--max-connections`.
    ServerFull,
    /// The client did not register or answer a PING in time.
    Timeout,
    /// The client sent no PASS or a wrong one.
    Password,
    /// The client speaks another protocol.
    Protocol,
    /// The client has not logged in, as `--sasl required` wants.
    Account,
}

/// How an AUTHENTICATE ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LoginResult {
    Accepted,
    WrongPassword,
    UnknownAccount,
    /// The message was not one of PLAIN.
    Malformed,
    /// The client has ended it.
    Aborted,
}

/// How a REGISTER ended, if its parameters were valid.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RegistrationResult {
    Created,
    /// The name is taken.
    Exists,
    /// The address has registered too many accounts.
    Limited,
    /// The disk refused the account, or the store is full.
    Failed,
}

/// The counters of one server. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    connections: IntGauge,
    queue_bytes: IntGauge,
    /// One counter per command, looked up once: a look-up by label takes a
    /// lock.
    messages_in: Vec<IntCounter>,
    /// One histogram per command.
    durations: Vec<Histogram>,
    messages_out: IntCounter,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    slow_readers: IntCounter,
    history_dropped: IntCounter,
    rejected: [IntCounter; 5],
    handshakes: HandshakeMetrics,
    logins: [IntCounter; 5],
    registrations: [IntCounter; 4],
    families: Vec<Family>,
}

#[derive(Debug, Clone)]
enum Family {
    Plain(IntCounter),
    Labelled(IntCounterVec),
    Timed(HistogramVec),
    Gauge(IntGauge),
}

impl Default for Metrics {
    fn default() -> Self {
        let counter = |name, help| IntCounter::new(name, help).expect("a valid name");
        let labelled =
            |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]).expect("a valid name");
        let connections = IntGauge::new("chat_connections", "Open connections.").expect("a valid name");
        let queue_bytes = IntGauge::new("chat_send_queue_bytes", "Bytes queued for clients.");
        let queue_bytes = queue_bytes.expect("a valid name");
        let by_command = labelled("chat_messages_in_total", "Lines received, by command.", "command");
        let durations = HistogramOpts::new(
            "chat_command_duration_seconds",
            "Time from the arrival of a line until the hub has handled it, by command.",
        );
        let durations = HistogramVec::new(durations.buckets(DURATION_BUCKETS_SECONDS.to_vec()), &["command"])
            .expect("valid buckets");
        let by_reason = labelled("chat_rejected_total", "Connections refused or ended, by reason.", "reason");
        let logins = labelled("chat_logins_total", "Logins to accounts, by result.", "result");
        let registrations =
            labelled("chat_account_registrations_total", "Registrations of accounts, by result.", "result");
        let messages_out = counter("chat_messages_out_total", "Messages queued for clients.");
        let bytes_in = counter("chat_bytes_in_total", "Bytes received from clients.");
        let bytes_out = counter("chat_bytes_out_total", "Bytes written to clients.");
        let slow_readers =
            counter("chat_slow_readers_dropped_total", "Clients disconnected because their queue was full.");
        let history_dropped = counter(
            "chat_history_dropped_total",
            "Messages missing from the history because its queue was full or a commit failed.",
        );
        let counters = [&messages_out, &bytes_in, &bytes_out, &slow_readers, &history_dropped];
        let mut families: Vec<_> = counters.into_iter().cloned().map(Family::Plain).collect();
        families.extend(
            [&by_command, &by_reason, &logins, &registrations].map(|it| Family::Labelled(it.clone())),
        );
        families.extend([&connections, &queue_bytes].map(|it| Family::Gauge(it.clone())));
        families.push(Family::Timed(durations.clone()));
        Self {
            durations: Command::ALL.iter().map(|it| durations.with_label_values(&[it.name()])).collect(),
            connections,
            queue_bytes,
            messages_in: Command::ALL.iter().map(|it| by_command.with_label_values(&[it.name()])).collect(),
            messages_out,
            bytes_in,
            bytes_out,
            slow_readers,
            history_dropped,
            rejected: ["server_full", "timeout", "password", "protocol", "account"]
                .map(|it| by_reason.with_label_values(&[it])),
            handshakes: HandshakeMetrics::new(&DURATION_BUCKETS_SECONDS),
            logins: ["accepted", "wrong_password", "unknown_account", "malformed", "aborted"]
                .map(|it| logins.with_label_values(&[it])),
            registrations: ["created", "exists", "limited", "failed"]
                .map(|it| registrations.with_label_values(&[it])),
            families,
        }
    }
}

impl Metrics {
    /// Registers all metrics in `registry`.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        self.handshakes.register(registry)?;
        self.families.iter().cloned().try_for_each(|family| match family {
            Family::Plain(counter) => registry.register(Box::new(counter)),
            Family::Labelled(counters) => registry.register(Box::new(counters)),
            Family::Timed(histograms) => registry.register(Box::new(histograms)),
            Family::Gauge(gauge) => registry.register(Box::new(gauge)),
        })
    }

    pub(crate) fn handshakes(&self) -> &HandshakeMetrics {
        &self.handshakes
    }

    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    pub(crate) fn disconnected(&self) {
        self.connections.dec();
    }

    pub(crate) fn count_received(&self, command: Command) {
        self.messages_in[command as usize].inc();
    }

    pub(crate) fn observe_duration(&self, command: Command, time: Duration) {
        self.durations[command as usize].observe(time.as_secs_f64());
    }

    pub(crate) fn count_bytes_in(&self, bytes: usize) {
        self.bytes_in.inc_by(bytes as u64);
    }

    pub(crate) fn count_messages_out(&self, message_count: u64) {
        self.messages_out.inc_by(message_count);
    }

    pub(crate) fn count_bytes_out(&self, bytes: usize) {
        self.bytes_out.inc_by(bytes as u64);
    }

    /// Records that a queue has grown by `bytes`.
    pub(crate) fn queue_grew(&self, bytes: usize) {
        self.queue_bytes.add(bytes as i64);
    }

    /// Records that `bytes` of a queue were written or dropped.
    pub(crate) fn queue_shrank(&self, bytes: usize) {
        self.queue_bytes.sub(bytes as i64);
    }

    #[cfg(test)]
    pub(crate) fn queue_bytes(&self) -> i64 {
        self.queue_bytes.get()
    }

    pub(crate) fn count_slow_reader(&self) {
        self.slow_readers.inc();
    }

    pub(crate) fn count_history_dropped(&self, line_count: u64) {
        self.history_dropped.inc_by(line_count);
    }

    pub(crate) fn count_login(&self, result: LoginResult) {
        self.logins[result as usize].inc();
    }

    pub(crate) fn count_registration(&self, result: RegistrationResult) {
        self.registrations[result as usize].inc();
    }

    pub(crate) fn count_rejected(&self, reason: Rejection) {
        self.rejected[reason as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_metrics_are_exported_with_their_values() {
        let (metrics, registry) = (Metrics::default(), Registry::new());
        metrics.register(&registry).expect("no name twice");
        metrics.count_received(Command::Join);
        metrics.count_rejected(Rejection::Password);
        metrics.count_slow_reader();
        metrics.count_login(LoginResult::Aborted);
        metrics.count_registration(RegistrationResult::Failed);
        metrics.observe_duration(Command::Join, Duration::from_micros(20));
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        for line in [
            "chat_messages_in_total{command=\"JOIN\"} 1",
            "chat_rejected_total{reason=\"password\"} 1",
            "chat_slow_readers_dropped_total 1",
            "chat_logins_total{result=\"aborted\"} 1",
            "chat_account_registrations_total{result=\"failed\"} 1",
            "chat_command_duration_seconds_bucket{command=\"JOIN\",le=\"0.00001\"} 0",
            "chat_command_duration_seconds_bucket{command=\"JOIN\",le=\"0.000025\"} 1",
            "chat_connections 0",
            "chat_send_queue_bytes 0",
            "chat_messages_out_total 0",
            "chat_bytes_in_total 0",
            "chat_bytes_out_total 0",
            "chat_history_dropped_total 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn the_document_names_exactly_the_exported_metrics() {
        let (metrics, registry) = (Metrics::default(), Registry::new());
        metrics.register(&registry).expect("no name twice");
        let shown: BTreeSet<String> =
            registry.gather().iter().map(|family| family.name().to_owned()).collect();
        let document = include_str!("../../docs/chat-server.md");
        let named = document.split('`').filter(|word| word.starts_with("chat_")).map(str::to_owned).collect();
        assert_eq!(shown, named);
    }
}
