//! Searches the jumps from the function that was called to the one that is on
//! the stack.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use crate::capture::loaded_code::LoadedCode;
#[cfg(target_arch = "aarch64")]
use crate::diagnose::tail_calls::aarch64 as machine;
use crate::diagnose::tail_calls::jump::{Jump, Target};
#[cfg(target_arch = "x86_64")]
use crate::diagnose::tail_calls::x86_64 as machine;
use crate::little_endian::u64_at;

/// The maximum number of instructions that are decoded for one call.
const MAX_INSTRUCTIONS: usize = 40_000;
/// The maximum number of functions that are searched for one call.
const MAX_FUNCTIONS: usize = 64;
/// The maximum number of jumps from the called function to the one on the
/// stack.
const MAX_DEPTH: usize = 8;
/// The code of a longer function is not read.
const MAX_FUNCTION_BYTES: usize = 256 << 10;
/// The maximum number of stubs between a jump and its function.
const MAX_STUBS: usize = 4;

/// The memory of a process.
pub(super) trait Memory {
    /// Copies memory. `None` if an address is not mapped.
    fn read(&self, address: u64, length: usize) -> Option<Vec<u8>>;

    /// Returns the addresses of the function that contains `address`, or of the
    /// part of it that lies there. `None` if that is not known.
    fn function(&self, address: u64) -> Option<Range<u64>>;
}

impl Memory for LoadedCode {
    fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        self.read(address, length)
    }

    fn function(&self, address: u64) -> Option<Range<u64>> {
        self.function(address)
    }
}

/// A function that called another one by a jump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TailCall {
    /// Where the function begins.
    pub(super) function: u64,
    /// The addresses of the jumps that lead to the next function. Several mean
    /// that one of them was taken.
    pub(super) jumps: Vec<u64>,
}

/// Returns the tail calls between the call that returns to `return_address`,
/// and the function with the code address `inner`, which was found next on the
/// stack. Outermost first; empty without tail calls, or if they are not
/// certain.
pub(super) fn tail_calls(memory: &impl Memory, inner: u64, return_address: u64) -> Vec<TailCall> {
    let search = || {
        let on_stack = memory.function(inner)?;
        let code =
            memory.read(return_address.checked_sub(machine::CALL_BYTES as u64)?, machine::CALL_BYTES)?;
        let called = follow_stubs(memory, machine::call_target(&code, return_address))?;
        let called = memory.function(called).filter(|function| function.start == called)?;
        if called == on_stack {
            return None;
        }
        Search { memory, goal: on_stack.start, functions: HashMap::new() }.run(called)
    };
    search().unwrap_or_default()
}

/// Returns the functions that the function at `address` calls, or of which it
/// takes the address, each by its first address. At most `max`, and only those
/// whose addresses the code tells.
pub(super) fn used_functions(memory: &impl Memory, address: u64, max: usize) -> Vec<u64> {
    let Some(function) = memory.function(address) else { return Vec::new() };
    let length = usize::try_from(function.end - function.start).unwrap_or(usize::MAX);
    let code = if length <= MAX_FUNCTION_BYTES { memory.read(function.start, length) } else { None };
    let Some(code) = code else { return Vec::new() };
    let mut used = Vec::new();
    for target in machine::references(&code, function.start, MAX_INSTRUCTIONS) {
        let is_function = |at: &u64| memory.function(*at).is_some_and(|function| function.start == *at);
        let found = follow_stubs(memory, target).filter(is_function);
        used.extend(found.filter(|found| used.len() < max && !used.contains(found)));
    }
    used
}

/// Returns the address of the code to which a jump or call leads.
fn follow_stubs(memory: &impl Memory, target: Target) -> Option<u64> {
    let mut target = target;
    for _ in 0..MAX_STUBS {
        let address = match target {
            Target::Address(address) => address,
            Target::Slot(slot) => u64_at(&memory.read(slot, 8)?, 0)?,
            Target::Unknown => return None,
        };
        let is_function = memory.function(address).is_some_and(|function| function.start == address);
        let stub = || machine::stub_target(&memory.read(address, machine::STUB_BYTES)?, address);
        match if is_function { None } else { stub() } {
            Some(next) => target = next,
            None => return Some(address),
        }
    }
    None
}

/// The functions that can be reached from the called one by jumps.
struct Search<'m, M> {
    memory: &'m M,
    /// Where the function on the stack begins.
    goal: u64,
    /// The searched functions, by where they begin.
    functions: HashMap<u64, Function>,
}

