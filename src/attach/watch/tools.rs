//! What the looks at all threads of a process share.

use crate::capture::unwind::Unwinder;
use crate::diagnose::symbols::Symbols;
use crate::lock::Lock;
use crate::outbox::SendingEnd;
use crate::process::Process;
use crate::record::recorder::Recorder;
use crate::self_metrics::SelfMetrics;
use crate::token_bucket::TokenBucket;

/// What a look at a thread needs besides the thread.
pub(super) struct Tools<'t> {
    pub(super) process: Process,
    pub(super) recorder: &'t Recorder,
    pub(super) self_metrics: &'t SelfMetrics,
    pub(super) outbox: &'t SendingEnd,
    pub(super) unwinder: &'t mut Unwinder,
    pub(super) symbols: &'t Lock<Symbols>,
    /// Limits the stacks that are read to learn what a thread is.
    pub(super) early_reads: &'t mut TokenBucket,
    /// The number of the next worker.
    pub(super) next_worker: &'t mut usize,
    pub(super) loops_seen: &'t mut usize,
}
