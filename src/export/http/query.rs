//! Parses the query parameters of a request.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;

use crate::export::http::polls::PollsRange;
use crate::export::http::response::Failure;
use crate::finding::{Cause, FindingsDocument};
use crate::unix_time;

/// How far a trace reaches back if the request has no `seconds`.
const DEFAULT_TRACE_LENGTH: Duration = Duration::from_secs(60);
const MAX_TRACE_LENGTH: Duration = Duration::from_secs(86_400);

const REPEATED: Failure = Failure::bad_request("A parameter may occur only once.");

const INVALID_SINCE: Failure = Failure::bad_request(
    "The parameter since must be a Unix time such as 1700000000.5, or a time such as 2026-11-26T22:05:00Z.",
);

const INVALID_CAUSE: Failure = Failure::bad_request(
    "The parameter cause must be one of cpu, sleep, file, network, dns, lock, channel, child, uninterruptible, \
     other, hog and unyielding.",
);

const INVALID_LIMIT: Failure =
    Failure::bad_request("The parameter limit must be a number of findings, at least 1.");

const INVALID_COLOR: Failure =
    Failure::bad_request("The parameter color must be true or false: whether the text has ANSI colours.");

const INVALID_SECONDS: Failure = Failure::bad_request(
    "The parameter seconds must be how far the trace reaches back: more than 0 and at most 86400.",
);

const INVALID_RANGE: Failure = Failure::bad_request(
    "The parameters from and to must be Unix times such as 1700000000.5, or times such as 2026-11-26T22:05:00Z, and \
     from must be before to.",
);

const INVALID_COLUMNS: Failure = Failure::bad_request(
    "The parameter columns must be into how many parts the range is divided: at least 1 and at most 2000.",
);

const MAX_COLUMNS: usize = 2_000;

/// All parameters of a request, or the reason why they cannot be decoded.
pub(crate) type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Which findings a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FindingsFilter {
    cause: Option<Cause>,
    since: Option<SystemTime>,
    limit: Option<usize>,
}

impl FindingsFilter {
    fn new([cause, since, limit]: [Option<String>; 3]) -> Result<Self, Failure> {
        Ok(Self {
            cause: cause.map(|name| parse_cause(&name).ok_or(INVALID_CAUSE)).transpose()?,
            since: since.map(|time| parse_time(&time).ok_or(INVALID_SINCE)).transpose()?,
            limit: limit
                .map(|limit| limit.parse().ok().filter(|limit| *limit > 0).ok_or(INVALID_LIMIT))
                .transpose()?,
        })
    }

    /// Removes the findings that the request does not ask for. The other fields
    /// remain those of the whole process.
    pub(crate) fn apply(&self, mut document: FindingsDocument) -> FindingsDocument {
        document.findings.retain(|finding| {
            self.cause.is_none_or(|cause| finding.cause == cause)
                && self.since.is_none_or(|since| finding.ongoing.is_some() || finding.last_seen >= since)
        });
        document.findings.truncate(self.limit.unwrap_or(usize::MAX));
        document
    }
}

/// Parses the parameters that select findings.
pub(crate) fn findings(parameters: Parameters) -> Result<FindingsFilter, Failure> {
    const UNKNOWN: Failure = Failure::bad_request("The valid parameters are cause, since and limit.");
    FindingsFilter::new(values(parameters, ["cause", "since", "limit"], UNKNOWN)?)
}

/// Parses the parameters of findings as text. The second value is whether the
/// text has ANSI colours.
pub(crate) fn findings_text(parameters: Parameters) -> Result<(FindingsFilter, bool), Failure> {
    const UNKNOWN: Failure = Failure::bad_request("The valid parameters are cause, since, limit and color.");
    let [cause, since, limit, color] = values(parameters, ["cause", "since", "limit", "color"], UNKNOWN)?;
    Ok((FindingsFilter::new([cause, since, limit])?, parse_color(color)?))
}

/// Parses `color=BOOL`, whether a text has ANSI colours.
pub(crate) fn color(parameters: Parameters) -> Result<bool, Failure> {
    const UNKNOWN: Failure = Failure::bad_request(
        "The only valid parameter is color=true or color=false: whether the text has ANSI colours.",
    );
    let [color] = values(parameters, ["color"], UNKNOWN)?;
    parse_color(color)
}

