//! What the slow deliveries waited for, on a terminal.

use std::fmt::Write as _;

use loopscope::{Finding, FindingsDocument, Site};

use super::units::{count, counted, duration};
use crate::report::document::{Clock, Share, Tail};

/// Returns the table of shares with its footnotes; `heading` formats a
/// headline.
pub(crate) fn tail(
    tail: &Tail,
    findings: &FindingsDocument,
    clock: Option<&Clock>,
    heading: impl Fn(&str) -> String,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", heading(&headline(tail)));
    if tail.looked_at > 0 {
        if !tail.findings.is_empty() {
            text.push_str("   share  by chance  stalls  hurtful  finding\n");
        }
        for share in &tail.findings {
            let finding = findings.findings.iter().find(|finding| finding.id == share.id);
            let _ = writeln!(text, "{}", row(share, &finding.map_or_else(|| share.id.clone(), finding_name)));
        }
        let rest = [
            (tail.after_share, "after a stall: its backlog and the usual latency of a message"),
            (tail.generator_share, "before sending: the generator's own lateness"),
            (tail.unexplained_share, "unexplained"),
        ];
        // A share that rounds to zero gets no line, except the unexplained one.
        let is_shown = |&(share, what): &(f64, &str)| share >= 0.0005 || what == "unexplained";
        for (share, what) in rest.into_iter().filter(is_shown) {
            let _ = writeln!(text, "{}{:>29}{what}", percent(share), "");
        }
    }
    let _ = writeln!(text, "{}", footnote(tail, clock));
    text
}

fn headline(tail: &Tail) -> String {
    let limit = duration(tail.threshold_seconds);
    let what = if tail.threshold == "p99" { format!("the p99 of {limit}") } else { tail.threshold.clone() };
    if tail.deliveries == 0 {
        return format!("no delivery was slower than {what}");
    }
    let (slow, waited) = (deliveries(tail.deliveries), duration(tail.waited_seconds));
    let begin = format!("{slow} slower than {what} waited {waited} in all");
    if tail.findings.is_empty() {
        return format!("{begin}, none of it in a stall of a finding:");
    }
    let explained = percent(tail.explained_share);
    format!("{begin}, {} of it in stalls of these findings:", explained.trim_start())
}

fn deliveries(number: u64) -> String {
    if number == 1 { "1 delivery".to_owned() } else { format!("{} deliveries", count(number)) }
}

fn row(share: &Share, name: &str) -> String {
    let Share { stalls, hurtful_stalls, .. } = *share;
    let harmless = if hurtful_stalls == 0 { ", in which no slow delivery waited" } else { "" };
    format!(
        "{}  {:>9}  {:>6}  {:>7}  {name}{harmless}",
        percent(share.share),
        percent(share.share_by_chance).trim_start(),
        count(stalls),
        count(hurtful_stalls),
    )
}

/// Returns file and line, or else the function.
pub(crate) fn place(site: &Site) -> String {
    match (&site.file, site.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        _ => site.function.clone(),
    }
}

/// Returns cause and place.
pub(crate) fn finding_name(finding: &Finding) -> String {
    let place = finding.site.as_ref().map(place).unwrap_or_else(|| format!("task {}", finding.task.kind));
    format!("{:<8} {place}", finding.cause.as_str())
}

fn percent(share: f64) -> String {
    format!("{:>6.1} %", share * 100.0)
}

/// Returns what limits the precision of the table.
fn footnote(tail: &Tail, clock: Option<&Clock>) -> String {
    let mut notes = Vec::new();
    if let Some(clock) = clock {
        let (ahead, error) = (duration(clock.ahead_seconds.abs()), duration(clock.error_seconds));
        let side = if clock.ahead_seconds < 0.0 { "behind" } else { "ahead" };
        notes.push(format!("the server's clock is {ahead} {side}, with an error of at most {error}"));
    }
    if tail.looked_at < tail.deliveries {
        notes.push(format!("{} of the deliveries were examined", count(tail.looked_at)));
    }
    let missing: u64 = tail.findings.iter().map(|share| share.missing_stalls).sum();
    if missing > 0 {
        notes.push(format!("the times of {} are unknown", counted(missing, "stall")));
    }
    notes.join("; ")
}
