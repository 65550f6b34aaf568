//! The metrics of TLS handshakes.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeResult {
    Completed,
    /// The client and the server agree on nothing, or the client sends what is
    /// not TLS.
    Failed,
    /// The client has refused with an alert, for example because it does not
    /// trust the certificate.
    ClientAlert,
    /// The client has closed the connection.
    Closed,
    /// The client speaks without TLS.
    PlainText,
    TimedOut,
    /// Too many handshakes were in progress, in all or from one address.
    TooMany,
}

impl HandshakeResult {
    const ALL: [Self; 7] = [
        Self::Completed,
        Self::Failed,
        Self::ClientAlert,
        Self::Closed,
        Self::PlainText,
        Self::TimedOut,
        Self::TooMany,
    ];

    /// Returns the value of the label `result`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::ClientAlert => "client_alert",
            Self::Closed => "closed",
            Self::PlainText => "plain_text",
            Self::TimedOut => "timed_out",
            Self::TooMany => "too_many",
        }
    }
}

/// The counters of one server. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct HandshakeMetrics {
    by_result: [IntCounter; HandshakeResult::ALL.len()],
    durations: Histogram,
    family: IntCounterVec,
}

impl HandshakeMetrics {
    /// Creates the metrics, with these upper bounds of the buckets.
    pub(crate) fn new(buckets: &[f64]) -> Self {
        let results = Opts::new("chat_tls_handshakes_total", "TLS handshakes, by result.");
        let family = IntCounterVec::new(results, &["result"]).expect("a valid name");
        let durations = HistogramOpts::new(
            "chat_tls_handshake_duration_seconds",
            "Time from the accepted connection to the end of a completed TLS handshake.",
        );
        Self {
            by_result: HandshakeResult::ALL.map(|it| family.with_label_values(&[it.label()])),
            durations: Histogram::with_opts(durations.buckets(buckets.to_vec())).expect("valid buckets"),
            family,
        }
    }

    /// Registers the metrics in `registry`.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.family.clone()))?;
        registry.register(Box::new(self.durations.clone()))
    }

    pub(crate) fn count(&self, result: HandshakeResult) {
        self.by_result[result as usize].inc();
    }

    pub(crate) fn observe_completed(&self, time: Duration) {
        self.count(HandshakeResult::Completed);
        self.durations.observe(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_counts_under_its_own_label() {
        let (metrics, registry) = (HandshakeMetrics::new(&[0.001]), Registry::new());
        metrics.register(&registry).expect("no name twice");
        metrics.observe_completed(Duration::from_millis(2));
        metrics.count(HandshakeResult::TooMany);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        for line in [
            "chat_tls_handshakes_total{result=\"completed\"} 1",
            "chat_tls_handshakes_total{result=\"too_many\"} 1",
            "chat_tls_handshakes_total{result=\"client_alert\"} 0",
            "chat_tls_handshake_duration_seconds_bucket{le=\"0.001\"} 0",
            "chat_tls_handshake_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
