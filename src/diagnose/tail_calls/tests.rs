//! Programs of a few bytes, in which jumps replace calls.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use crate::diagnose::tail_calls::search::{Memory, TailCall, tail_calls, used_functions};
use crate::diagnose::tail_calls::{aarch64, x86_64};

/// Functions and data by their addresses.
#[derive(Debug, Default)]
struct Program {
    memory: BTreeMap<u64, Vec<u8>>,
    functions: Vec<Range<u64>>,
}

/// Where the calling function is, and where its call returns to.
const CALLER: u64 = 0x1000;
const AFTER_CALL: u64 = CALLER + 6;
/// The first called function, others, and the one that is on the stack.
const CALLED: u64 = 0x2000;
const OTHER: u64 = 0x3000;
const THIRD: u64 = 0x4000;
const ON_STACK: u64 = 0x9000;
const SLOT: u64 = 0x8000;

impl Program {
    /// A program in which [`CALLER`] calls [`CALLED`].
    fn new() -> Self {
        Self::default()
            .function(CALLER, &[&[0x90], &near(0xE8, CALLER + 1, CALLED)])
            .function(ON_STACK, &[&[0x53, 0x0F, 0x05, 0xC3]])
    }

    fn function(mut self, start: u64, parts: &[&[u8]]) -> Self {
        let code = parts.concat();
        self.functions.push(start..start + code.len() as u64);
        self.data(start, &code)
    }

    fn data(mut self, start: u64, bytes: &[u8]) -> Self {
        self.memory.insert(start, bytes.to_vec());
        self
    }

    fn tail_calls(&self) -> Vec<TailCall> {
        tail_calls(self, ON_STACK + 1, AFTER_CALL)
    }
}

impl Memory for Program {
    fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let (start, bytes) = self.memory.range(..=address).next_back()?;
        let offset = usize::try_from(address - start).ok().filter(|offset| *offset < bytes.len())?;
        // What follows in the same page is mapped.
        let mut read = bytes[offset..].to_vec();
        read.resize(length, 0xCC);
        Some(read)
    }

    fn function(&self, address: u64) -> Option<Range<u64>> {
        self.functions.iter().find(|function| function.contains(&address)).cloned()
    }
}

/// `jmp` or `call` at an address to another.
fn near(opcode: u8, at: u64, to: u64) -> [u8; 5] {
    let [a, b, c, d] = (to.wrapping_sub(at + 5) as u32).to_le_bytes();
    [opcode, a, b, c, d]
}

fn jump(at: u64, to: u64) -> [u8; 5] {
    near(0xE9, at, to)
}

/// `jmp` through a word in memory.
fn jump_through(at: u64, slot: u64) -> [u8; 6] {
    let [a, b, c, d] = (slot.wrapping_sub(at + 6) as u32).to_le_bytes();
    [0xFF, 0x25, a, b, c, d]
}

fn call(function: u64, jumps: &[u64]) -> TailCall {
    TailCall { function, jumps: jumps.to_vec() }
}

/// `call` through a word in memory, or the load of that word or of its address
/// into rax.
fn relative(opcode: &[u8], at: u64, to: u64) -> Vec<u8> {
    let distance = to.wrapping_sub(at + opcode.len() as u64 + 4) as u32;
    [opcode, &distance.to_le_bytes()].concat()
}

#[test]
fn a_function_uses_what_it_calls_and_what_it_takes_the_address_of() {
    let (lea, mov, call_through) = ([0x48, 0x8D, 0x05], [0x48, 0x8B, 0x05], [0xFF, 0x15]);
    let program = Program::default()
        .function(
            CALLER,
            &[
                &near(0xE8, CALLER, CALLED),
                &relative(&lea, CALLER + 5, OTHER),
                &relative(&mov, CALLER + 12, SLOT),
                &relative(&call_through, CALLER + 19, SLOT + 8),
                &relative(&lea, CALLER + 25, ON_STACK + 1),
                &near(0xE8, CALLER + 32, CALLED),
            ],
        )
        .function(CALLED, &[&[0xC3]])
        .function(OTHER, &[&[0xC3]])
        .function(THIRD, &[&[0xC3]])
        .function(ON_STACK, &[&[0x53, 0xC3]])
        .data(SLOT, &[THIRD.to_le_bytes(), ON_STACK.to_le_bytes()].concat());
    assert_eq!(used_functions(&program, CALLER + 3, 9), [CALLED, OTHER, THIRD, ON_STACK]);
    assert_eq!(used_functions(&program, CALLER + 3, 2), [CALLED, OTHER]);
    assert_eq!(used_functions(&program, SLOT, 9), [0; 0], "it is no function");
}

