//! What is written below the line of source.

use crate::finding::{Cause, Finding};
use crate::report::text::clean;

/// What happens at a line, and in which system call.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) action: &'static str,
    pub(super) call: Option<String>,
}

impl Label {
    pub(super) fn new(finding: &Finding) -> Self {
        let action = match finding.cause {
            Cause::Cpu => "computes here",
            Cause::Hog => "sampled here, in one of many short polls",
            Cause::Unyielding => "sampled here; the task never yields",
            Cause::Lock => "waits for a lock here",
            _ => "blocks here",
        };
        let detail = &finding.detail;
        let call = detail.syscall.as_deref().map(|call| format!("in {}", clean(call)));
        let on = detail.fd.as_deref().map(|fd| format!("on {}", clean(fd)));
        let parts: Vec<_> = call.into_iter().chain(on).collect();
        Self { action, call: (!parts.is_empty()).then(|| parts.join(" ")) }
    }

    /// Returns the label with the system call.
    pub(super) fn whole(&self) -> String {
        let call = self.call.as_deref().map(|call| format!(", {call}"));
        self.action.to_owned() + &call.unwrap_or_default()
    }
}
