//! The futures of `block_on`, each on the stack of a thread.

use crate::attach::document::{PsRole, PsRoot, PsThread, PsThreadState};
use crate::finding::{Frame, FrameKind};
use crate::futures::{Chain, FutureReader, Root};
use crate::threads::{MemoryMap, ParkedThread, ThreadReader};

/// How often a thread is read that runs meanwhile.
const MAX_ATTEMPTS: usize = 3;
/// The number of futures that are read.
const MAX_ROOTS: usize = 256;

const TORN: &str = "the thread ran while it was read";

/// The future of a `block_on`, with the thread that it was read with.
#[derive(Debug)]
pub(super) struct ReadRoot {
    pub(super) root: PsRoot,
    /// The variable with a future that it should poll.
    pub(super) unpolled: Option<String>,
    pub(super) parked: ParkedThread,
}

/// Returns the future of each thread that runs a `block_on`.
pub(super) fn roots(
    found: &[PsThread],
    threads: &mut ThreadReader,
    futures: &mut FutureReader,
) -> Vec<ReadRoot> {
    let is_waiting = |thread: &&PsThread| {
        use PsThreadState::{Blocked, DrivingIo, Parked, Waiting};
        matches!(thread.state, Blocked | DrivingIo | Parked | Waiting)
    };
    let waiting = found.iter().filter(is_waiting).filter(has_block_on).take(MAX_ROOTS);
    let mut map = None;
    let root = |thread| {
        let map = map.get_or_insert_with(|| threads.memory_map());
        root(thread, map, threads, futures)
    };
    waiting.filter_map(root).collect()
}

/// Returns whether a thread runs a `block_on`. A job of the blocking pool may
/// do so, too.
fn has_block_on(thread: &&PsThread) -> bool {
    thread.role == PsRole::BlockOn || thread.stack.iter().any(is_block_on)
}

fn is_block_on(frame: &Frame) -> bool {
    frame.kind == FrameKind::Runtime && frame.function.rsplit("::").next() == Some("block_on")
}

/// Returns the line that has called the innermost `block_on`.
fn site(thread: &PsThread) -> Option<Frame> {
    let within = thread.stack.iter().skip_while(|frame| !is_block_on(frame));
    let is_of_program = |frame: &&Frame| matches!(frame.kind, FrameKind::Application | FrameKind::Dependency);
    within.filter(is_of_program).find(|frame| frame.line.is_some()).cloned()
}

fn root(
    thread: &PsThread,
    map: &MemoryMap,
    threads: &mut ThreadReader,
    futures: &mut FutureReader,
) -> Option<ReadRoot> {
    let is_idle = matches!(thread.state, PsThreadState::Parked | PsThreadState::DrivingIo);
    let mut missing = None;
    for _ in 0..MAX_ATTEMPTS {
        let parked = threads.parked(thread.tid, map)?;
        let Root { name, chain } = futures.root(&parked.frames, is_idle)?;
        let is_still = parked.is_still();
        let torn = || Chain { missing: Some(TORN.to_owned()), ..Chain::default() };
        let chain = if is_still { chain } else { torn() };
        let root = PsRoot {
            tid: thread.tid,
            site: site(thread),
            kind: name.unwrap_or_else(|| "a future".to_owned()),
            chain: chain.awaits,
            leaf: chain.leaf,
            chain_missing: chain.missing,
        };
        let read = ReadRoot { root, unpolled: chain.unpolled, parked };
        if is_still {
            return Some(read);
        }
        missing = Some(read);
    }
    missing
}
