//! How much is read for one look-up. Entries may share what they refer to, and
//! units may claim each address, so the size of the file is no bound.

use crate::diagnose::image::unit_tables;

/// How many entries and ranges of code are read, and bytes of the programs that
/// give lines. A program of 500 MB has about a hundred million, and a look-up
/// reads the units of some addresses only.
const MAX_STEPS: usize = 1 << 29;
/// How many bytes of names are read. Ten thousand addresses with ten inlined
/// calls each have 10 MB.
const MAX_NAME_BYTES: usize = 1 << 27;

/// What may still be read.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) steps: usize,
    pub(super) name_bytes: usize,
    pub(super) table_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: MAX_STEPS, name_bytes: MAX_NAME_BYTES, table_bytes: unit_tables::MAX_BYTES_READ }
    }
}

impl Budget {
    /// Prepares for the next look-up. A file that took all of it once is not
    /// read again: it would take as long each time.
    pub(super) fn renew(&mut self) {
        if !self.is_used_up() {
            *self = Self::default();
        }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.steps == 0 || self.name_bytes == 0 || self.table_bytes == 0
    }

    /// Takes one step. Returns whether there was one left.
    pub(super) fn step(&mut self) -> bool {
        self.take_steps(1)
    }

    /// Takes steps. Returns whether there were as many left.
    pub(super) fn take_steps(&mut self, steps: usize) -> bool {
        let left = self.steps.checked_sub(steps);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    /// Takes the bytes of a name. Returns whether there were as many left.
    pub(super) fn take_name(&mut self, bytes: usize) -> bool {
        let left = self.name_bytes.checked_sub(bytes);
        self.name_bytes = left.unwrap_or(0);
        left.is_some()
    }
}
