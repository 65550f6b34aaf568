//! The report on a terminal. A pure function of the report.

mod coverage;
mod logins;
mod minimal;
mod tail;
mod timing;
pub(crate) mod units;

pub(crate) use tail::{SlowOnes, finding_name, of_report, place};

use std::fmt::Write as _;
use std::time::Duration;

use loopscope::FindingsDocument;

use super::document::{Blocking, Deliveries, JudgedObjective, Load, Report, RunOutcome, StageLoad, Visitors};
use crate::plan::{Metric, Unit};
use timing::timing;
use units::{count, counted, duration};

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[1;32m";
const RESET: &str = "\x1b[0m";

/// Returns the whole report; with ANSI colours if `color`.
pub(crate) fn text(report: &Report, color: bool) -> String {
    let mut text = String::new();
    match &report.program {
        Some(program) => push_row(&mut text, "command", &coverage::program(program), color),
        None => push_load(&mut text, report, color),
    }
    if let Some(coverage) = &report.coverage {
        if !coverage.never_sent.is_empty() {
            push_row(&mut text, "never sent", &coverage.never_sent.join(", "), color);
        }
        push_row(&mut text, "watched", &coverage::polls(coverage), color);
    }
    for judged in &report.objectives {
        push_objective(&mut text, judged, color);
    }
    if let Some(findings) = &report.findings {
        text.push('\n');
        for finding in &findings.findings {
            text.push_str(&loopscope::report::diagnostic(finding, color));
            text.push('\n');
        }
        push_line(&mut text, &found(findings, report));
        let heading = |heading: &str| paint(heading, BOLD, color);
        let mut clock = report.clock.as_ref();
        for slow in of_report(report) {
            text.push('\n');
            text.push_str(&slow.text(findings, clock.take(), heading));
        }
    }
    if let (Some(minimal), Some(findings)) = (&report.minimal, &report.findings) {
        text.push('\n');
        text.push_str(&minimal::text(minimal, findings));
    }
    push_verdict(&mut text, report, color);
    text
}

/// Appends one line. Writing to a string cannot fail.
fn push_line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}");
}

fn paint(text: &str, style: &str, color: bool) -> String {
    if color { format!("{style}{text}{RESET}") } else { text.to_owned() }
}

fn push_row(text: &mut String, name: &str, value: &str, color: bool) {
    push_line(text, &format!("{} {value}", paint(&format!("{name:<12}"), BOLD, color)));
}

fn push_load(text: &mut String, report: &Report, color: bool) {
    let load = &report.load;
    let push_row = |text: &mut String, name: &str, value: String| push_row(text, name, &value, color);
    let seconds = duration(load.measured_seconds);
    let ended = if report.interrupted { ", ended early by a signal" } else { "" };
    push_row(text, "target", format!("{}, measured for {seconds}{ended}", report.target));
    push_row(text, "connections", connections(report));
    push_row(text, "commands", commands(load));
    push_row(text, "exercised", exercised(load));
    let is_web = is_web(report);
    push_row(text, if is_web { "answers" } else { "deliveries" }, deliveries(load));
    if let Some(warning) = unjudged_errors(report) {
        push_row(text, "warning", paint(&warning, RED, color));
    }
    for (name, value) in logins::rows(report) {
        push_row(text, name, value);
    }
    push_row(text, "latency", load.latency.as_ref().map_or_else(|| "nothing delivered".into(), timing));
    if let Some(service) = &load.service {
        push_row(text, "service time", timing(service));
    }
    push_row(text, "send lag", load.send_lag.as_ref().map_or_else(|| "nothing sent".into(), timing));
    if let Some(lag) = &report.generator.receive_lag {
        push_row(text, "receive lag", timing(lag));
    }
    if report.generator.blocking.events > 0 {
        push_row(text, "own stalls", own_stalls(&report.generator.blocking));
    }
    if load.stages.len() > 1 {
        for each in &load.stages {
            push_row(text, &stage_name(each), stage(each));
        }
    }
    if load.visitors.visits > 0 {
        push_row(text, "visitors", visitors(load));
    }
    if load.rooms.faulty > 0 {
        push_row(text, "rooms", rooms(load));
    }
    if load.failures.values().any(|&count| count > 0) {
        push_row(text, "failures", failures(load));
    }
}

fn is_web(report: &Report) -> bool {
    report.target.starts_with("http://") || report.target.starts_with("https://")
}

