//! Which task a thread polls, by its stack.

use crate::capture::unwind::Unwinder;
use crate::jump;
use crate::process::Process;
use crate::threads::reading::ReadStack;

/// Where the header has the address of the task's table of functions. The first
/// of them polls the task.
const VTABLE_OFFSET: u64 = 16;
const RUNNING: u64 = 1;
/// The maximum number of tasks that are compared with one stack. There is one
/// for each worker.
const MAX_TASKS: usize = 4096;
/// How many frames outside of that of the poll function may have the task's
/// address: they have passed it on.
const CALLERS: usize = 2;

/// Returns the header of the task that the thread polls, if the stack shows
/// exactly one of `running` in the frame of its poll function. The task must
/// still be running.
pub(super) fn polled_task(stack: &ReadStack, running: &[u64], unwinder: &Unwinder) -> Option<u64> {
    let process = unwinder.process();
    let addresses = &stack.unwound.addresses;
    // The innermost frame that polls one of the tasks.
    let mut tasks = Vec::new();
    for header in running.iter().take(MAX_TASKS) {
        let Some(poll) = poll_function(process, *header) else { continue };
        let polls = functions_from(process, poll);
        let is_poll = |address: &u64| polls.iter().flatten().any(|poll| unwinder.is_within(*address, *poll));
        let frame = addresses.iter().position(is_poll);
        tasks.extend(frame.map(|frame| (frame, *header)));
    }
    let innermost = tasks.iter().map(|(frame, _)| *frame).min()?;
    tasks.retain(|(frame, _)| *frame == innermost);
    let slots = return_slots(stack);
    let begin = *slots.get(innermost.checked_sub(1)?)?;
    let own_end = *slots.get(innermost)?;
    let end = *slots.get(innermost + CALLERS).unwrap_or(&own_end);
    let is_between = |header: u64, begin: u64, end: u64| {
        (begin..end).step_by(8).any(|address| stack.copy.word(address) == Some(header))
    };
    let found = |end: u64| -> Vec<u64> {
        let all = tasks.iter().map(|(_, header)| *header);
        all.filter(|header| is_between(*header, begin, end)).collect()
    };
    let mut headers = found(own_end);
    if headers.is_empty() {
        headers = found(end);
    }
    let [header] = headers[..] else { return None };
    (word(process, header)? & RUNNING != 0).then_some(header)
}

fn poll_function(process: Process, header: u64) -> Option<u64> {
    let vtable = word(process, header.checked_add(VTABLE_OFFSET)?)?;
    word(process, vtable)
}

/// Returns a function and the one that it jumps to, if it is only a jump: then
/// only that one is on the stack.
fn functions_from(process: Process, function: u64) -> [Option<u64>; 2] {
    [Some(function), jump::target(process, function)]
}

fn word(process: Process, address: u64) -> Option<u64> {
    Some(u64::from_ne_bytes(process.read(address, 8)?.try_into().ok()?))
}

/// Returns where the return address of each frame is: that of frame `n` is the
/// address in frame `n + 1`. The frame lies between that of `n - 1` and its
/// own. Ends where an address is not found.
fn return_slots(stack: &ReadStack) -> Vec<u64> {
    let mut slots = Vec::new();
    let mut at = stack.copy.sp & !7;
    let end = stack.copy.sp.saturating_add(stack.copy.bytes.len() as u64);
    for address in stack.unwound.addresses.iter().skip(1) {
        let is_slot = |slot: &u64| stack.copy.word(*slot) == Some(address.wrapping_add(1));
        let Some(slot) = (at..end).step_by(8).find(is_slot) else { break };
        slots.push(slot);
        at = slot.saturating_add(8);
    }
    slots
}
