//! The least load under which a finding appears, as plain data.

use std::fmt::Write as _;

use serde::Serialize;

use super::tail_text::name;
use loopscope::FindingsDocument;

/// The least load of one finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Minimal {
    /// The finding.
    pub(crate) id: String,
    /// The commands, by weight; null if it appears without any.
    pub(crate) mix: Option<String>,
    /// The lowest rate at which it was seen, in commands a second.
    pub(crate) rate: f64,
    /// The next lower rate that was tried, at which it was not seen.
    pub(crate) not_at: Option<f64>,
}

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
