//! Compiles the library's `src/record/slot.rs` with loom's atomics, so that a
//! test can run it under every interleaving that the memory model allows.
#![allow(dead_code, missing_docs, unreachable_pub)]

#[path = "../../../src/lock.rs"]
mod lock;
#[path = "../../../src/per_process.rs"]
mod per_process;
mod record;

/// The library counts forks here. The model has none.
mod fork {
    pub(crate) fn generation() -> u32 {
        1
    }
}

use record::kinds::KindId;
use record::slot;

/// A slot with the methods that the test calls.
#[derive(Debug, Default)]
pub struct Slot(slot::Slot);

/// What a reader sees of a poll: number, start, task, kind.
pub type SeenPoll = (u64, u64, u64, u32);

impl Slot {
    pub fn begin(&self, n: u64) {
        self.0.begin(n, n, KindId::from_u32(n as u32));
    }

    pub fn end(&self) {
        self.0.end();
    }

    pub fn active(&self) -> Option<SeenPoll> {
        self.0.active().map(|poll| (poll.seq, poll.start, poll.task, poll.kind.as_u32()))
    }

    pub fn set_idle(&self) {
        self.0.set_idle();
    }

    pub fn set_awake(&self) {
        self.0.set_awake();
    }

    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }
}
