//! The least load under which a finding appears, on a terminal.

use std::fmt::Write as _;

use loopscope::FindingsDocument;

use super::tail::name;
use crate::report::document::Minimal;

/// One line a finding.
pub(super) fn text(minimal: &[Minimal], findings: &FindingsDocument) -> String {
    let mut text = String::from("the least load under which each appears:\n");
    for Minimal { id, mix, rate, not_at } in minimal {
        let finding = findings.findings.iter().find(|finding| finding.id == *id);
        let name = finding.map_or_else(|| id.clone(), name);
        let load = match mix {
            None => "connecting alone".to_owned(),
            Some(mix) => format!("{mix} at {rate:.1}/s"),
        };
        let not = not_at.map_or_else(String::new, |rate| format!(", not seen at {rate:.1}/s"));
        let _ = writeln!(text, "  {name}: {load}{not}");
    }
    text
}
