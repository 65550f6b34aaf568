//! The report as a self-contained web page. A pure function of the report.

mod escape;
mod plot;
mod style;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use self::escape::escape;
use super::document::{JudgedObjective, Report, RunOutcome, Timing};
use super::text::units::{count, duration};
use super::text::{actual_text, text};
use plot::{Axis, Plot, Scale};

/// Maximum number of stalls of the server that are drawn, so that the page
/// stays small.
const MAX_STALLS_DRAWN: usize = 5_000;

/// Returns the page.
pub(crate) fn html(report: &Report) -> String {
    let title = escape(&format!("loadgen {}: {}", report.command, report.target));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{}</style>\n<main>\n<h1>{title}</h1>\n",
        style::CSS
    );
    push_verdict(&mut page, report);
    push_totals(&mut page, report);
    push_timings(&mut page, report);
    push_objectives(&mut page, &report.objectives);
    if !report.load.spectrum.is_empty() {
        push_section(&mut page, "Latency by percentile", SPECTRUM_NOTE, &spectrum(report));
        push_section(
            &mut page,
            "Over time",
            &timeline_note(report),
            &(latency(report) + &throughput(report)),
        );
    }
    let plain = escape(&text(report, false));
    let _ = write!(page, "<h2>As text</h2>\n<pre>{plain}</pre>\n</main>\n</html>\n");
    page
}

const SPECTRUM_NOTE: &str = "From the due time to the arrival. A lost delivery counts with the \
                             time for which the generator waited for it.";

fn timeline_note(report: &Report) -> String {
    let stalls = report.stalls.as_ref().map(|stalls| stalls.stalls.len());
    let stalls = match stalls {
        Some(stalls) => format!("The bars are {} stalls of the server's event loop.", count(stalls as u64)),
        None => "The stalls of the server are unknown without --telemetry.".to_owned(),
    };
    format!("Latency by the time at which a message was due, throughput by the time of arrival. {stalls}")
}

fn push_section(page: &mut String, title: &str, note: &str, body: &str) {
    let _ = writeln!(page, "<h2>{title}</h2>\n<p class=\"note\">{}</p>\n{body}", escape(note));
}

fn push_verdict(page: &mut String, report: &Report) {
    let (class, word) = match report.verdict.outcome {
        RunOutcome::Held => ("good", "held"),
        RunOutcome::Missed | RunOutcome::Denied => ("bad", "failed"),
        RunOutcome::Invalid | RunOutcome::Unknown => ("bad", report.verdict.outcome.as_str()),
    };
    let early = if report.interrupted { " A signal ended the run early." } else { "" };
    let reasons = escape(&report.verdict.reasons.join("; "));
    let _ = writeln!(page, "<p><b class=\"{class}\">{word}</b> {reasons}{early}</p>");
}

