//! What the slow deliveries and the slow logins waited for, on a terminal.

use std::fmt::Write as _;

use loopscope::{Finding, FindingsDocument, Site};

use super::units::{count, counted, duration};
use crate::report::document::{Clock, Report, Share, Tail};

/// What the slow ones of a kind waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlowOnes<'r> {
    pub(crate) tail: &'r Tail,
    /// Their names: one, and several.
    names: [&'static str; 2],
    /// Whether the findings without a share are listed too.
    lists_all: bool,
}

/// Returns the slow deliveries of a report, and its slow logins if some of them
/// waited in a stall.
pub(crate) fn of_report(report: &Report) -> impl Iterator<Item = SlowOnes<'_>> {
    let deliveries = report.tail.as_ref();
    let deliveries =
        deliveries.map(|tail| SlowOnes { tail, names: ["delivery", "deliveries"], lists_all: true });
    let logins = report.login_tail.as_ref().filter(|tail| is_shown(tail.explained_share));
    let logins = logins.map(|tail| SlowOnes { tail, names: ["login", "logins"], lists_all: false });
    deliveries.into_iter().chain(logins)
}

/// Returns whether a share does not round to zero.
fn is_shown(share: f64) -> bool {
    share >= 0.0005
}

impl SlowOnes<'_> {
    /// Returns their number with their name.
    pub(crate) fn counted(&self, number: u64) -> String {
        let [one, several] = self.names;
        if number == 1 { format!("1 {one}") } else { format!("{} {several}", count(number)) }
    }

    /// Returns the name of several.
    pub(crate) const fn names(&self) -> &'static str {
        self.names[1]
    }

    /// Returns what makes one slow.
    pub(crate) fn condition(&self) -> String {
        let limit = duration(self.tail.threshold_seconds);
        match &*self.tail.threshold {
            "p90" => format!("at or above the p90 of {limit}"),
            "p99" => format!("slower than the p99 of {limit}"),
            objective => format!("slower than {objective}"),
        }
    }

    /// Returns the table of shares with its footnotes; `heading` formats a
    /// headline.
    pub(crate) fn text(
        &self,
        findings: &FindingsDocument,
        clock: Option<&Clock>,
        heading: impl Fn(&str) -> String,
    ) -> String {
        let tail = self.tail;
        let mut text = String::new();
        let _ = writeln!(text, "{}", heading(&self.headline()));
        if tail.looked_at > 0 {
            if !tail.findings.is_empty() {
                text.push_str("   share  by chance  stalls  hurtful  finding\n");
            }
            for share in tail.findings.iter().filter(|share| self.lists_all || is_shown(share.share)) {
                let finding = findings.findings.iter().find(|finding| finding.id == share.id);
                let name = finding.map_or_else(|| share.id.clone(), finding_name);
                let _ = writeln!(text, "{}", self.row(share, &name));
            }
            let rest = [
                (tail.after_share, "after a stall: its backlog and the usual latency"),
                (tail.generator_share, "before sending: the generator's own lateness"),
                (tail.unexplained_share, "unexplained"),
            ];
            // Only the unexplained share gets a line if it rounds to zero.
            for (share, what) in
                rest.into_iter().filter(|(share, what)| is_shown(*share) || *what == "unexplained")
            {
                let _ = writeln!(text, "{}{:>29}{what}", percent(share), "");
            }
        }
        let footnote = self.footnote(clock);
        if !footnote.is_empty() {
            let _ = writeln!(text, "{footnote}");
        }
        text
    }

    fn headline(&self) -> String {
        let Self { tail, names: [one, _], .. } = self;
        let condition = self.condition();
        if tail.deliveries == 0 {
            return format!("no {one} was {condition}");
        }
        let (slow, waited) = (self.counted(tail.deliveries), duration(tail.waited_seconds));
        let begin = format!("{slow} {condition} waited {waited} in all");
        if tail.findings.is_empty() {
            return format!("{begin}, none of it in a stall of a finding:");
        }
        let explained = percent(tail.explained_share);
        format!("{begin}, {} of it in stalls of these findings:", explained.trim_start())
    }

    fn row(&self, share: &Share, name: &str) -> String {
        let Share { stalls, hurtful_stalls, .. } = *share;
        let [one, _] = self.names;
        let harmless =
            if hurtful_stalls == 0 { format!(", in which no slow {one} waited") } else { String::new() };
        format!(
            "{}  {:>9}  {:>6}  {:>7}  {name}{harmless}",
            percent(share.share),
            percent(share.share_by_chance).trim_start(),
            count(stalls),
            count(hurtful_stalls),
        )
    }

    /// Returns what limits the precision of the table.
    fn footnote(&self, clock: Option<&Clock>) -> String {
        let Self { tail, names: [_, several], .. } = self;
        let mut notes = Vec::new();
        if let Some(clock) = clock {
            let (ahead, error) = (duration(clock.ahead_seconds.abs()), duration(clock.error_seconds));
            let side = if clock.ahead_seconds < 0.0 { "behind" } else { "ahead" };
            notes.push(format!("the server's clock is {ahead} {side}, with an error of at most {error}"));
        }
        if tail.looked_at < tail.deliveries {
            notes.push(format!("{} of the {several} were examined", count(tail.looked_at)));
        }
        let missing: u64 = tail.findings.iter().map(|share| share.missing_stalls).sum();
        if missing > 0 {
            notes.push(format!("the times of {} are unknown", counted(missing, "stall")));
        }
        notes.join("; ")
    }
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
