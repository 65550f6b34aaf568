//! The load over time: latency, throughput and logins beside the stalls of the
//! server.

use super::axes::{seconds_axis, time_axis};
use super::findings;
use super::plot::{Plot, Scale};
use super::section::push_section;
use super::table::{Table, scrollable};
use crate::report::document::{Report, TimelineBin};
use crate::report::text::units::{count, duration};

/// Maximum number of stalls of the server that are drawn, so that the page
/// stays small.
const MAX_STALLS_DRAWN: usize = 5_000;

/// Number of intervals of the table beside the plots.
const MAX_INTERVALS: usize = 20;

/// Appends the section.
pub(super) fn push(page: &mut String, report: &Report) {
    let mut body = scrollable("Latency over time", &latency(report));
    body += &findings::over_time(report).unwrap_or_default();
    body += &scrollable("Throughput over time", &throughput(report));
    if report.load.logins.storms.is_some() {
        body += &scrollable("Logins in storms over time", &logins(report));
    }
    body += &table(report).folded();
    push_section(page, "Over time", &note(report), &body);
}

fn note(report: &Report) -> String {
    let stalls = report.stalls.as_ref().map(|stalls| stalls.stalls.len());
    let stalls = match stalls {
        Some(stalls) => format!("The bars are {} stalls of the server's event loop.", count(stalls as u64)),
        None => "The stalls of the server are unknown without --telemetry.".to_owned(),
    };
    format!("Latency by the time at which a message was due, throughput by the time of arrival. {stalls}")
}

/// Returns the points of one figure over time, in the middle of each bin.
fn over_time(report: &Report, figure: impl Fn(&TimelineBin) -> Option<f64>) -> Vec<(f64, f64)> {
    let width = report.load.timeline.bin_seconds;
    let bins = (0..).map(f64::from).zip(&report.load.timeline.bins);
    bins.filter_map(|(number, bin)| Some(((number + 0.5) * width, figure(bin)?))).collect()
}

/// Returns the plot of the latency.
fn latency(report: &Report) -> String {
    let lines = [
        ("three", "max", over_time(report, |bin| bin.max_seconds)),
        ("two", "p99", over_time(report, |bin| bin.p99_seconds)),
        ("one", "p50", over_time(report, |bin| bin.p50_seconds)),
    ];
    let all: Vec<_> = lines.iter().flat_map(|(_, _, line)| line.iter().copied()).collect();
    let mut plot = Plot::new("latency over time", time_axis(report), seconds_axis(&all));
    draw_stalls(&mut plot, report);
    for (class, name, line) in &lines {
        plot.line(class, name, line);
    }
    plot.svg()
}

/// Returns the plot of the throughput.
fn throughput(report: &Report) -> String {
    let width = report.load.timeline.bin_seconds;
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
    let per_second = |count: u64| Some(count as f64 / width);
    let delivered = over_time(report, |bin| per_second(bin.delivered));
    let sent = over_time(report, |bin| per_second(bin.sent));
    let most = delivered.iter().chain(&sent).map(|&(_, rate)| rate).fold(1.0, f64::max);
    let mut plot = Plot::new("throughput over time", time_axis(report), Scale::linear(most, "/s"));
    draw_stalls(&mut plot, report);
    plot.line("two", "sent per second", &sent);
    plot.line("one", "delivered per second", &delivered);
    plot.svg()
}

/// Returns the plot of the logins in storms.
fn logins(report: &Report) -> String {
    let longest = over_time(report, |bin| bin.login_max_seconds);
    let mut plot = Plot::new("longest login of each storm", time_axis(report), seconds_axis(&longest));
    draw_stalls(&mut plot, report);
    plot.dots("one", "longest login of the storm", &longest);
    plot.svg()
}

/// Draws the server's stalls as bars on the time axis.
fn draw_stalls(plot: &mut Plot, report: &Report) {
    let Some(document) = &report.stalls else { return };
    for stall in document.stalls.iter().rev().take(MAX_STALLS_DRAWN) {
        let (begin, end, label) = findings::span(report, stall);
        plot.bar(begin, end, &label);
    }
}

/// Returns the figures of the plots, for a bounded number of intervals.
fn table(report: &Report) -> Table {
    let has_storms = report.load.logins.storms.is_some();
    let mut columns = vec!["time", "sent", "delivered", "highest p50", "highest p99", "max"];
    if has_storms {
        columns.extend(["logins", "longest login"]);
    }
    let mut table = Table::new("Load over time", &columns);
    let timeline = &report.load.timeline;
    let size = timeline.bins.len().div_ceil(MAX_INTERVALS).max(1);
    let mut begin = 0.0;
    for bins in timeline.bins.chunks(size) {
        #[expect(clippy::cast_precision_loss, reason = "at most 200")]
        let end = begin + timeline.bin_seconds * bins.len() as f64;
        let sum = |count: fn(&TimelineBin) -> u64| bins.iter().map(count).sum::<u64>();
        let most = |seconds: fn(&TimelineBin) -> Option<f64>| {
            bins.iter().filter_map(seconds).reduce(f64::max).map_or_else(|| "–".to_owned(), duration)
        };
        let mut cells = vec![
            count(sum(|bin| bin.sent)),
            count(sum(|bin| bin.delivered)),
            most(|bin| bin.p50_seconds),
            most(|bin| bin.p99_seconds),
            most(|bin| bin.max_seconds),
        ];
        if has_storms {
            cells.extend([count(sum(|bin| bin.logins_due)), most(|bin| bin.login_max_seconds)]);
        }
        table.row(&format!("{begin:.1}–{end:.1} s"), &cells);
        begin = end;
    }
    table
}
