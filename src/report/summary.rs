//! All findings as text: the diagnostics, then a summary.

use crate::finding::FindingsDocument;
use crate::report::diagnostic;
use crate::report::terminal_width::DEFAULT_COLUMNS;
use crate::report::text::{count, duration};
use crate::report::wrap::wrapped;

/// Formats every finding of `document` as [`diagnostic()`] does, with ANSI
/// colours if `color`. A summary of a few lines follows: the number of
/// findings, and what their figures do not include.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), loopscope::StartError> {
/// # let scope = loopscope::Scope::builder().start()?;
/// print!("{}", loopscope::report::diagnostics(&scope.findings(), false));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn diagnostics(document: &FindingsDocument, color: bool) -> String {
    let diagnostics = document.findings.iter().map(|finding| diagnostic(finding, color) + "\n");
    let lines = summary(document).into_iter().map(|line| wrapped(&line, DEFAULT_COLUMNS) + "\n");
    diagnostics.chain(lines).collect()
}

fn summary(document: &FindingsDocument) -> Vec<String> {
    let threshold = duration(document.threshold);
    let mut lines = vec![match document.findings.len() {
        0 if document.pending > 0 => {
            format!("no blocking call of {threshold} or longer is known yet")
        }
        0 => format!("no blocking call of {threshold} or longer was found"),
        n => format!(
            "{} blocked the event loop for {threshold} or longer",
            count(n as u64, "place in the code", "places in the code")
        ),
    }];
    let starved = &document.starved;
    if starved.count > 0 {
        lines.push(format!(
            "{} long, but the code is not known to be the cause; {} of all long polls is not the code's: no CPU, \
             stopped, or unknown",
            count(starved.count, "more poll was", "more polls were"),
            duration(starved.total)
        ));
    }
    if document.dropped > 0 {
        lines.push(format!(
            "{} lost: the counts are lower bounds",
            count(document.dropped, "observation was", "observations were")
        ));
    }
    if document.pending > 0 {
        lines.push(format!(
            "{} not processed yet: call `Scope::flush` before you take the findings",
            count(document.pending, "observation is", "observations are")
        ));
    }
    if !document.process.all_tasks {
        lines.push(
            "only named futures are covered: build with `--cfg tokio_unstable` to cover every task"
                .to_owned(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::finding::Starved;
    use crate::report::sample;

    #[test]
    fn an_empty_document_says_that_nothing_was_found() {
        let text = diagnostics(&sample::document(vec![]), false);
        assert_eq!(text, "no blocking call of 10 ms or longer was found\n");
    }

    #[test]
    fn what_is_not_processed_yet_is_said() {
        let mut document = sample::document(vec![]);
        document.pending = 2;
        let text = diagnostics(&document, false);
        let expected = "no blocking call of 10 ms or longer is known yet\n\
            2 observations are not processed yet: call `Scope::flush` before you take the findings\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_summary_follows_the_findings_and_says_what_they_do_not_include() {
        let mut document = sample::document(vec![sample::sleep()]);
        document.starved = Starved { count: 3, total: Duration::from_millis(500) };
        document.dropped = 1;
        document.process.all_tasks = false;
        let text = diagnostics(&document, false);
        let expected = diagnostic(&sample::sleep(), false)
            + "\n1 place in the code blocked the event loop for 10 ms or longer\n\
               3 more polls were long, but the code is not known to be the cause; 500 ms of all long polls is not the code's: no CPU,\n\
               stopped, or unknown\n\
               1 observation was lost: the counts are lower bounds\n\
               only named futures are covered: build with `--cfg tokio_unstable` to cover every task\n";
        assert_eq!(text, expected);
    }
}
