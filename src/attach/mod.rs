//! Reads a Tokio process from outside: one that was built without loopscope.
//!
//! The process is neither stopped nor changed. What its memory says is
//! untrusted: every length is bounded, every address is read through the
//! kernel, and every name is made printable before it is shown.

pub(crate) mod document;
mod error;
mod ps;

pub use document::{
    PS_SCHEMA, PsAwait, PsCoverage, PsDocument, PsLeaf, PsRole, PsRuntime, PsRuntimeKind, PsTask,
    PsTaskState, PsThread, PsThreadState, PsVerdict, PsVerdictKind,
};
pub use error::AttachError;
pub use ps::{ps, ps_with};

pub use crate::threads::registers::Registers;
