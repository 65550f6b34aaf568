//! Compiles the library's slot, its idle park and the targets of its signals
//! with loom's atomics, so that a test can run them under every interleaving
//! that the memory model allows.
#![allow(dead_code, missing_docs, unreachable_pub)]

mod atomics;
mod capture;
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

use capture::target::{self, Outcome, REGISTERS, Request};
use record::idle_park;
use record::kinds::KindId;
use record::slot;

/// The library asks the operating system here.
mod os {
    pub(crate) fn fence_all_threads() -> bool {
        unreachable!("all threads of the model have park hooks");
    }
}

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

/// The library's idle park, for threads that have park hooks.
#[derive(Debug, Default)]
pub struct IdlePark(idle_park::IdlePark);

impl IdlePark {
    pub fn wake(&self) {
        self.0.wake();
    }

    pub fn sleep_while_idle(&self, slot: &Slot) {
        self.0.sleep_while_idle(false, None, || slot.is_idle());
    }
}

const GENERATION: u32 = 1;

/// A table with one target. The fields of each request are its number.
#[derive(Debug, Default)]
pub struct Targets([target::Target; 1]);

impl Targets {
    /// Takes the target for a thread. All threads exist.
    pub fn claim(&self, tid: i32) -> bool {
        target::claim(&self.0, tid, GENERATION, |_| true).is_some()
    }

    pub fn release(&self) {
        self.0[0].release(GENERATION);
    }

    /// Opens the request with this number. Returns whether it is open.
    pub fn open(&self, number: u64) -> bool {
        let field = number as usize;
        let request = Request {
            seq: std::ptr::null_mut(),
            expected_seq: number,
            stack_bottom: field,
            stack_top: field,
        };
        let opened = self.0[0].open(request);
        assert!(opened.is_none_or(|opened| opened == number));
        opened.is_some()
    }

    pub fn cancel(&self) {
        self.0[0].cancel();
    }

    /// Does what the handler does. Returns whether it took the request.
    pub fn handle_signal(&self, number: u64) -> bool {
        let Some(request) = self.0[0].accept(number) else { return false };
        let fields = [request.expected_seq, request.stack_bottom as u64, request.stack_top as u64];
        assert_eq!(fields, [number; 3], "the fields of request {number} belong to another one");
        let copy = Outcome::Copied { registers: [number; REGISTERS], bytes: number as usize };
        self.0[0].answer(number, copy);
        true
    }

    /// Returns the number of the request that was answered, if one was.
    pub fn take_answer(&self) -> Option<u64> {
        self.0[0].take_answer(|outcome| {
            let Outcome::Copied { registers, bytes } = outcome else { unreachable!() };
            assert_eq!(registers, [bytes as u64; REGISTERS], "the answer belongs to several requests");
            bytes as u64
        })
    }
}