fn connections(report: &Report) -> String {
    let connections = &report.load.connections;
    let lost = match connections.lost {
        0 => String::new(),
        lost => format!(", {} lost", count(lost)),
    };
    let (joined, asked) = (count(connections.joined), count(connections.asked));
    let rooms = if is_web(report) {
        let streams = report.settings.http2_streams;
        streams.map_or_else(String::new, |streams| {
            format!(", HTTP/2 with up to {} each", counted(streams, "request"))
        })
    } else {
        format!(" in {}", counted(report.settings.rooms, "room"))
    };
    let storms = storm_clients(report);
    format!("{joined} of {asked}{rooms}{lost}{storms}")
}

fn storm_clients(report: &Report) -> String {
    let storms = report.load.logins.storms.as_ref();
    storms.map_or_else(String::new, |storms| format!("; {} more reconnect in storms", count(storms.clients)))
}

fn commands(load: &Load) -> String {
    let commands = &load.commands;
    let (sent, planned) = (commands.sent_per_second, commands.planned_per_second);
    let mut text = format!("{} sent, {sent:.1}/s of {planned:.1}/s planned", count(commands.sent));
    if commands.skipped > 0 {
        let _ = write!(text, ", {} skipped", count(commands.skipped));
    }
    if commands.late > 0 {
        let _ = write!(text, ", {} late", count(commands.late));
    }
    text
}

/// Returns the number of commands by kind. The findings, or their absence, are
/// the result of these commands.
fn exercised(load: &Load) -> String {
    let mut kinds: Vec<_> = load.commands.by_kind.iter().collect();
    kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.sent));
    let kinds: Vec<_> = kinds.iter().map(|(name, kind)| format!("{name} {}", count(kind.sent))).collect();
    let mut text = kinds.join(", ");
    let refused: u64 = load.commands.error_replies.values().sum();
    if refused > 0 {
        let numerics: Vec<_> = load.commands.error_replies.keys().map(u16::to_string).collect();
        let _ = write!(text, "; {} refused by the server ({})", count(refused), numerics.join(", "));
    }
    text
}

fn deliveries(load: &Load) -> String {
    let deliveries = &load.deliveries;
    format!(
        "{} of {}, {} lost, {} duplicated, {} out of order",
        count(deliveries.delivered),
        count(deliveries.expected),
        count(deliveries.lost),
        count(deliveries.duplicated),
        count(deliveries.out_of_order),
    )
}

/// Returns a warning if more than 1 % of a web server's answers were errors and
/// no objective limits them. They count as answers, and errors are often fast.
fn unjudged_errors(report: &Report) -> Option<String> {
    let (errors, answers) = (&report.load.commands.error_replies, report.load.deliveries.delivered);
    let total: u64 = errors.values().sum();
    let is_judged = report.objectives.iter().any(|judged| judged.metric == Metric::ErrorReplies.name());
    (is_web(report) && !is_judged && total.saturating_mul(100) > answers).then(|| {
        let statuses: Vec<_> = errors.keys().map(u16::to_string).collect();
        format!(
            "{} of {} answers were errors ({}), but count as answers; judge them with --slo 'error_replies==0'",
            count(total),
            count(answers),
            statuses.join(", ")
        )
    })
}

fn own_stalls(blocking: &Blocking) -> String {
    let site = blocking.worst_site.as_deref().unwrap_or("an unknown function");
    let (events, seconds) = (counted(blocking.events, "stall"), duration(blocking.seconds));
    format!("{events} of the generator itself, {seconds} in all, mostly in {site}")
}

fn stage_name(stage: &StageLoad) -> String {
    let StageLoad { from_rate, to_rate, .. } = *stage;
    if (from_rate - to_rate).abs() < f64::EPSILON {
        format!("  {from_rate}/s")
    } else {
        format!("  {from_rate}-{to_rate}/s")
    }
}

/// Returns the figures of one stage in one line.
fn stage(stage: &StageLoad) -> String {
    let lost = match stage.deliveries.lost {
        0 => String::new(),
        lost => format!("{} lost, ", count(lost)),
    };
    let latency = match &stage.latency {
        Some(latency) => timing(latency),
        None if stage.deliveries.delivered == 0 => "nothing delivered".to_owned(),
        // A report has no histograms of its stages, so they cannot be merged.
        None => {
            format!("{} delivered; percentiles are in the shards' reports", count(stage.deliveries.delivered))
        }
    };
    format!("{}: {lost}{latency}", duration(stage.seconds))
}

