//! Adds up the logins of several shards.

use hdrhistogram::Histogram;

use super::load::add_histogram;
use super::shard::Shard;
use crate::record::histogram;
use crate::report::{LoginHistograms, Logins, Storms, Timing, encode};

/// Merges the logins of all shards.
pub(super) fn merge(shards: &[Shard]) -> anyhow::Result<Logins> {
    let sum = |field: fn(&LoginHistograms) -> &Option<String>| -> anyhow::Result<Histogram<u64>> {
        let mut sum = histogram();
        for shard in shards {
            if let Some(text) = field(&shard.report.load.logins.histograms) {
                add_histogram(&mut sum, text, &shard.name)?;
            }
        }
        Ok(sum)
    };
    let ready = sum(|histograms| &histograms.ready)?;
    let tls_handshake = sum(|histograms| &histograms.tls_handshake)?;
    let storm = sum(|histograms| &histograms.storm)?;
    let storm_start_lag = sum(|histograms| &histograms.storm_start_lag)?;
    let mut storms: Option<Storms> = None;
    for more in shards.iter().filter_map(|shard| shard.report.load.logins.storms.as_ref()) {
        let storms = storms.get_or_insert_default();
        storms.clients += more.clients;
        storms.storms = storms.storms.max(more.storms);
        storms.due += more.due;
        storms.ready += more.ready;
        storms.failed += more.failed;
        storms.unfinished += more.unfinished;
        storms.latency = Timing::from_histogram(&storm);
        storms.start_lag = Timing::from_histogram(&storm_start_lag);
    }
    let text = |histogram| Timing::from_histogram(histogram).map(|_| encode(histogram));
    Ok(Logins {
        ready: Timing::from_histogram(&ready),
        tls_handshake: Timing::from_histogram(&tls_handshake),
        storms,
        histograms: LoginHistograms {
            ready: text(&ready),
            tls_handshake: text(&tls_handshake),
            storm: text(&storm),
            storm_start_lag: text(&storm_start_lag),
        },
    })
}
