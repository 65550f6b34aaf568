//! Whether a call leads to a function, by the code alone.
//!
//! The compiler turns the last call of a function into a jump. So the function
//! that was called may have jumped to another one, which is on the stack in its
//! place.

use crate::capture::machine;
use crate::capture::unwind::Unwinder;

/// How many functions are searched for jumps.
const MAX_FUNCTIONS: usize = 16;
/// How much code of a function is searched.
const MAX_FUNCTION_BYTES: u64 = 16 * 1024;

/// Returns whether the call at `caller` is one of the function in which
/// `callee` is, or of one that jumps to it; `None` if the code of the call does
/// not say what it calls.
pub(super) fn calls(unwinder: &Unwinder, caller: u64, callee: u64) -> Option<bool> {
    let target = machine::direct_call_target(unwinder.process(), caller.wrapping_add(1))?;
    let mut functions = vec![target];
    let mut next = 0;
    while let Some(function) = functions.get(next).copied().filter(|_| next < MAX_FUNCTIONS) {
        if unwinder.is_within(callee, function) {
            return Some(true);
        }
        for target in jumps_out_of(unwinder, function) {
            if !functions.contains(&target) {
                functions.push(target);
            }
        }
        next += 1;
    }
    Some(false)
}

/// Returns where the function that begins at `start` jumps to, outside of
/// itself.
fn jumps_out_of(unwinder: &Unwinder, start: u64) -> Vec<u64> {
    let process = unwinder.process();
    // A jump that the linker has made has no entry in the tables.
    if let Some(target) = machine::jump_target(process, start) {
        return vec![target];
    }
    let Some(function) = unwinder.function_of(start).filter(|function| function.start == start) else {
        return Vec::new();
    };
    let length = (function.end - function.start).min(MAX_FUNCTION_BYTES);
    let Some(code) = process.read(start, usize::try_from(length).unwrap_or(0)) else { return Vec::new() };
    let is_start = |target: u64| unwinder.function_of(target).is_some_and(|other| other.start == target);
    let targets = machine::possible_jump_targets(&code, start);
    targets.filter(|target| !function.contains(target) && is_start(*target)).collect()
}
