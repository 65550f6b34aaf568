//! The findings on the page: their share in the tail, their stalls over time,
//! and links to the server's own page.

use std::time::{SystemTime, UNIX_EPOCH};

use loopscope::{Finding, FindingsDocument, Stall};

use super::axes::{bin_count, time_axis};
use super::escape::escape;
use super::lanes::{self, Lane};
use super::section::push_section;
use super::table::{Table, scrollable};
use crate::report::document::{Report, Share, Tail};
use crate::report::text::units::{count, duration};
use crate::report::text::{SlowOnes, finding_name, of_report};

/// Maximum number of findings that have a lane of their own.
const MAX_LANES: usize = 16;

/// Maximum number of stalls of a lane that are drawn, so that the page stays
/// small.
const MAX_SPANS: usize = 2_000;

/// Number of intervals of the table beside the lanes.
const INTERVALS: u32 = 10;

const NO_SHARES: &str = "No delivery was slow, so the findings have no share.";
const SHARES: &str = "Share: the part of the waiting time of the slow ones in which a stall of the finding blocked a \
                      worker. By chance: the share of a delivery or login that is independent of the finding.";

/// Appends the table of the findings' shares, if the server was observed.
pub(super) fn push_shares(page: &mut String, report: &Report) {
    let Some(document) = &report.findings else { return };
    if document.findings.is_empty() {
        push_section(page, "Findings", "No blocking call was found.", "");
    } else {
        let tails: Vec<_> = of_report(report).filter(|slow| slow.tail.deliveries > 0).collect();
        let mut notes: Vec<_> = tails.iter().map(|slow| slow_note(*slow)).collect();
        notes.push(if tails.is_empty() { NO_SHARES } else { SHARES }.to_owned());
        let tables: String = match &*tails {
            [] => shares(None, document),
            tails => tails.iter().map(|slow| shares(Some(*slow), document)).collect(),
        };
        push_section(page, "Findings", &notes.join(" "), &tables);
    }
}

/// Appends what each finding is, if there are findings.
pub(super) fn push_details(page: &mut String, report: &Report) {
    if let Some(document) = report.findings.as_ref().filter(|document| !document.findings.is_empty()) {
        push_section(page, "Findings in detail", "As the server reports them.", &details(report, document));
    }
}

/// Returns how many were slow.
fn slow_note(slow: SlowOnes<'_>) -> String {
    let verb = if slow.tail.deliveries == 1 { "was" } else { "were" };
    format!("{} {verb} {}.", slow.counted(slow.tail.deliveries), slow.condition())
}

/// Returns the table of the findings' shares in a tail.
fn shares(slow: Option<SlowOnes<'_>>, document: &FindingsDocument) -> String {
    let slow_ones = format!("slow {}", slow.map_or("deliveries", |slow| slow.names()));
    let columns = ["finding", "share", "by chance", &slow_ones, "stalls", "harmful stalls", "blocked"];
    let mut table = Table::new(&format!("Share of each finding in the {slow_ones}"), &columns);
    let tail = slow.map(|slow| slow.tail);
    let share = |finding: &Finding| tail.and_then(|tail| share_of(tail, &finding.id));
    let mut findings: Vec<_> = document.findings.iter().collect();
    let order = |finding: &Finding| share(finding).map_or(0.0, |share| share.share);
    findings.sort_by(|a, b| order(b).total_cmp(&order(a)));
    for finding in findings {
        let share = share(finding);
        let unknown = || "–".to_owned();
        let percent = |share: Option<f64>| share.map_or_else(unknown, percent);
        let counted = |number: Option<u64>| number.map_or_else(unknown, count);
        let id = escape(&finding.id);
        let cells = [
            share.map_or_else(unknown, |share| with_bar(share.share)),
            percent(share.map(|share| share.share_by_chance)),
            counted(share.map(|share| share.deliveries)),
            count(share.map_or(finding.count, |share| share.stalls)),
            counted(share.map(|share| share.hurtful_stalls)),
            duration(finding.total.as_secs_f64()),
        ];
        table.html_row(&format!("<a href=\"#finding-{id}\">{}</a>", escape(&name(finding))), &cells);
    }
    if let Some(tail) = tail {
        for (what, share) in [
            ("after a stall: its backlog and the usual latency", tail.after_share),
            ("before sending: the generator's own lateness", tail.generator_share),
            ("unexplained", tail.unexplained_share),
        ] {
            let mut cells = vec![with_bar(share)];
            cells.resize(columns.len() - 1, String::new());
            table.html_row(what, &cells);
        }
    }
    table.html()
}

fn share_of<'a>(tail: &'a Tail, id: &str) -> Option<&'a Share> {
    tail.findings.iter().find(|share| tail.deliveries > 0 && share.id == id)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Returns a share, and a bar whose length shows it.
fn with_bar(share: f64) -> String {
    let (figure, width) = (percent(share), share.clamp(0.0, 1.0) * 100.0);
    format!("{figure}<span class=\"share\" aria-hidden=\"true\"><i style=\"width:{width:.1}%\"></i></span>")
}