/// Parses `since=TIME`.
pub(crate) fn since(parameters: Parameters) -> Result<Option<SystemTime>, Failure> {
    const UNKNOWN: Failure = Failure::bad_request(
        "The only valid parameter is since=TIME, a Unix time such as 1700000000.5, or a time such as \
         2026-11-26T22:05:00Z.",
    );
    let [since] = values(parameters, ["since"], UNKNOWN)?;
    since.map(|time| parse_time(&time).ok_or(INVALID_SINCE)).transpose()
}

/// Parses `tree`, whether all tasks are wanted with what they await.
pub(crate) fn tree(parameters: Parameters) -> Result<bool, Failure> {
    const UNKNOWN: Failure =
        Failure::bad_request("The only valid parameter is tree: all tasks with what each of them awaits.");
    let [tree] = values(parameters, ["tree"], UNKNOWN)?;
    match tree.as_deref() {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(_) => Err(UNKNOWN),
    }
}

/// Parses `seconds=N`, how far a trace reaches back.
pub(crate) fn trace_length(parameters: Parameters) -> Result<Duration, Failure> {
    const UNKNOWN: Failure = Failure::bad_request(
        "The only valid parameter is seconds=N, how far the trace reaches back: more than 0 and at most 86400.",
    );
    let [seconds] = values(parameters, ["seconds"], UNKNOWN)?;
    let Some(seconds) = seconds else { return Ok(DEFAULT_TRACE_LENGTH) };
    let length = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    length.filter(|length| !length.is_zero() && *length <= MAX_TRACE_LENGTH).ok_or(INVALID_SECONDS)
}

/// Parses `from=TIME`, `to=TIME` and `columns=N`, a range of recorded polls.
pub(crate) fn polls_range(parameters: Parameters) -> Result<PollsRange, Failure> {
    const UNKNOWN: Failure = Failure::bad_request("The valid parameters are from, to and columns.");
    let [from, to, columns] = values(parameters, ["from", "to", "columns"], UNKNOWN)?;
    let parse = |time: Option<String>| time.map(|time| parse_time(&time).ok_or(INVALID_RANGE)).transpose();
    let (from, to) = (parse(from)?, parse(to)?);
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(INVALID_RANGE);
    }
    let is_valid = |columns: &NonZeroUsize| columns.get() <= MAX_COLUMNS;
    let parse_columns = |text: String| text.parse().ok().filter(is_valid).ok_or(INVALID_COLUMNS);
    Ok(PollsRange { from, to, columns: columns.map(parse_columns).transpose()? })
}

/// Returns the values of the parameters with these names. Fails with `unknown`
/// if there is another one, or if they cannot be decoded.
fn values<const N: usize>(
    parameters: Parameters,
    names: [&str; N],
    unknown: Failure,
) -> Result<[Option<String>; N], Failure> {
    let mut values = [const { None }; N];
    let Ok(Query(parameters)) = parameters else { return Err(unknown) };
    for (name, value) in parameters {
        let Some(index) = names.iter().position(|known| *known == name) else { return Err(unknown) };
        if values[index].replace(value).is_some() {
            return Err(REPEATED);
        }
    }
    Ok(values)
}

fn parse_cause(name: &str) -> Option<Cause> {
    Cause::ALL.iter().copied().find(|cause| cause.as_str() == name)
}

fn parse_color(color: Option<String>) -> Result<bool, Failure> {
    color.map_or(Ok(false), |color| color.parse().map_err(|_| INVALID_COLOR))
}

