//! All findings as text: the diagnostics, then what they leave out.

use crate::finding::FindingsDocument;
use crate::report::diagnostic;
use crate::report::text::{count, duration};

/// Draws every finding of `document` as [`diagnostic`] does, then says in a few
/// lines how many there are and what the figures leave out.
#[must_use]
pub fn diagnostics(document: &FindingsDocument, color: bool) -> String {
    let drawn = document.findings.iter().map(|finding| diagnostic(finding, color) + "\n");
    drawn.chain(summary(document).into_iter().map(|line| line + "\n")).collect()
}

fn summary(document: &FindingsDocument) -> Vec<String> {
    let threshold = duration(document.threshold);
    let mut lines = vec![match document.findings.len() {
        0 => format!("no call was found that blocked the event loop for {threshold} or longer"),
        n => format!(
            "{} blocked the event loop for {threshold} or longer",
            count(n as u64, "place in the code", "places in the code")
        ),
    }];
    let starved = &document.starved;
    if starved.count > 0 {
        lines.push(format!(
            "{} long because the machine had no CPU for the thread, {} in all: not the code's fault",
            count(starved.count, "poll was", "polls were"),
            duration(starved.total)
        ));
    }
    if document.dropped > 0 {
        lines.push(format!(
            "{} lost: the counts are lower bounds",
            count(document.dropped, "observation was", "observations were")
        ));
    }
    if !document.process.all_tasks {
        lines.push(
            "only instrumented futures are covered: build with `--cfg tokio_unstable` to cover every task"
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
    fn nothing_found_is_said() {
        let text = diagnostics(&sample::document(vec![]), false);
        assert_eq!(text, "no call was found that blocked the event loop for 10 ms or longer\n");
    }

    #[test]
    fn every_finding_is_drawn_and_what_is_left_out_is_said() {
        let mut document = sample::document(vec![sample::sleep()]);
        document.starved = Starved { count: 3, total: Duration::from_millis(500) };
        document.dropped = 1;
        document.process.all_tasks = false;
        let text = diagnostics(&document, false);
        let expected = diagnostic(&sample::sleep(), false)
            + "\n1 place in the code blocked the event loop for 10 ms or longer\n\
               3 polls were long because the machine had no CPU for the thread, 500 ms in all: not the code's fault\n\
               1 observation was lost: the counts are lower bounds\n\
               only instrumented futures are covered: build with `--cfg tokio_unstable` to cover every task\n";
        assert_eq!(text, expected);
    }
}
