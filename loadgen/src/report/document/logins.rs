//! How long the connections took until they were ready, as plain data.

use serde::{Deserialize, Serialize};

use super::histograms::encode;
use super::timing::Timing;
use crate::record::{LoginRecorder, StormRecord};

/// The logins of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Logins {
    /// From the time at which a connection was due to the time at which it was
    /// ready, for the connections before the measurement.
    pub(crate) ready: Option<Timing>,
    /// The TLS handshakes of all connections; a handshake is a part of the
    /// login. `None` without TLS.
    pub(crate) tls_handshake: Option<Timing>,
    /// The reconnect storms (`--storm`).
    pub(crate) storms: Option<Storms>,
    /// The histograms, so that reports can be merged.
    pub(crate) histograms: LoginHistograms,
}

/// The logins after the connections of a storm were dropped.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Storms {
    /// Connections that reconnect. They are in addition to those that measure
    /// the deliveries.
    pub(crate) clients: u64,
    /// Number of storms.
    pub(crate) storms: u64,
    /// Logins that were due. One that is not over when the next storm begins
    /// goes on; then it is due again once, for the newest storm.
    pub(crate) due: u64,
    pub(crate) ready: u64,
    pub(crate) failed: u64,
    /// Logins that the end of the run interrupted.
    pub(crate) unfinished: u64,
    /// From the storm to the end of the login. A login that failed counts with
    /// at least the timeout, and one that was interrupted with at least the
    /// drain time.
    pub(crate) latency: Option<Timing>,
    /// From the storm, or the end of the login before it, to the begin of the
    /// connection: the generator's own lateness. It is a part of `latency`.
    pub(crate) start_lag: Option<Timing>,
}

/// The histograms of [`Logins`]; null without samples.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LoginHistograms {
    pub(crate) ready: Option<String>,
    pub(crate) tls_handshake: Option<String>,
    pub(crate) storm: Option<String>,
    pub(crate) storm_start_lag: Option<String>,
}

impl Logins {
    /// Returns the logins that were recorded. The run has `storm_clients`
    /// connections that reconnect.
    pub(crate) fn from_record(recorder: &LoginRecorder, storm_clients: usize) -> Self {
        let (ready, handshake) = (recorder.first(), recorder.handshake());
        let storms = recorder.storms();
        let text = |histogram| Timing::from_histogram(histogram).map(|_| encode(histogram));
        Self {
            ready: Timing::from_histogram(&ready),
            tls_handshake: Timing::from_histogram(&handshake),
            storms: (storm_clients > 0).then(|| Storms::from_record(&storms, storm_clients)),
            histograms: LoginHistograms {
                ready: text(&ready),
                tls_handshake: text(&handshake),
                storm: text(&storms.latency),
                storm_start_lag: text(&storms.start_lag),
            },
        }
    }

    /// Returns the times of the logins in storms, or without storms those of
    /// the first logins.
    pub(crate) fn judged(&self) -> Option<&Timing> {
        match &self.storms {
            Some(storms) => storms.latency.as_ref(),
            None => self.ready.as_ref(),
        }
    }
}

impl Storms {
    fn from_record(record: &StormRecord, clients: usize) -> Self {
        Self {
            clients: clients as u64,
            storms: record.storms,
            due: record.due,
            ready: record.ready,
            failed: record.failed,
            unfinished: record.unfinished,
            latency: Timing::from_histogram(&record.latency),
            start_lag: Timing::from_histogram(&record.start_lag),
        }
    }
}
