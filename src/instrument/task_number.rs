//! The number of a Tokio task.

use std::hash::{Hash, Hasher};

/// Returns the number of a task. `Id` has no getter for it, but hashes as
/// exactly that number.
#[inline]
pub(super) fn task_number(id: tokio::task::Id) -> u64 {
    struct Number(u64);
    impl Hasher for Number {
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = self.0 << 8 | u64::from(*byte);
            }
        }
        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }
        fn finish(&self) -> u64 {
            self.0
        }
    }
    let mut number = Number(0);
    id.hash(&mut number);
    number.finish()
}
