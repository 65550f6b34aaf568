//! Short reports: a repeat of a finding, what was withheld, and the summary at
//! the end of a scope.

use std::net::SocketAddr;
use std::time::Duration;

use crate::finding::Finding;
use crate::report::text::{clean, count, duration, title};

/// How many places a line names.
const MAX_NAMED_PLACES: usize = 5;

/// Returns a finding that was reported before: `again: 8 times, 314 ms in all:
/// src/db.rs:87`.
pub(crate) fn repeat(finding: &Finding) -> String {
    match finding.ongoing {
        Some(_) => format!("{}: {}", title(finding), place(finding)),
        None => format!("again: {}: {}", totals(finding), place(finding)),
    }
}

/// A sentence that ends with places, and what follows it.
#[derive(Debug)]
pub(crate) struct PlaceList {
    head: String,
    places: Vec<String>,
    tail: Option<String>,
}

impl PlaceList {
    /// Returns it as one line.
    pub(crate) fn line(&self) -> String {
        let tail = self.tail.iter().map(|tail| format!("; {tail}"));
        format!("{}: {}{}", self.head, self.places.join(", "), tail.collect::<String>())
    }

    /// Returns it with a line for each place.
    pub(crate) fn lines(&self) -> String {
        let places = self.places.iter().chain(&self.tail);
        format!("{}:{}", self.head, places.map(|place| format!("\n  {place}")).collect::<String>())
    }
}

/// Returns what was withheld: `reports` of `places`, of which `findings` are
/// known. `all` says where all findings are.
pub(crate) fn withheld(reports: u64, places: usize, findings: &[Finding], all: String) -> PlaceList {
    let reports = count(reports, "report was", "reports were");
    let places_text = count(places as u64, "place", "places");
    PlaceList {
        head: format!("{reports} withheld to limit their number, of {places_text}"),
        places: named_places(findings, places),
        tail: Some(all),
    }
}

/// Returns where all findings are.
pub(crate) fn where_all_are(telemetry: Option<SocketAddr>) -> String {
    match telemetry {
        Some(address) => format!("http://{address}/findings.txt has all findings"),
        None => "`Scope::findings` has all findings".to_owned(),
    }
}

/// Returns the summary of a scope with at least one finding. `withheld` is the
/// number of reports that were withheld.
pub(crate) fn summary(findings: &[Finding], threshold: Duration, withheld: u64) -> PlaceList {
    let stalls = findings.iter().map(|finding| finding.count).sum();
    let total: Duration = findings.iter().map(|finding| finding.total).sum();
    let head = format!(
        "summary: {} blocked the event loop for {} or longer, {}, {} in all",
        count(findings.len() as u64, "place in the code", "places in the code"),
        duration(threshold),
        count(stalls, "time", "times"),
        duration(total)
    );
    // The figures of a single place are the sums.
    let places = match findings {
        [finding] => vec![place(finding)],
        _ => named_places(findings, findings.len()),
    };
    let tail = (withheld > 0).then(|| format!("{} withheld", count(withheld, "report was", "reports were")));
    PlaceList { head, places, tail }
}

/// Names the first of `findings` and says how many of the `places` are not
/// named.
fn named_places(findings: &[Finding], places: usize) -> Vec<String> {
    let named = |finding: &Finding| format!("{} ({})", place(finding), totals(finding));
    let mut names: Vec<_> = findings.iter().take(MAX_NAMED_PLACES).map(named).collect();
    let rest = places.saturating_sub(names.len());
    if rest > 0 {
        names.push(count(rest as u64, "more place", "more places"));
    }
    names
}

fn totals(finding: &Finding) -> String {
    format!("{}, {} in all", count(finding.count, "time", "times"), duration(finding.total))
}

/// Returns the place of a finding, or what is known instead of it.
fn place(finding: &Finding) -> String {
    match (&finding.site, &finding.primitive) {
        (Some(site), _) => clean(&site.to_string()),
        (None, Some(primitive)) => format!("`{}`, called from an unknown line", clean(primitive)),
        (None, None) => format!("an unknown line (cause `{}`)", finding.cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_repeat_is_one_line() {
        let mut finding = sample::sleep();
        assert_eq!(repeat(&finding), "again: 12 times, 2.41 s in all: src/flood.rs:31");
        finding.ongoing = Some(Duration::from_secs(61));
        assert_eq!(
            repeat(&finding),
            "`std::thread::sleep` has been blocking the event loop for 61 s: src/flood.rs:31"
        );
        (finding.ongoing, finding.site) = (None, None);
        assert_eq!(
            repeat(&finding),
            "again: 12 times, 2.41 s in all: `std::thread::sleep`, called from an unknown line"
        );
        finding.primitive = Some("a\nb".to_owned());
        assert!(!repeat(&finding).contains('\n'));
    }

    #[test]
    fn what_was_withheld_is_said_with_its_places_and_where_they_are() {
        let all = where_all_are(Some("127.0.0.1:9464".parse().unwrap()));
        let list = withheld(9, 3, &[sample::sleep()], all);
        assert_eq!(
            list.line(),
            "9 reports were withheld to limit their number, of 3 places: src/flood.rs:31 (12 times, 2.41 s in all), \
             2 more places; http://127.0.0.1:9464/findings.txt has all findings"
        );
        assert_eq!(
            list.lines(),
            "9 reports were withheld to limit their number, of 3 places:\n  src/flood.rs:31 (12 times, 2.41 s in \
             all)\n  2 more places\n  http://127.0.0.1:9464/findings.txt has all findings"
        );
        assert_eq!(
            withheld(1, 1, &[sample::sleep()], where_all_are(None)).line(),
            "1 report was withheld to limit their number, of 1 place: src/flood.rs:31 (12 times, 2.41 s in all); \
             `Scope::findings` has all findings"
        );
    }

    #[test]
    fn the_summary_has_the_sums_and_names_five_places() {
        let text = summary(&vec![sample::sleep(); 7], Duration::from_millis(10), 4).line();
        let begin = "summary: 7 places in the code blocked the event loop for 10 ms or longer, 84 times, 16.9 s in \
             all: src/flood.rs:31 (12 times, 2.41 s in all), ";
        assert!(text.starts_with(begin), "{text}");
        assert_eq!(text.matches("src/flood.rs:31").count(), 5, "{text}");
        assert!(text.ends_with(", 2 more places; 4 reports were withheld"), "{text}");
        assert_eq!(
            summary(&[sample::sleep()], Duration::from_millis(10), 0).lines(),
            "summary: 1 place in the code blocked the event loop for 10 ms or longer, 12 times, 2.41 s in all:\n  \
             src/flood.rs:31"
        );
    }
}