#[test]
fn a_call_to_the_function_on_the_stack_needs_no_jump() {
    let program = Program::default()
        .function(CALLER, &[&[0x90], &near(0xE8, CALLER + 1, ON_STACK)])
        .function(ON_STACK, &[&[0x53, 0x0F, 0x05, 0xC3]]);
    assert_eq!(program.tail_calls(), []);
}

#[test]
fn the_jump_of_the_called_function_is_found() {
    let program = Program::new().function(CALLED, &[&[0x90], &jump(CALLED + 1, ON_STACK)]);
    assert_eq!(program.tail_calls(), [call(CALLED, &[CALLED + 1])]);
}

#[test]
fn a_jump_through_a_slot_is_found() {
    let program =
        Program::new().function(CALLED, &[&jump_through(CALLED, SLOT)]).data(SLOT, &ON_STACK.to_le_bytes());
    assert_eq!(program.tail_calls(), [call(CALLED, &[CALLED])]);
}

#[test]
fn stubs_are_followed_but_are_no_calls() {
    let (stub, caller_stub) = (0x7000, 0x7100);
    let program = Program::default()
        .function(CALLER, &[&[0x90], &near(0xE8, CALLER + 1, caller_stub)])
        .data(caller_stub, &jump_through(caller_stub, SLOT + 8))
        .function(CALLED, &[&jump(CALLED, stub)])
        .data(stub, &jump_through(stub, SLOT))
        .data(SLOT, &[ON_STACK.to_le_bytes(), CALLED.to_le_bytes()].concat())
        .function(ON_STACK, &[&[0x53, 0x0F, 0x05, 0xC3]]);
    assert_eq!(program.tail_calls(), [call(CALLED, &[CALLED])]);
}

#[test]
fn a_chain_of_jumps_is_found_outermost_first() {
    let program = Program::new()
        .function(CALLED, &[&jump(CALLED, OTHER)])
        .function(OTHER, &[&[0x90], &jump(OTHER + 1, THIRD)])
        .function(THIRD, &[&jump(THIRD, ON_STACK)]);
    let expected = [call(CALLED, &[CALLED]), call(OTHER, &[OTHER + 1]), call(THIRD, &[THIRD])];
    assert_eq!(program.tail_calls(), expected);
}

#[test]
fn two_jumps_to_one_function_are_both_returned() {
    // je +5; jmp; jmp
    let program = Program::new()
        .function(CALLED, &[&[0x74, 5], &jump(CALLED + 2, ON_STACK), &jump(CALLED + 7, ON_STACK)]);
    assert_eq!(program.tail_calls(), [call(CALLED, &[CALLED + 2, CALLED + 7])]);
}

#[test]
fn two_ways_through_different_functions_are_not_certain() {
    let both = &[&[0x74_u8, 5] as &[u8], &jump(CALLED + 2, ON_STACK), &jump(CALLED + 7, OTHER)];
    let program = Program::new().function(CALLED, both).function(OTHER, &[&jump(OTHER, ON_STACK)]);
    assert_eq!(program.tail_calls(), []);
    // The other way does not lead to the function on the stack.
    let program = Program::new().function(CALLED, both).function(OTHER, &[&[0xC3]]);
    assert_eq!(program.tail_calls(), [call(CALLED, &[CALLED + 2])]);
}

#[test]
fn a_jump_to_an_unknown_address_may_lead_anywhere() {
    let program = Program::new().function(CALLED, &[&[0x74, 5], &jump(CALLED + 2, ON_STACK), &[0xFF, 0xE0]]);
    assert_eq!(program.tail_calls(), []);
    let call_through_register = Program::default()
        .function(CALLER, &[&[0x90, 0x90, 0x90, 0x90, 0xFF, 0xD0]])
        .function(CALLED, &[&jump(CALLED, ON_STACK)])
        .function(ON_STACK, &[&[0x53, 0x0F, 0x05, 0xC3]]);
    assert_eq!(call_through_register.tail_calls(), []);
}

