//! The report as a self-contained web page. A pure function of the report.

mod axes;
mod escape;
mod findings;
mod lanes;
mod over_time;
mod plot;
mod section;
mod style;
mod table;

use std::fmt::Write as _;

use self::escape::escape;
use super::document::{JudgedObjective, Report, RunOutcome, Timing};
use super::text::units::{count, duration};
use super::text::{actual_text, text};
use axes::seconds_axis;
use plot::{Axis, Plot};
use section::push_section;
use table::Table;

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
    findings::push_shares(&mut page, report);
    if !report.load.spectrum.is_empty() {
        over_time::push(&mut page, report);
        let picture = table::scrollable("Latency by percentile", &spectrum(report));
        let body = picture + &spectrum_table(report).folded();
        push_section(&mut page, "Latency by percentile", SPECTRUM_NOTE, &body);
    }
    findings::push_details(&mut page, report);
    let plain = escape(&text(report, false));
    let plain = table::scrollable("The report as text", &format!("<pre>{plain}</pre>"));
    let _ = write!(page, "<h2>As text</h2>\n{plain}</main>\n</html>\n");
    page
}

const SPECTRUM_NOTE: &str = "From the due time to the arrival. A lost delivery counts with the \
                             time for which the generator waited for it.";

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
    let storms = load.logins.storms.as_ref();
    let logins = storms.map(|storms| format!("{} of {}", count(storms.ready), count(storms.due)));
    page.push_str("<dl>\n");
    let totals = [
        ("measured", duration(load.measured_seconds)),
        ("connections", format!("{} of {}", count(load.connections.joined), count(load.connections.asked))),
        ("commands per second", format!("{:.1}", load.commands.sent_per_second)),
        ("delivered", format!("{} of {}", count(deliveries.delivered), count(deliveries.expected))),
        ("lost", count(deliveries.lost)),
        ("duplicated", count(deliveries.duplicated)),
        ("out of order", count(deliveries.out_of_order)),
    ];
    for (name, value) in totals.into_iter().chain(logins.map(|logins| ("logins in storms", logins))) {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

fn push_timings(page: &mut String, report: &Report) {
    let mut table = Table::new("Times", &["series", "p50", "p90", "p99", "p99.9", "max", "samples"]);
    let (load, logins) = (&report.load, &report.load.logins);
    let storms = logins.storms.as_ref();
    for (name, timing) in [
        ("latency, from due time to receipt", load.latency.as_ref()),
        ("service time, from send to receipt", load.service.as_ref()),
        ("login, before the measurement", logins.ready.as_ref()),
        ("login in storms, from the storm to ready", storms.and_then(|storms| storms.latency.as_ref())),
        ("TLS handshake", logins.tls_handshake.as_ref()),
        ("start lag of the generator in storms", storms.and_then(|storms| storms.start_lag.as_ref())),
        ("send lag of the generator", load.send_lag.as_ref()),
        ("receive lag of the generator", report.generator.receive_lag.as_ref()),
    ] {
        let Some(timing) = timing else { continue };
        let Timing { p50_seconds, p90_seconds, p99_seconds, p999_seconds, max_seconds, samples, .. } =
            *timing;
        let times = [p50_seconds, p90_seconds, p99_seconds, p999_seconds, max_seconds].map(duration);
        table.row(name, &[&times[..], &[count(samples)]].concat());
    }
    page.push_str(&table.html());
}

fn push_objectives(page: &mut String, objectives: &[JudgedObjective]) {
    if objectives.is_empty() {
        return;
    }
    let mut table = Table::new("Objectives", &["objective", "actual", "result"]);
    for judged in objectives {
        let (class, word) = if judged.held { ("good", "held") } else { ("bad", "missed") };
        let result = format!("<b class=\"{class}\">{word}</b>");
        table.html_row(&escape(&judged.objective), &[escape(&actual_text(judged)), result]);
    }
    page.push_str(&table.html());
}

/// Returns the percentiles of the plot that have a short name.
fn spectrum_table(report: &Report) -> Table {
    let mut table = Table::new("Latency by percentile", &["percentile", "latency"]);
    for quantile in [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999, 1.0] {
        let mut points = report.load.spectrum.iter();
        if let Some(point) = points.find(|point| point.quantile >= quantile) {
            let percent = format!("{:.3}", point.quantile * 100.0);
            let percent = percent.trim_end_matches('0').trim_end_matches('.');
            table.row(&format!("{percent} %"), &[duration(point.seconds)]);
        }
    }
    table
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
