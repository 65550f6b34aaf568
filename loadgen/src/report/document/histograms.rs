//! The histograms of the figures, so that reports can be merged and compared:
//! in HdrHistogram's V2 format, compressed, as Base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer};
use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

/// The longest text of a histogram that is decoded: 16 MiB.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// All distributions of a run, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histograms {
    /// From due time to receipt; lost deliveries are censored samples.
    pub(crate) latency: String,
    /// From send to receipt.
    pub(crate) service: String,
    /// From due time to send.
    pub(crate) send_lag: String,
    /// The latency again, with two significant digits, for each of 32 slices of
    /// the run.
    pub(crate) latency_slices: Vec<String>,
}

/// Encodes a histogram. The text is empty if that fails, which does not happen.
pub(crate) fn encode<T: Counter>(histogram: &Histogram<T>) -> String {
    let mut bytes = Vec::new();
    match V2DeflateSerializer::new().serialize(histogram, &mut bytes) {
        Ok(_) => STANDARD.encode(bytes),
        Err(_) => String::new(),
    }
}

/// Decodes a histogram.
///
/// # Errors
///
/// If `text` is not a histogram. The error is the reason.
pub(crate) fn decode<T: Counter>(text: &str) -> Result<Histogram<T>, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err("it is too long".to_owned());
    }
    let bytes = STANDARD.decode(text).map_err(|error| format!("it is not Base64: {error}"))?;
    let histogram = HdrDeserializer::new().deserialize(&mut &*bytes);
    histogram.map_err(|error| format!("it is not an HdrHistogram: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoded_histogram_equals_the_encoded_one() {
        let mut histogram = crate::record::histogram();
        for value in [1, 1000, 1_000_000, 3_600_000_000_000] {
            histogram.saturating_record_n(value, 3);
        }
        let text = encode(&histogram);
        assert!(text.starts_with("HISTFAAA"), "the beginning that other tools expect: {text}");
        let back: Histogram<u64> = decode(&text).expect("a histogram");
        assert_eq!((back.len(), back.value_at_quantile(0.6)), (12, histogram.value_at_quantile(0.6)));
    }

    #[test]
    fn text_that_is_not_a_histogram_is_refused() {
        for text in ["", "HISTFAAA", "no base 64!", "SGVsbG8gd29ybGQ="] {
            assert!(decode::<u64>(text).is_err(), "{text}");
        }
        assert!(decode::<u64>(&"A".repeat(MAX_TEXT_BYTES + 4)).is_err());
    }
}