/// Parses a Unix time in seconds, or a time of RFC 3339.
fn parse_time(text: &str) -> Option<SystemTime> {
    let time = match text.parse() {
        Ok(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?,
        Err(_) => parse_rfc3339(text)?,
    };
    // Later times cannot be expressed in nanoseconds of the epoch.
    u64::try_from(unix_time::since_epoch(time).as_nanos()).ok()?;
    Some(time)
}

/// Parses a time of RFC 3339 with any offset. A `+` that the client has not
/// encoded arrives as a space.
fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    if let Some(utc) = text.strip_suffix(['Z', 'z']) {
        return humantime::parse_rfc3339(&format!("{}Z", utc.replacen('t', "T", 1))).ok();
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let is_number = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hours) || !is_number(minutes) {
        return None;
    }
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let offset_time = Duration::from_secs(hours * 3_600 + minutes * 60);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let local = parse_rfc3339(&format!("{local}Z"))?;
    match offset.chars().next()? {
        '+' | ' ' => local.checked_sub(offset_time),
        '-' => local.checked_add(offset_time),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(Query(pairs.collect()))
    }

    fn since_nanos(pairs: &[(&str, &str)]) -> Option<Option<u64>> {
        Some(since(parameters(pairs)).ok()?.map(unix_time::to_nanos))
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

    #[test]
    fn since_may_be_a_time_of_rfc_3339() {
        let noon = 1_700_049_600 * 1_000_000_000;
        for text in [
            "2023-11-15T12:00:00Z",
            "2023-11-15t12:00:00z",
            "2023-11-15T12:00:00.000Z",
            "2023-11-15T12:00:00+00:00",
            "2023-11-15T14:30:00+02:30",
            "2023-11-15T14:30:00 02:30",
            "2023-11-15T04:00:00-08:00",
        ] {
            assert_eq!(since_nanos(&[("since", text)]), Some(Some(noon)), "{text}");
        }
        for wrong in [
            "2023-11-15",
            "2023-11-15T12:00:00",
            "2023-13-15T12:00:00Z",
            "2023-11-15T12:00:00+24:00",
            "2023-11-15T12:00:00+1:00",
            "2023-11-15T12:00:00*02:00",
            "2023-11-15T12:00:00+é:0",
            "2999-11-15T12:00:00Z",
            "éééééééééééé",
            "1969-12-31T23:00:00Z",
        ] {
            assert_eq!(since_nanos(&[("since", wrong)]), None, "{wrong}");
        }
    }

    #[test]
    fn a_range_of_polls_has_an_order_and_a_limit() {
        let parse = |pairs: &[(&str, &str)]| polls_range(parameters(pairs)).ok();
        assert_eq!(parse(&[]), Some(PollsRange { from: None, to: None, columns: None }));
        let range = parse(&[("from", "1"), ("to", "2.5"), ("columns", "2000")]).unwrap();
        assert_eq!(
            range.from.zip(range.to).map(|(from, to)| to.duration_since(from).unwrap().as_millis()),
            Some(1_500)
        );
        assert_eq!(range.columns, NonZeroUsize::new(2_000));
        for wrong in [
            &[("from", "2"), ("to", "1")][..],
            &[("from", "2"), ("to", "2")],
            &[("from", "x")],
            &[("to", "nan")],
            &[("columns", "0")],
            &[("columns", "2001")],
            &[("since", "1")],
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    fn filtered(pairs: &[(&str, &str)], document: FindingsDocument) -> Vec<String> {
        let document = findings(parameters(pairs)).unwrap().apply(document);
        document.findings.into_iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn findings_are_filtered_by_cause_time_and_number() {
        let finding = |id: &str, cause, last_seen: u64| {
            let mut finding = sample::sleep();
            finding.id = id.to_owned();
            finding.cause = cause;
            finding.last_seen = unix_time::from_nanos(last_seen * 1_000_000_000);
            finding.ongoing = None;
            finding
        };
        let mut in_progress = finding("ongoing", Cause::Lock, 1);
        in_progress.ongoing = Some(Duration::from_secs(1));
        let document = || {
            sample::document(vec![
                finding("old", Cause::Sleep, 10),
                finding("new", Cause::Sleep, 20),
                finding("lock", Cause::Lock, 30),
                in_progress.clone(),
            ])
        };
        assert_eq!(filtered(&[], document()).len(), 4);
        assert_eq!(filtered(&[("cause", "sleep")], document()), ["old", "new"]);
        assert_eq!(filtered(&[("since", "20")], document()), ["new", "lock", "ongoing"]);
        assert_eq!(filtered(&[("limit", "1")], document()), ["old"]);
        let all = [("limit", "1"), ("cause", "sleep"), ("since", "1970-01-01T00:00:11Z")];
        assert_eq!(filtered(&all, document()), ["new"], "the limit counts what is left");
        assert!(filtered(&[("cause", "hog")], document()).is_empty());
    }

    #[test]
    fn invalid_parameters_of_findings_are_errors() {
        for (name, values) in [
            ("cause", &["", "Sleep", "sleeping"][..]),
            ("since", &["", "yesterday", "-1"]),
            ("limit", &["", "0", "-1", "1.5", "all", "99999999999999999999999"]),
            ("causes", &["sleep"]),
        ] {
            for value in values {
                let failure = findings(parameters(&[(name, value)])).unwrap_err();
                assert!(failure.sentence.contains(name.trim_end_matches('s')), "{}", failure.sentence);
            }
        }
        assert!(findings(parameters(&[("limit", "1"), ("limit", "1")])).is_err());
    }

    #[test]
    fn the_sentence_about_causes_names_all_of_them() {
        for cause in Cause::ALL {
            assert!(INVALID_CAUSE.sentence.contains(cause.as_str()), "{cause}");
        }
    }
}