fn visitors(load: &Load) -> String {
    let Visitors { visits, delivered, lost, duplicated, out_of_order } = load.visitors;
    format!(
        "{} joined and left, {} delivered, {} lost, {} duplicated, {} out of order",
        count(visits),
        count(delivered),
        count(lost),
        count(duplicated),
        count(out_of_order),
    )
}

/// Returns the channels with lost, duplicated or out-of-order deliveries, the
/// worst ones by name.
fn rooms(load: &Load) -> String {
    let named = load.rooms.worst.iter().take(3).map(|room| {
        let Deliveries { lost, duplicated, out_of_order, .. } = room.deliveries;
        format!(
            "{} ({} lost, {} duplicated, {} out of order)",
            room.room,
            count(lost),
            count(duplicated),
            count(out_of_order)
        )
    });
    let named: Vec<_> = named.collect();
    format!("{} faulty, the worst: {}", count(load.rooms.faulty), named.join(", "))
}

fn failures(load: &Load) -> String {
    let kinds = load.failures.iter().filter(|&(_, &count)| count > 0);
    let kinds: Vec<_> = kinds.map(|(kind, &number)| format!("{} {kind}", count(number))).collect();
    let first = load.first_failure.as_ref().map_or_else(String::new, |first| format!(": {first}"));
    format!("{}{first}", kinds.join(", "))
}

fn push_objective(text: &mut String, judged: &JudgedObjective, color: bool) {
    let word = if judged.held { paint("held  ", GREEN, color) } else { paint("missed", RED, color) };
    push_line(text, &format!("{word}       {} ({})", judged.objective, actual_text(judged)));
}

/// Returns the actual value of an objective.
pub(crate) fn actual_text(judged: &JudgedObjective) -> String {
    match (judged.actual, judged.unit) {
        (None, _) => "nothing measured".to_owned(),
        (Some(actual), Unit::Seconds) => duration(actual),
        (Some(actual), Unit::Share) => format!("{:.3} %", actual * 100.0),
        (Some(actual), Unit::Count) => format!("{actual:.0}"),
    }
}

/// Returns one sentence about the findings. It also contains the numbers of
/// starved polls, of reports that the server did not print, and of dropped
/// observations.
fn found(document: &FindingsDocument, report: &Report) -> String {
    let findings = &document.findings;
    let watched = duration(report.watched_seconds.unwrap_or_default());
    let mut text = if findings.is_empty() {
        format!("no blocking call found in {} and {watched}", coverage::searched(report))
    } else {
        let stalls = findings.iter().map(|finding| finding.count).sum();
        let total =
            findings.iter().fold(Duration::ZERO, |total, finding| total.saturating_add(finding.total));
        format!(
            "{} found in {watched}: {}, {} of worker time",
            counted(findings.len() as u64, "blocking call"),
            counted(stalls, "stall"),
            duration(total.as_secs_f64()),
        )
    };
    if document.starved.count > 0 {
        let _ = write!(text, "; {} starved of CPU by the machine", counted(document.starved.count, "poll"));
    }
    if document.suppressed_reports > 0 {
        let _ =
            write!(text, "; {} not printed by the server", counted(document.suppressed_reports, "report"));
    }
    if document.dropped > 0 {
        let _ = write!(
            text,
            "; {} dropped, so the counts are lower bounds",
            counted(document.dropped, "observation")
        );
    }
    text
}

fn push_verdict(text: &mut String, report: &Report, color: bool) {
    let verdict = &report.verdict;
    if verdict.outcome == RunOutcome::Held {
        return;
    }
    let word = if verdict.outcome == RunOutcome::Invalid { "invalid" } else { "failed" };
    push_line(text, &format!("{}: {}", paint(word, RED, color), verdict.reasons.join("; ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::CommandCount;

    #[test]
    fn a_merged_stage_says_where_its_percentiles_are() {
        let stage_with = |delivered| StageLoad {
            from_rate: 0.0,
            to_rate: 80.0,
            seconds: 2.0,
            commands: CommandCount::default(),
            deliveries: Deliveries {
                expected: 160,
                delivered,
                lost: 0,
                duplicated: 0,
                out_of_order: 0,
                late: 0,
            },
            latency: None,
        };
        assert_eq!(stage(&stage_with(160)), "2 s: 160 delivered; percentiles are in the shards' reports");
        assert_eq!(stage(&stage_with(0)), "2 s: nothing delivered");
    }
}
