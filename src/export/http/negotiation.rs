//! Content negotiation: which encoding and which metrics format a request
//! accepts, by the quality values of RFC 9110, section 12.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use crate::export::metrics::text::TextFormat;

/// A quality value in thousandths, from 0 (not acceptable) to 1,000.
type Quality = u16;

/// The quality of what a header does not exclude and does not name.
const LOWEST_QUALITY: Quality = 1;
const HIGHEST_QUALITY: Quality = 1_000;

/// The encoding of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

/// The encodings that a request accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AcceptedEncodings {
    gzip: Quality,
    identity: Quality,
}

impl AcceptedEncodings {
    fn from_headers(headers: &HeaderMap) -> Self {
        if !headers.contains_key(header::ACCEPT_ENCODING) {
            return Self { gzip: 0, identity: HIGHEST_QUALITY };
        }
        let text = combined(headers, header::ACCEPT_ENCODING);
        let quality = |names: &[&str]| {
            let is_named = |range: &Range<'_>| names.iter().any(|name| range.name.eq_ignore_ascii_case(name));
            ranges(&text).filter(is_named).map(|range| range.quality).max()
        };
        let any = quality(&["*"]);
        Self {
            gzip: quality(&["gzip", "x-gzip"]).or(any).unwrap_or(0),
            identity: quality(&["identity"]).or(any).unwrap_or(LOWEST_QUALITY),
        }
    }

    /// Returns the best encoding for text, or `None` if the request accepts
    /// neither.
    pub(crate) fn for_text(self) -> Option<Encoding> {
        if self.gzip > 0 && self.gzip >= self.identity {
            Some(Encoding::Gzip)
        } else {
            (self.identity > 0).then_some(Encoding::Identity)
        }
    }

    /// Returns the best encoding for a document that is compressed already.
    pub(crate) fn for_compressed(self) -> Option<Encoding> {
        if self.identity > 0 { Some(Encoding::Identity) } else { self.for_text() }
    }
}

impl<S: Sync> FromRequestParts<S> for AcceptedEncodings {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

/// Selects the metrics format. A request that accepts neither gets Prometheus'
/// text format: that is more useful than an error.
pub(crate) fn metrics_format(headers: &HeaderMap) -> TextFormat {
    let text = combined(headers, header::ACCEPT);
    let openmetrics = acceptance(&text, "application/openmetrics-text", &["1.0.0", "0.0.1"]);
    let prometheus = acceptance(&text, "text/plain", &["0.0.4"]);
    let is_better = openmetrics.quality > prometheus.quality;
    let is_equal = openmetrics.quality == prometheus.quality && openmetrics.quality > 0;
    // A wildcard alone does not request OpenMetrics.
    if is_better || (is_equal && openmetrics.specificity > Specificity::AnySubtype) {
        TextFormat::OpenMetrics
    } else {
        TextFormat::Prometheus
    }
}

/// How exactly a media range names a type. The most specific range that matches
/// a type decides on its quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    AnyType,
    AnySubtype,
    Type,
    TypeAndVersion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Acceptance {
    specificity: Specificity,
    quality: Quality,
}

/// Returns how far the header `accept` accepts a media type in one of its
/// versions.
fn acceptance(accept: &str, media_type: &str, versions: &[&str]) -> Acceptance {
    let any_subtype = media_type.split_once('/').map_or("", |(main_type, _)| main_type);
    let specificity = |range: &Range<'_>| match range.name.split_once('/')? {
        ("*", "*") => Some(Specificity::AnyType),
        (main_type, "*") if main_type.eq_ignore_ascii_case(any_subtype) => Some(Specificity::AnySubtype),
        _ if !range.name.eq_ignore_ascii_case(media_type) => None,
        _ => match range.version {
            None => Some(Specificity::Type),
            Some(version) => versions.contains(&version).then_some(Specificity::TypeAndVersion),
        },
    };
    ranges(accept)
        .filter_map(|range| Some(Acceptance { specificity: specificity(&range)?, quality: range.quality }))
        .max()
        .unwrap_or(Acceptance { specificity: Specificity::AnyType, quality: 0 })
}

/// One element of an `Accept` or `Accept-Encoding` header.
struct Range<'h> {
    name: &'h str,
    version: Option<&'h str>,
    quality: Quality,
}

