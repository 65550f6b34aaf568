//! Parses the query parameters of a request.

use std::time::{Duration, SystemTime};

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;

use crate::unix_time;

/// How far a trace reaches back if the request has no `seconds`.
const DEFAULT_TRACE_LENGTH: Duration = Duration::from_secs(60);
const MAX_TRACE_LENGTH: Duration = Duration::from_secs(86_400);

/// All parameters of a request, or the reason why they cannot be decoded.
pub(crate) type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Parses `since=SECONDS`, a Unix time. Returns `Some(None)` if there is no
/// parameter, and `None` if the parameters are invalid.
pub(crate) fn since(parameters: Parameters) -> Option<Option<SystemTime>> {
    match parameters.ok()?.0.as_slice() {
        [] => Some(None),
        [(name, value)] if name == "since" => {
            let since_epoch = Duration::try_from_secs_f64(value.parse().ok()?).ok()?;
            let nanos = u64::try_from(since_epoch.as_nanos()).ok()?;
            Some(Some(unix_time::from_nanos(nanos)))
        }
        _ => None,
    }
}

/// Parses `seconds=N`, how far a trace reaches back. Returns `None` if the
/// parameters are invalid.
pub(crate) fn trace_length(parameters: Parameters) -> Option<Duration> {
    match parameters.ok()?.0.as_slice() {
        [] => Some(DEFAULT_TRACE_LENGTH),
        [(name, value)] if name == "seconds" => {
            let length = Duration::try_from_secs_f64(value.parse().ok()?).ok()?;
            (!length.is_zero() && length <= MAX_TRACE_LENGTH).then_some(length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since_nanos(parameters: &[(&str, &str)]) -> Option<Option<u64>> {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Some(since(Ok(Query(parameters.collect())))?.map(unix_time::to_nanos))
    }

    #[test]
    fn since_is_in_seconds_of_the_unix_epoch() {
        assert_eq!(since_nanos(&[]), Some(None));
        assert_eq!(since_nanos(&[("since", "1.5")]), Some(Some(1_500_000_000)));
        assert_eq!(since_nanos(&[("since", "0")]), Some(Some(0)));
        for wrong in ["", "-1", "nan", "inf", "1e300", "yesterday", "1.5s", "18446744074"] {
            assert_eq!(since_nanos(&[("since", wrong)]), None, "{wrong}");
        }
        assert_eq!(since_nanos(&[("since", "1"), ("since", "2")]), None);
        assert_eq!(since_nanos(&[("sinec", "1")]), None);
    }
}