#[test]
fn a_second_way_that_was_not_searched_is_not_certain() {
    let both = &[&[0x74_u8, 5] as &[u8], &jump(CALLED + 2, ON_STACK), &jump(CALLED + 7, OTHER)];
    let program = || Program::new().function(CALLED, both);
    let certain = program().function(OTHER, &[&jump(OTHER, THIRD)]).function(THIRD, &[&[0xC3]]);
    assert_eq!(certain.tail_calls(), [call(CALLED, &[CALLED + 2])]);
    let too_long = vec![0x90; (256 << 10) + 1];
    for (why, code) in [
        ("its code cannot be decoded", &[0x06][..]),
        ("it jumps to an unknown address", &[0xFF, 0xE0]),
        ("it is too long", &too_long),
    ] {
        assert_eq!(program().function(OTHER, &[code]).tail_calls(), [], "{why}");
        let behind = program().function(OTHER, &[&jump(OTHER, THIRD)]).function(THIRD, &[code]);
        assert_eq!(behind.tail_calls(), [], "{why}");
    }
    assert_eq!(program().tail_calls(), [], "no function is known there");
    let to_missing_slot = program().function(OTHER, &[&jump_through(OTHER, SLOT)]);
    assert_eq!(to_missing_slot.tail_calls(), []);
    let function = |n: u64| 0x1_0000 + 0x100 * n;
    let chain = (0..8).fold(program().function(OTHER, &[&jump(OTHER, function(0))]), |program, n| {
        let to = if n == 7 { ON_STACK } else { function(n + 1) };
        program.function(function(n), &[&jump(function(n), to)])
    });
    assert_eq!(chain.tail_calls(), [], "the other way is too deep");
}

#[test]
fn functions_that_jump_in_a_circle_end_the_search() {
    let program = Program::new()
        .function(CALLED, &[&jump(CALLED, OTHER)])
        .function(OTHER, &[&[0x74, 5], &jump(OTHER + 2, CALLED), &[0xC3]]);
    assert_eq!(program.tail_calls(), []);
    let program = Program::new()
        .function(CALLED, &[&jump(CALLED, OTHER)])
        .function(OTHER, &[&[0x74, 5], &jump(OTHER + 2, CALLED), &jump(OTHER + 7, ON_STACK)]);
    assert_eq!(program.tail_calls(), [], "how often the circle was passed is unknown");
}

#[test]
fn rare_code_that_lies_apart_is_no_function_of_its_own() {
    // The function on the stack is the part of `CALLED` that lies apart: the
    // jump leads to its middle.
    let program = Program::new().function(CALLED, &[&jump(CALLED, ON_STACK + 1)]);
    assert_eq!(program.tail_calls(), []);
}

#[test]
fn unknown_code_gives_no_tail_call() {
    for code in [&[0x06][..], &[0xE9, 1], &[]] {
        assert_eq!(Program::new().function(CALLED, &[code]).tail_calls(), [], "{code:x?}");
    }
    assert_eq!(Program::new().tail_calls(), [], "the called function is unknown");
    let to_missing_slot = Program::new().function(CALLED, &[&jump_through(CALLED, SLOT)]);
    assert_eq!(to_missing_slot.tail_calls(), []);
    assert_eq!(tail_calls(&Program::new(), 0, 0), []);
    assert_eq!(tail_calls(&Program::new(), u64::MAX, u64::MAX), []);
}

#[test]
fn a_chain_of_more_than_the_maximum_is_not_searched() {
    let function = |n: u64| 0x1_0000 + 0x100 * n;
    let chain = |length: u64| {
        let first = Program::new().function(CALLED, &[&jump(CALLED, function(0))]);
        (0..length).fold(first, |program, n| {
            let to = if n + 1 == length { ON_STACK } else { function(n + 1) };
            program.function(function(n), &[&jump(function(n), to)])
        })
    };
    assert_eq!(chain(7).tail_calls().len(), 8);
    assert_eq!(chain(8).tail_calls(), []);
}

/// A process in which every address holds the same random bytes.
struct Noise {
    bytes: Vec<u8>,
    function_bytes: u64,
}

impl Memory for Noise {
    fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let offset = (address % self.bytes.len() as u64) as usize;
        Some(self.bytes.iter().copied().cycle().skip(offset).take(length).collect())
    }

    fn function(&self, address: u64) -> Option<Range<u64>> {
        let start = address - address % self.function_bytes;
        Some(start..start.saturating_add(self.function_bytes))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_bytes_are_searched_within_bounds(
        bytes in proptest::collection::vec(any::<u8>(), 1..600),
        inner: u64,
        return_address: u64,
        function_bytes in 1_u64..10_000,
    ) {
        let way = tail_calls(&Noise { bytes, function_bytes }, inner, return_address);
        prop_assert!(way.len() <= 8);
    }

    #[test]
    fn any_bytes_are_decoded_within_the_budget(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        start: u64,
    ) {
        for jumps in [x86_64::jumps, aarch64::jumps] {
            let mut budget = 500;
            let jumps = jumps(&bytes, start, &mut budget);
            prop_assert!(jumps.is_none_or(|jumps| jumps.len() <= 500 - budget));
        }
        for (call_target, stub_target) in
            [(x86_64::call_target as fn(&_, _) -> _, x86_64::stub_target as fn(&_, _) -> _),
             (aarch64::call_target, aarch64::stub_target)]
        {
            let _ = (call_target(&bytes, start), stub_target(&bytes, start));
        }
    }
}
