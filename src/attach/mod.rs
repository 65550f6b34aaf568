//! Reads a Tokio process from outside: one that was built without loopscope.
//! [`ps_own`] reads the process that calls it in the same way.
//!
//! The process is neither stopped nor changed. What its memory says is
//! untrusted: every length is bounded, every address is read through the
//! kernel, and every name is made printable before it is shown.

mod access;
mod debug_info;
pub(crate) mod document;
pub(crate) mod error;
mod first_look;
mod futurelock;
mod lock_queue;
mod not_scheduled;
pub(crate) mod own;
mod ps;
mod roots;
mod runtimes;
mod second_look;
mod stopped;
mod verdicts;
mod watch;

pub use debug_info::add_debug_info;
pub use document::{
    PS_SCHEMA, PsAwait, PsBranch, PsCoverage, PsDocument, PsLeaf, PsRole, PsRoot, PsRuntime, PsRuntimeKind,
    PsTask, PsTaskState, PsThread, PsThreadState, PsVerdict, PsVerdictKind,
};
pub use error::AttachError;
pub use own::ps_own;
pub use ps::{PsReader, ps, ps_with};
pub use watch::{Watch, WatchBuilder, WatchError};

pub use crate::threads::registers::Registers;
