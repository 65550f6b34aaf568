//! The histograms of the figures, so that reports can be merged and compared:
//! in HdrHistogram's V2 format, compressed, as Base64.

use std::borrow::Cow;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::serialization::{Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer};
use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

/// The longest text of a histogram that is decoded: 16 MiB.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// The longest histogram that is decoded, after decompression: 64 MiB. It is
/// enough for one of the highest precision in which every count is large.
const MAX_HISTOGRAM_BYTES: u64 = 64 << 20;

/// The first four bytes of a compressed histogram, which the length of the
/// compressed data and the data follow.
const COMPRESSED_COOKIE: [u8; 4] = 0x1c84_9314_u32.to_be_bytes();

/// The first four bytes of a histogram that is not compressed.
const PLAIN_COOKIE: [u8; 4] = 0x1c84_9313_u32.to_be_bytes();

/// The bytes of a histogram before its counts. Bytes 4 to 8 of it are the
/// length of the counts.
const HEADER_BYTES: usize = 40;

/// A count that the deserialiser cannot negate: it overflows.
const UNREADABLE_COUNT: [u8; 9] = [0xff; 9];

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
    let plain = decompress(&bytes, MAX_HISTOGRAM_BYTES)?;
    check_counts(&plain)?;
    let histogram = HdrDeserializer::new().deserialize(&mut &*plain);
    histogram.map_err(|error| format!("it is not an HdrHistogram: {error}"))
}

/// Returns the histogram without compression. It may have `max_bytes`.
fn decompress(bytes: &[u8], max_bytes: u64) -> Result<Cow<'_, [u8]>, String> {
    let Some(compressed) = bytes.strip_prefix(&COMPRESSED_COOKIE) else { return Ok(bytes.into()) };
    let data = compressed.get(4..).unwrap_or_default();
    let mut plain = Vec::new();
    ZlibDecoder::new(data)
        .take(max_bytes + 1)
        .read_to_end(&mut plain)
        .map_err(|error| format!("it is not an HdrHistogram: {error}"))?;
    if plain.len() as u64 > max_bytes {
        return Err("it is too long".to_owned());
    }
    Ok(plain.into())
}

/// Checks what the deserialiser does not: it allocates the length of the counts
/// before it reads them. It would also decompress a histogram that was
/// compressed twice.
fn check_counts(plain: &[u8]) -> Result<(), String> {
    if !plain.starts_with(&PLAIN_COOKIE) {
        return Err("it is not an HdrHistogram of version 2".to_owned());
    }
    let Some((header, counts)) = plain.split_at_checked(HEADER_BYTES) else {
        return Err("it is not an HdrHistogram: its header is incomplete".to_owned());
    };
    let length = header[4..8].iter().fold(0, |length, &byte| (length << 8) | u64::from(byte));
    if length > counts.len() as u64 {
        return Err(format!("it has {} bytes of counts instead of {length}", counts.len()));
    }
    if counts.windows(UNREADABLE_COUNT.len()).any(|bytes| bytes == UNREADABLE_COUNT) {
        return Err("one of its counts is too large".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::ZlibEncoder;

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

    /// Returns the text of a histogram with one significant digit, with this
    /// length of its counts in the header, and these counts.
    fn text(length: u32, counts: &[u8], is_compressed: bool) -> String {
        let mut plain = PLAIN_COOKIE.to_vec();
        for word in [length, 0, 1, 0, 1, 0, 1000] {
            plain.extend(word.to_be_bytes());
        }
        plain.extend(1.0_f64.to_be_bytes());
        plain.extend(counts);
        STANDARD.encode(if is_compressed { compress(&plain) } else { plain })
    }

    fn compress(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(plain, Compression::best());
        let mut data = Vec::new();
        encoder.read_to_end(&mut data).expect("compressed");
        let length = u32::try_from(data.len()).expect("short");
        [&COMPRESSED_COOKIE[..], &length.to_be_bytes(), &data].concat()
    }

    #[test]
    fn a_histogram_that_is_compressed_twice_is_refused() {
        let once = STANDARD.decode(text(u32::MAX, &[0, 4, 2], true)).expect("Base64");
        // Long enough for a header.
        let twice = compress(&[&once[..], &[0; HEADER_BYTES]].concat());
        let error = decode::<u64>(&STANDARD.encode(twice)).expect_err("compressed twice");
        assert_eq!(error, "it is not an HdrHistogram of version 2");
    }

    #[test]
    fn a_histogram_that_announces_more_bytes_than_it_has_is_refused() {
        for is_compressed in [false, true] {
            let whole: Histogram<u64> = decode(&text(3, &[0, 4, 2], is_compressed)).expect("a histogram");
            assert_eq!(whole.len(), 3);
            for length in [4, u32::MAX] {
                let error = decode::<u64>(&text(length, &[0, 4, 2], is_compressed)).expect_err("too short");
                assert_eq!(error, format!("it has 3 bytes of counts instead of {length}"));
            }
            let error = decode::<u64>(&text(12, &[0xff; 12], is_compressed)).expect_err("an overflow");
            assert_eq!(error, "one of its counts is too large");
        }
    }

    #[test]
    fn a_histogram_that_is_too_long_after_decompression_is_refused() {
        let bytes = STANDARD.decode(text(1000, &[0; 1000], true)).expect("Base64");
        assert!(bytes.len() < 100, "it is short before decompression");
        assert_eq!(decompress(&bytes, 1040).expect("allowed").len(), 1040);
        assert_eq!(decompress(&bytes, 1039).expect_err("too long"), "it is too long");
    }
}
