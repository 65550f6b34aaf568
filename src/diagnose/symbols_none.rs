//! Symbols for targets without stack capture.

use crate::evidence::Capture;
use crate::finding::Frame;
use crate::process::Process;

/// Has no symbols: every stack is empty.
#[derive(Debug)]
pub(crate) struct Symbols;

impl Symbols {
    pub(crate) fn new(_: Process, _: u64) -> Self {
        Self
    }

    pub(crate) fn stack(&mut self, _: &Capture) -> SymbolisedStack {
        SymbolisedStack::default()
    }

    pub(crate) fn interval_awaiter(&mut self, _: &Capture) -> Option<String> {
        None
    }
}

/// The frames of a stack.
#[derive(Debug, Default)]
pub(crate) struct SymbolisedStack {
    pub(crate) frames: Vec<Frame>,
    pub(crate) lines_missing: Option<String>,
}
