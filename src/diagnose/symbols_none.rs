//! Symbols for targets without stack capture.

use crate::evidence::Capture;
use crate::finding::Frame;

/// Has no symbols: every stack is empty.
#[derive(Debug)]
pub(crate) struct Symbols;

impl Symbols {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn stack(&mut self, _: &Capture) -> Vec<Frame> {
        Vec::new()
    }
}
