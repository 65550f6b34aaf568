//! The smallest load at which a finding appears, on a terminal.

use std::fmt::Write as _;

use loopscope::FindingsDocument;

use super::tail::finding_name;
use crate::report::document::MinimalLoad;

/// Returns one line for each finding.
pub(super) fn text(minimal: &[MinimalLoad], findings: &FindingsDocument) -> String {
    let mut text = String::from("the smallest load at which each finding appears:\n");
    for MinimalLoad { id, mix, rate, not_at } in minimal {
        let finding = findings.findings.iter().find(|finding| finding.id == *id);
        let name = finding.map_or_else(|| id.clone(), finding_name);
        let load = match mix {
            None => "connections without commands".to_owned(),
            Some(mix) => format!("{mix} at {rate:.1}/s"),
        };
        let not = not_at.map_or_else(String::new, |rate| format!(", but not at {rate:.1}/s"));
        let _ = writeln!(text, "  {name}: {load}{not}");
    }
    text
}