/// Returns the valid elements of a header.
fn ranges(header: &str) -> impl Iterator<Item = Range<'_>> {
    split_outside_quotes(header, ',').filter_map(|element| {
        let mut parts = split_outside_quotes(element, ';').map(str::trim);
        let mut range = Range { name: parts.next()?, version: None, quality: HIGHEST_QUALITY };
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
            } else if name.trim().eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        Some(range)
    })
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
}

/// Parses a quality value: 0 to 1 with at most three decimal places.
fn quality(text: &str) -> Option<Quality> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(HIGHEST_QUALITY),
        _ => None,
    }
}

/// Returns the values of all headers with this name as one.
fn combined(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let value = |value: &&str| (name.clone(), HeaderValue::from_str(value).unwrap());
        values.iter().map(value).collect()
    }

    #[test]
    fn the_encoding_with_the_highest_quality_is_chosen() {
        use Encoding::{Gzip, Identity};
        for (accept, expected) in [
            ("", Some(Identity)),
            ("gzip", Some(Gzip)),
            ("GZip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Gzip)),
            ("br, deflate", Some(Identity)),
            ("*", Some(Gzip)),
            ("gzip;q=0.001", Some(Gzip)),
            ("gzip;q=0", Some(Identity)),
            ("gzip;q=0.000", Some(Identity)),
            ("gzip ; Q=0 , *", Some(Identity)),
            ("gzip;q=0.5, identity", Some(Identity)),
            ("gzip;q=0.5, identity;q=0.4", Some(Gzip)),
            ("gzip;q=0.5, *;q=0.8", Some(Identity)),
            ("identity", Some(Identity)),
            ("identity;q=0", None),
            ("identity;q=0, gzip;q=0.1", Some(Gzip)),
            ("identity;q=0, *", Some(Gzip)),
            ("*;q=0", None),
            ("*;q=0, identity", Some(Identity)),
            ("gzip;q=0, *;q=0", None),
            ("gzip;q=2", Some(Identity)),
            ("gzip;q=", Some(Identity)),
        ] {
            let accepted = AcceptedEncodings::from_headers(&headers(header::ACCEPT_ENCODING, &[accept]));
            assert_eq!(accepted.for_text(), expected, "{accept}");
        }
        let accepted = AcceptedEncodings::from_headers(&HeaderMap::new());
        assert_eq!(accepted.for_text(), Some(Identity));
        let two_lines = headers(header::ACCEPT_ENCODING, &["br", "gzip"]);
        assert_eq!(AcceptedEncodings::from_headers(&two_lines).for_text(), Some(Gzip));
    }

    #[test]
    fn a_compressed_document_is_compressed_again_only_if_it_must() {
        let encoding = |accept| {
            AcceptedEncodings::from_headers(&headers(header::ACCEPT_ENCODING, &[accept])).for_compressed()
        };
        assert_eq!(encoding("gzip"), Some(Encoding::Identity));
        assert_eq!(encoding("gzip, identity;q=0"), Some(Encoding::Gzip));
        assert_eq!(encoding("*;q=0"), None);
    }

    #[test]
    fn the_metrics_format_with_the_highest_quality_is_chosen() {
        use TextFormat::{OpenMetrics, Prometheus};
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                            q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
                            escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, expected) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html", Prometheus),
            ("text/html,*/*;q=0.8", Prometheus),
            ("text/plain;version=0.0.4", Prometheus),
            (prometheus_2, OpenMetrics),
            (prometheus_3, OpenMetrics),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0", OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text; note=\"a,b;q=0\"", OpenMetrics),
            ("application/*", OpenMetrics),
            ("application/openmetrics-text; version=9.0.0", Prometheus),
            ("application/openmetrics-text; q=0", Prometheus),
            ("application/openmetrics-text;Q=0.000, text/plain;q=0", Prometheus),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.9", Prometheus),
            ("application/openmetrics-text;q=0.5,TEXT/plain;q=0.4", OpenMetrics),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.5", OpenMetrics),
            ("application/openmetrics-text;q=0.5,*/*;q=0.8", Prometheus),
            ("application/openmetrics-text,text/plain;version=1.0.0", OpenMetrics),
            ("text/*;q=0.4,application/openmetrics-text;q=0.3", Prometheus),
        ] {
            assert_eq!(metrics_format(&headers(header::ACCEPT, &[accept])), expected, "{accept}");
        }
    }
}