/// The jumps that leave a function.
#[derive(Debug, Default)]
struct Function {
    exits: Vec<Exit>,
    /// Whether a jump goes to an unknown address.
    has_unknown_exit: bool,
}

/// A jump to another function.
#[derive(Debug, Clone, Copy)]
struct Exit {
    at: u64,
    /// Where the other function begins.
    to: u64,
}

impl<M: Memory> Search<'_, M> {
    fn run(mut self, called: Range<u64>) -> Option<Vec<TailCall>> {
        let start = called.start;
        self.explore(called);
        self.only_way(start)
    }

    /// Searches the functions, the nearest first.
    fn explore(&mut self, called: Range<u64>) {
        let mut budget = MAX_INSTRUCTIONS;
        let mut found = HashSet::from([called.start]);
        let mut next = VecDeque::from([(called, 0)]);
        while let Some((function, depth)) = next.pop_front() {
            // A function whose code is not known may lead anywhere.
            let Some(exits) = self.exits(&function, &found, &mut budget) else { continue };
            for to in exits.exits.iter().map(|exit| exit.to) {
                let is_new = to != self.goal && depth + 1 < MAX_DEPTH && found.len() < MAX_FUNCTIONS;
                if is_new && found.insert(to) {
                    next.extend(self.memory.function(to).map(|function| (function, depth + 1)));
                }
            }
            self.functions.insert(function.start, exits);
        }
    }

    fn exits(&self, function: &Range<u64>, found: &HashSet<u64>, budget: &mut usize) -> Option<Function> {
        let length = usize::try_from(function.end.checked_sub(function.start)?).ok()?;
        let code =
            self.memory.read(function.start, Some(length).filter(|bytes| *bytes <= MAX_FUNCTION_BYTES)?)?;
        let jumps = machine::jumps(&code, function.start, budget)?;
        let mut exits = Function::default();
        for Jump { at, target } in jumps {
            if target == Target::Unknown {
                exits.has_unknown_exit = true;
                continue;
            }
            if matches!(target, Target::Address(address) if function.contains(&address)) {
                continue;
            }
            let to = follow_stubs(self.memory, target);
            if to.is_some_and(|to| function.contains(&to)) {
                continue;
            }
            let Some((to, part)) = to.and_then(|to| Some((to, self.memory.function(to)?))) else {
                exits.has_unknown_exit = true;
                continue;
            };
            // A compiler moves rare code of a function away from the rest. A
            // jump from there into the middle of the rest is no call.
            let is_part = part.start != to && (part.start == self.goal || found.contains(&part.start));
            if !is_part {
                exits.exits.push(Exit { at, to: part.start });
            }
        }
        Some(exits)
    }

    /// Returns the only way from `start` to the goal. `None` if there is no
    /// way, or if there may be several.
    fn only_way(&self, start: u64) -> Option<Vec<TailCall>> {
        let leading = self.may_lead_to_goal();
        let mut way = Vec::new();
        let mut function = start;
        while function != self.goal {
            let Function { exits, has_unknown_exit } = self.functions.get(&function)?;
            let mut fitting = exits.iter().filter(|exit| leading.contains(&exit.to));
            let to = fitting.next()?.to;
            if *has_unknown_exit || fitting.any(|exit| exit.to != to) || way.len() == MAX_DEPTH {
                return None;
            }
            let jumps = exits.iter().filter(|exit| exit.to == to).map(|exit| exit.at).collect();
            way.push(TailCall { function, jumps });
            function = to;
        }
        Some(way)
    }

    /// Returns the goal and the functions from which jumps lead there, or may
    /// do so because the code behind a jump is not known.
    fn may_lead_to_goal(&self) -> HashSet<u64> {
        let targets = self.functions.values().flat_map(|function| &function.exits).map(|exit| exit.to);
        let mut leading: HashSet<_> = targets.filter(|to| !self.functions.contains_key(to)).collect();
        leading.insert(self.goal);
        loop {
            let leads = |function: &Function| {
                function.has_unknown_exit || function.exits.iter().any(|exit| leading.contains(&exit.to))
            };
            let more: Vec<_> = self
                .functions
                .iter()
                .filter(|(start, function)| !leading.contains(start) && leads(function))
                .map(|(start, _)| *start)
                .collect();
            if more.is_empty() {
                return leading;
            }
            leading.extend(more);
        }
    }
}
