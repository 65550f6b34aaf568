//! Recovers the frames that jumps have removed from a stack.

use std::collections::HashMap;
use std::sync::Arc;

use crate::capture::loaded_code::LoadedCode;
use crate::diagnose::tail_calls::frames::{self, SymbolisedCall};
use crate::diagnose::tail_calls::search::{self, TailCall};
use crate::diagnose::tail_calls::source;
use crate::evidence::CodeAddress;
use crate::finding::Frame;
use crate::process::Process;

/// The cache of frames is emptied when it holds this many pairs of addresses.
const MAX_CACHED_PAIRS: usize = 16_384;

/// What the file of an address says of it.
#[derive(Debug, Clone, Default)]
pub(in crate::diagnose) struct AddressFacts {
    /// Innermost first; empty if nothing is known.
    pub(in crate::diagnose) frames: Arc<[Frame]>,
    /// The whole name of the outermost function.
    pub(in crate::diagnose) symbol: Option<String>,
    /// Whether other functions were merged with the outermost one.
    pub(in crate::diagnose) is_merged: bool,
    /// The place in the source; `None` without debug information.
    pub(in crate::diagnose) place: Option<SourcePlace>,
    /// Whether the file could not be read, and is tried again later.
    pub(in crate::diagnose) is_temporary: bool,
}

/// A place in the source, with the whole path.
#[derive(Debug, Clone)]
pub(in crate::diagnose) struct SourcePlace {
    pub(in crate::diagnose) file: Option<String>,
    pub(in crate::diagnose) line: Option<u32>,
    pub(in crate::diagnose) column: Option<u32>,
}

/// Recovers frames, those between two addresses only once.
#[derive(Debug)]
pub(in crate::diagnose) struct Recovery {
    process: Process,
    /// Read when first needed.
    code: Option<LoadedCode>,
    cache: HashMap<(CodeAddress, CodeAddress), Arc<[Frame]>>,
}

impl Recovery {
    pub(in crate::diagnose) fn new(process: Process) -> Self {
        Self { process, code: None, cache: HashMap::new() }
    }

    /// Returns the frames between a frame and its caller, innermost first.
    pub(in crate::diagnose) fn frames_between(
        &mut self,
        callee: &CodeAddress,
        caller: &CodeAddress,
        facts: &mut dyn FnMut(&CodeAddress) -> AddressFacts,
    ) -> Arc<[Frame]> {
        let key = (callee.clone(), caller.clone());
        if let Some(frames) = self.cache.get(&key) {
            return Arc::clone(frames);
        }
        let mut is_final = true;
        let mut facts = |address: &CodeAddress| {
            let facts = facts(address);
            is_final &= !facts.is_temporary;
            facts
        };
        let located = self.locate(callee, caller);
        let frames =
            located.and_then(|(inner, outer)| self.recover((callee, inner), (caller, outer), &mut facts));
        let frames: Arc<[Frame]> = frames.unwrap_or_default().into();
        // The list of libraries may be older than a library, and a file may be
        // readable later.
        if located.is_none() || !is_final {
            return frames;
        }
        if self.cache.len() >= MAX_CACHED_PAIRS {
            self.cache.clear();
        }
        self.cache.insert(key, Arc::clone(&frames));
        frames
    }

    /// Returns the functions that the function at this address calls or takes
    /// the address of, as far as they are known. At most `max`.
    pub(in crate::diagnose) fn used_functions(
        &mut self,
        caller: &CodeAddress,
        max: usize,
    ) -> Vec<CodeAddress> {
        let code = self.code.get_or_insert_with(|| LoadedCode::new(self.process));
        code.refresh();
        let Some(address) = code.locate(caller) else { return Vec::new() };
        let used = search::used_functions(code, address, max);
        used.into_iter().filter_map(|function| code.place(function)).collect()
    }

    /// Returns the addresses in memory of two addresses in files.
    fn locate(&mut self, callee: &CodeAddress, caller: &CodeAddress) -> Option<(u64, u64)> {
        let code = self.code.get_or_insert_with(|| LoadedCode::new(self.process));
        code.refresh();
        Some((code.locate(callee)?, code.locate(caller)?))
    }

    fn recover(
        &self,
        (callee, inner): (&CodeAddress, u64),
        (caller, outer): (&CodeAddress, u64),
        facts: &mut dyn FnMut(&CodeAddress) -> AddressFacts,
    ) -> Option<Vec<Frame>> {
        let code = self.code.as_ref()?;
        // The address of a caller is the last byte of its call.
        let return_address = outer.wrapping_add(1);
        let calls = search::tail_calls(code, inner, return_address);
        if calls.is_empty() {
            return None;
        }
        let on_stack = facts(callee).frames.last().map_or(String::new(), |frame| frame.function.clone());
        let mut callers = vec![facts(caller)];
        let mut symbolised = Vec::new();
        for TailCall { jumps, .. } in calls {
            let jumps: Option<Vec<_>> = jumps.iter().map(|jump| Some(facts(&code.place(*jump)?))).collect();
            let jumps = jumps?;
            symbolised.push(SymbolisedCall {
                jumps: jumps.iter().map(|jump| Arc::clone(&jump.frames)).collect(),
                is_doubtful: is_doubtful(jumps.first()?, &callers),
            });
            callers = jumps;
        }
        Some(frames::recovered(&symbolised, &on_stack))
    }
}

/// Returns whether the called function may be another one in the source: one
/// with which the compiler or the linker has merged it.
fn is_doubtful(called: &AddressFacts, callers: &[AddressFacts]) -> bool {
    let is_named_differently = |place: &SourcePlace| match (&place.file, place.line, place.column) {
        (Some(file), Some(line), Some(column)) => {
            let symbol = called.symbol.as_ref();
            symbol.is_some_and(|symbol| source::calls_another(file, line, column, symbol))
        }
        // The compiler has added the call, or has made it from several calls.
        (_, line, _) => line.is_none(),
    };
    called.is_merged || callers.iter().filter_map(|caller| caller.place.as_ref()).any(is_named_differently)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CodeFile;

    #[test]
    fn a_look_up_without_an_address_in_memory_is_tried_again() {
        let here = tests::a_look_up_without_an_address_in_memory_is_tried_again as fn();
        let here = LoadedCode::new(Process::Own).place(here as usize as u64).expect("the test is in memory");
        let nowhere = CodeAddress { file: Arc::new(CodeFile::none()), address: 1 };
        for (callee, caller, is_cached) in
            [(&here, &here, true), (&nowhere, &here, false), (&here, &nowhere, false)]
        {
            let mut recovery = Recovery::new(Process::Own);
            assert!(recovery.frames_between(callee, caller, &mut |_| AddressFacts::default()).is_empty());
            assert_eq!(recovery.cache.len(), usize::from(is_cached), "{callee:?} {caller:?}");
        }
    }
}
