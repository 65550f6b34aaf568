//! The id of a finding: the same for the same cause and site in every run.

use crate::finding::{Cause, Site};

/// Returns the id for a cause and a site, or for a cause and the called
/// function where no site is known. For a computation the line is left out,
/// because each capture shows another line of the same loop.
pub(super) fn finding_id(cause: Cause, site: Option<&Site>, primitive: Option<&str>) -> String {
    let (place, line) = match site {
        Some(site) => (site.function.as_str(), site.line.filter(|_| !cause.is_computation())),
        None => (primitive.unwrap_or("?"), None),
    };
    let text = format!("{cause}|{place}|{}", line.unwrap_or(0));
    format!("{:016x}", fnv1a(text.as_bytes()))
}

/// FNV-1a: short, and the same in every version. The standard library does not
/// promise that for its hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