fn push_totals(page: &mut String, report: &Report) {
    let (load, deliveries) = (&report.load, &report.load.deliveries);
    page.push_str("<dl>\n");
    for (name, value) in [
        ("measured", duration(load.measured_seconds)),
        ("connections", format!("{} of {}", count(load.connections.joined), count(load.connections.asked))),
        ("commands per second", format!("{:.1}", load.commands.sent_per_second)),
        ("delivered", format!("{} of {}", count(deliveries.delivered), count(deliveries.expected))),
        ("lost", count(deliveries.lost)),
        ("duplicated", count(deliveries.duplicated)),
        ("out of order", count(deliveries.out_of_order)),
    ] {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

fn push_timings(page: &mut String, report: &Report) {
    page.push_str("<div class=\"wide\"><table>\n<tr><th><th>p50<th>p90<th>p99<th>p99.9<th>max<th>samples\n");
    for (name, timing) in [
        ("latency, from due time to receipt", &report.load.latency),
        ("service time, from send to receipt", &report.load.service),
        ("send lag of the generator", &report.load.send_lag),
        ("receive lag of the generator", &report.generator.receive_lag),
    ] {
        let Some(timing) = timing else { continue };
        let Timing { p50_seconds, p90_seconds, p99_seconds, p999_seconds, max_seconds, samples, .. } =
            *timing;
        let _ = write!(page, "<tr><th>{name}");
        for seconds in [p50_seconds, p90_seconds, p99_seconds, p999_seconds, max_seconds] {
            let _ = write!(page, "<td>{}", duration(seconds));
        }
        let _ = writeln!(page, "<td>{}", count(samples));
    }
    page.push_str("</table></div>\n");
}

fn push_objectives(page: &mut String, objectives: &[JudgedObjective]) {
    if objectives.is_empty() {
        return;
    }
    page.push_str("<div class=\"wide\"><table>\n<tr><th>objective<th>actual<th>\n");
    for judged in objectives {
        let (class, word) = if judged.held { ("good", "held") } else { ("bad", "missed") };
        let (objective, actual) = (escape(&judged.objective), escape(&actual_text(judged)));
        let _ = writeln!(page, "<tr><th>{objective}<td>{actual}<td><b class=\"{class}\">{word}</b>");
    }
    page.push_str("</table></div>\n");
}

/// Returns the percentile plot. The distances from 0 to 90 %, from 90 % to 99 %
/// and from 99 % to 99.9 % are equal.
fn spectrum(report: &Report) -> String {
    let points = &report.load.spectrum;
    // The maximum has no share above it; it is drawn one step after the rest.
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let last = points.iter().map(|point| nines(point.quantile)).filter(|nines| nines.is_finite());
    let end = last.fold(1.0, f64::max) + 0.1;
    let xs = points.iter().map(|point| nines(point.quantile).min(end));
    let line: Vec<_> = xs.zip(points.iter().map(|point| point.seconds)).collect();
    let labels = ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
    let ticks = (0..).map(f64::from).zip(labels).filter(|(nines, _)| *nines <= end);
    let ticks = ticks.map(|(nines, label)| (nines, label.to_owned())).collect();
    let mut plot = Plot::new("latency by percentile", Axis::new(0.0, end, ticks), seconds_axis(&line));
    plot.line("one", "latency", &line);
    for judged in report.objectives.iter().filter(|judged| judged.metric.starts_with('p')) {
        plot.level("bad", &judged.objective, judged.limit);
    }
    plot.svg()
}

/// Returns a time axis over the whole run, in seconds.
fn time_axis(report: &Report) -> Axis {
    let timeline = &report.load.timeline;
    #[expect(clippy::cast_precision_loss, reason = "at most 200")]
    let end = timeline.bin_seconds * timeline.bins.len() as f64;
    Axis::linear(0.0, end, "s")
}

fn seconds_axis(values: &[(f64, f64)]) -> Scale {
    let values = values.iter().map(|&(_, seconds)| seconds).filter(|&seconds| seconds > 0.0);
    let (least, most) =
        values.fold((f64::MAX, 1e-6), |(least, most), value| (value.min(least), value.max(most)));
    Scale::log_seconds(least.min(most), most)
}

/// Returns the points of one figure over time, in the middle of each bin.
fn over_time(
    report: &Report,
    figure: impl Fn(&super::document::TimelineBin) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let width = report.load.timeline.bin_seconds;
    let bins = (0..).map(f64::from).zip(&report.load.timeline.bins);
    bins.filter_map(|(number, bin)| Some(((number + 0.5) * width, figure(bin)?))).collect()
}

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

/// Draws the server's stalls as bars on the time axis.
fn draw_stalls(plot: &mut Plot, report: &Report) {
    let Some(document) = &report.stalls else { return };
    let since_start = |time: SystemTime| {
        let unix = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        unix - report.started_unix_seconds
    };
    for stall in document.stalls.iter().rev().take(MAX_STALLS_DRAWN) {
        let begin = since_start(stall.start);
        let end = since_start(stall.end.unwrap_or(document.now));
        let label = format!("{} in {}, worker {}", duration(end - begin), stall.task, stall.worker);
        plot.bar(begin, end, &label);
    }
}