/// Returns cause and place.
fn name(finding: &Finding) -> String {
    finding_name(finding).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns what each finding is, with a link to the server's page.
fn details(report: &Report, document: &FindingsDocument) -> String {
    let mut html = String::new();
    for finding in &document.findings {
        let id = escape(&finding.id);
        html += &format!("<h3 id=\"finding-{id}\">{}</h3>\n<p>", escape(&name(finding)));
        html += &format!(
            "{} of {} in all, the longest {}, in task {}.",
            if finding.count == 1 {
                "1 stall".to_owned()
            } else {
                format!("{} stalls", count(finding.count))
            },
            duration(finding.total.as_secs_f64()),
            duration(finding.max.as_secs_f64()),
            escape(&finding.task.kind)
        );
        if let Some(url) = report.telemetry.as_deref().and_then(page_url) {
            html += &format!(" <a href=\"{}/#finding={id}\">Open it on the server's page</a>", escape(&url));
        }
        let text = escape(&loopscope::report::diagnostic(finding, false));
        html += "</p>\n";
        html += &scrollable("The finding as the server reports it", &format!("<pre>{text}</pre>"));
    }
    html
}

/// Returns the URL of the server's page, without a slash at its end. A report
/// may come from elsewhere, so other schemes get no link.
fn page_url(telemetry: &str) -> Option<String> {
    let url = telemetry.trim_end_matches('/');
    if url.starts_with("http://") || url.starts_with("https://") {
        return Some(url.to_owned());
    }
    (!url.contains("://") && !url.is_empty()).then(|| format!("http://{url}"))
}

/// Returns the picture of the stalls of each finding over time with its table;
/// `None` without findings.
pub(super) fn over_time(report: &Report) -> Option<String> {
    let findings = &*report.findings.as_ref().filter(|document| !document.findings.is_empty())?.findings;
    let spans = |ids: &[&str]| -> Vec<(f64, f64, String)> {
        let stalls = report.stalls.iter().flat_map(|document| &document.stalls);
        let of_findings = stalls.filter(|stall| stall.finding.as_deref().is_some_and(|id| ids.contains(&id)));
        of_findings.map(|stall| span(report, stall)).collect()
    };
    let (own, rest) = findings.split_at(findings.len().min(MAX_LANES));
    let lane = |finding: &Finding| Lane { name: name(finding), spans: spans(&[&*finding.id]) };
    let mut lanes: Vec<_> = own.iter().map(lane).collect();
    if !rest.is_empty() {
        let ids: Vec<_> = rest.iter().map(|finding| &*finding.id).collect();
        lanes.push(Lane { name: format!("{} more findings", rest.len()), spans: spans(&ids) });
    }
    let table = interval_table(report, &lanes);
    for lane in &mut lanes {
        let dropped = lane.spans.len().saturating_sub(MAX_SPANS);
        if dropped > 0 {
            lane.spans.sort_by(|a, b| (b.1 - b.0).total_cmp(&(a.1 - a.0)));
            lane.spans.truncate(MAX_SPANS);
            lane.name += &format!(" (the longest {MAX_SPANS} stalls)");
        }
    }
    let picture = lanes::svg("stalls of each finding over time", &time_axis(report), &lanes);
    Some(scrollable("Stalls of each finding over time", &picture) + &table.folded())
}

/// Returns when a stall began and ended, in seconds since the measurement
/// began, on the generator's clock.
pub(super) fn span(report: &Report, stall: &Stall) -> (f64, f64, String) {
    let ahead = report.clock.as_ref().map_or(0.0, |clock| clock.ahead_seconds);
    let since_start = |time: SystemTime| {
        let unix = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        unix - ahead - report.started_unix_seconds
    };
    let begin = since_start(stall.start);
    let end = stall.end.or_else(|| report.stalls.as_ref().map(|document| document.now));
    let end = end.map_or(begin, since_start);
    let text =
        format!("{} at {begin:.3} s in {}, worker {}", duration(end - begin), stall.task, stall.worker);
    (begin, end, text)
}

/// Returns how long each finding blocked the server in each part of the run.
fn interval_table(report: &Report, lanes: &[Lane]) -> Table {
    let names: Vec<_> = lanes.iter().map(|lane| &*lane.name).collect();
    let mut table = Table::new("Stalls of each finding", &[&["time"], &names[..]].concat());
    let width = report.load.timeline.bin_seconds * bin_count(report) / f64::from(INTERVALS);
    for number in 0..INTERVALS {
        let (begin, end) = (f64::from(number) * width, f64::from(number + 1) * width);
        let cell = |lane: &Lane| {
            let parts = lane.spans.iter().map(|(from, to, _)| to.min(end) - from.max(begin));
            let (stalls, blocked) =
                parts.filter(|part| *part > 0.0).fold((0, 0.0), |(n, sum), part| (n + 1, sum + part));
            if stalls == 0 { "–".to_owned() } else { format!("{} in {stalls}", duration(blocked)) }
        };
        table.row(&format!("{begin:.1}–{end:.1} s"), &lanes.iter().map(cell).collect::<Vec<_>>());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_pages_become_links() {
        assert_eq!(page_url("http://host:9464/").as_deref(), Some("http://host:9464"));
        assert_eq!(page_url("host:9464").as_deref(), Some("http://host:9464"));
        assert_eq!(page_url("javascript://x"), None);
    }
}
