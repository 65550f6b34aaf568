//! How long the connections took until they were ready, on a terminal.

use super::timing::timing;
use super::units::{count, counted};
use crate::report::document::{Report, Storms};

/// Returns rows of a name and a text each.
pub(super) fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let logins = &report.load.logins;
    let mut rows = Vec::new();
    if let Some(ready) = &logins.ready {
        rows.push(("login", timing(ready)));
    }
    if let Some(handshake) = &logins.tls_handshake {
        rows.push(("TLS handshake", timing(handshake)));
    }
    if let Some(storms) = &logins.storms {
        rows.push(("storms", storm_counts(storms)));
        if let Some(latency) = &storms.latency {
            rows.push(("  login", timing(latency)));
        }
        if let Some(lag) = &storms.start_lag {
            rows.push(("  start lag", timing(lag)));
        }
    }
    rows
}

fn storm_counts(storms: &Storms) -> String {
    let mut text = format!(
        "{}, each of {}; {} of {} logins ready",
        count(storms.storms),
        counted(storms.clients, "connection"),
        count(storms.ready),
        count(storms.due),
    );
    for (number, what) in [(storms.failed, "failed"), (storms.unfinished, "not over at the end")] {
        if number > 0 {
            text += &format!(", {} {what}", count(number));
        }
    }
    text
}
