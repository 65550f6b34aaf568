//! Whether a call leads to a function, by the code alone.
//!
//! The compiler turns the last call of a function into a jump. So the function
//! that was called may have jumped to another one, which is on the stack in its
//! place.

use std::ops::Range;

use crate::capture::modules::Module;
use crate::capture::{machine, unwind_tables};
use crate::process::Process;

/// How many functions are searched for jumps.
const MAX_FUNCTIONS: usize = 16;
/// How much code of a function is searched.
const MAX_FUNCTION_BYTES: u64 = 16 * 1024;

/// Returns whether the call at `caller` is one of the function in which
/// `callee` is, or of one that jumps to it; `None` if the code of the call does
/// not say what it calls.
pub(super) fn calls(process: Process, modules: &[Module], caller: u64, callee: u64) -> Option<bool> {
    let target = machine::direct_call_target(process, caller.wrapping_add(1))?;
    let mut functions = vec![target];
    let mut next = 0;
    while let Some(function) = functions.get(next).copied() {
        if function_of(modules, callee).is_some_and(|around| around.start == function) {
            return Some(true);
        }
        for target in jumps_out_of(process, modules, function) {
            if functions.len() < MAX_FUNCTIONS && !functions.contains(&target) {
                functions.push(target);
            }
        }
        next += 1;
    }
    Some(false)
}

/// Returns where the function that begins at `start` jumps to, outside of
/// itself.
fn jumps_out_of(process: Process, modules: &[Module], start: u64) -> Vec<u64> {
    // A jump that the linker has made has no entry in the tables.
    if let Some(target) = machine::jump_target(process, start) {
        return vec![target];
    }
    let Some(function) = function_of(modules, start).filter(|function| function.start == start) else {
        return Vec::new();
    };
    let length = (function.end - function.start).min(MAX_FUNCTION_BYTES);
    let Some(code) = process.read(start, usize::try_from(length).unwrap_or(0)) else { return Vec::new() };
    let is_start = |target: u64| function_of(modules, target).is_some_and(|other| other.start == target);
    let targets = machine::possible_jump_targets(&code, start);
    targets.filter(|target| !function.contains(target) && is_start(*target)).collect()
}

fn function_of(modules: &[Module], address: u64) -> Option<Range<u64>> {
    let module = modules.iter().find(|module| module.range.contains(&address))?;
    unwind_tables::function(module, address)
}
