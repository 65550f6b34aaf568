//! The futures of `block_on`, each on the stack of a thread.

use crate::attach::document::{PsRole, PsRoot, PsThread, PsThreadState};
use crate::futures::{Chain, FutureReader};
use crate::threads::ThreadReader;

/// How often a thread is read that runs meanwhile.
const MAX_ATTEMPTS: usize = 3;
/// The number of futures that are read.
const MAX_ROOTS: usize = 256;

/// Returns the future of each thread that runs a `block_on`.
pub(super) fn roots(
    found: &[PsThread],
    threads: &mut ThreadReader,
    futures: &mut FutureReader,
) -> Vec<PsRoot> {
    let is_waiting = |thread: &&PsThread| {
        use PsThreadState::{Blocked, DrivingIo, Parked};
        matches!(thread.state, Blocked | DrivingIo | Parked)
    };
    let of_block_on = found.iter().filter(|thread| thread.role == PsRole::BlockOn);
    let waiting = of_block_on.filter(is_waiting).take(MAX_ROOTS);
    waiting.filter_map(|thread| root(thread, threads, futures)).collect()
}

fn root(thread: &PsThread, threads: &mut ThreadReader, futures: &mut FutureReader) -> Option<PsRoot> {
    let mut missing = None;
    for _ in 0..MAX_ATTEMPTS {
        let parked = threads.parked(thread.tid)?;
        let root = futures.root(&parked.frames)?;
        let document = |chain: Chain| PsRoot {
            tid: thread.tid,
            kind: root.name.clone().unwrap_or_else(|| "a future".to_owned()),
            chain: chain.awaits,
            leaf: chain.leaf,
            chain_missing: chain.missing,
        };
        if parked.is_still() {
            return Some(document(root.chain.clone()));
        }
        missing = Some(document(Chain {
            missing: Some("the thread ran while it was read".to_owned()),
            ..Chain::default()
        }));
    }
    missing
}
