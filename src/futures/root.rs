//! The future of a `block_on`, which is no task: it lies on the stack of its
//! thread, or the stack has a pointer to it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use crate::capture::frames::StackFrame;
use crate::capture::machine;
use crate::futures::chain::Chain;
use crate::futures::memory::Memory;
use crate::futures::place::{Frame, Place};
use crate::futures::scopes::{self, Function};
use crate::futures::types::{Type, Types};
use crate::futures::value::{Reader, Value};
use crate::futures::{FutureReader, Program, leaf, now, type_name, walk};
use crate::process::Process;

/// How many pointers and pins around a future are looked through.
const MAX_LAYERS: usize = 8;
/// How many places of futures are compared.
const MAX_CANDIDATES: usize = 64;
/// The code that is searched for calls, and the number of calls.
const MAX_CODE_BYTES: usize = 256 * 1024;
const MAX_CALLS: usize = 1024;
/// The names that Tokio gives to the future that it runs.
const VARIABLES: [&str; 2] = ["f", "future"];

const BEING_POLLED: &str = "it is being polled: the stack of the thread shows where it is";
const NO_PLACE: &str = "the debug information does not say where the future is";
const TWO_PLACES: &str = "the stack has several futures of this type, so it is not known which one is polled";

/// The future of a `block_on`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Root {
    /// The name of the future, such as `app::main`.
    pub(crate) name: Option<String>,
    pub(crate) chain: Chain,
}

/// What a function on the stack is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FunctionKind {
    /// A part of Tokio's `block_on`.
    BlockOn,
    /// Polls a task.
    PollTask,
    /// Another function of Tokio or of what it is built of.
    Runtime,
    /// Of the application or of a dependency.
    Other,
}

/// A place that may have the future.
#[derive(Debug)]
struct Candidate {
    value: Value,
    /// Whether a pinned pointer to the future says so. Otherwise it is a
    /// variable, from which the future may have been moved.
    is_pinned: bool,
    bias: u64,
}

/// What the stack shows of the innermost `block_on`.
#[derive(Debug, Default)]
struct Search {
    has_block_on: bool,
    /// The name of the future by the innermost function.
    name: Option<String>,
    /// Whether the future is being polled.
    is_polled: bool,
    candidates: Vec<Candidate>,
}

impl FutureReader {
    /// Returns the future of the innermost `block_on` on a stack, whose frames
    /// are given innermost first; `None` if the debug information shows no such
    /// function. `is_idle` says that the thread is known to wait for work. The
    /// caller checks that the thread has not run meanwhile.
    pub(crate) fn root(&mut self, frames: &[StackFrame], is_idle: bool) -> Option<Root> {
        let mut search = Search::default();
        let mut program = None;
        for frame in frames {
            let is_around = |range: &Range<u64>| (range.start..range.end).contains(&frame.address);
            let Some(image) = self.images.iter().find(|image| image.code.iter().any(is_around)).cloned()
            else {
                continue;
            };
            let process = self.process;
            let Program { types: Ok(types), .. } = self.program(&image.file) else { continue };
            let before = search.candidates.len();
            let goes_on = search.add_frame(process, types, frame, image.bias);
            if search.candidates.len() > before {
                program = Some(image.file);
            }
            if !goes_on {
                break;
            }
        }
        if !search.has_block_on {
            return None;
        }
        let name = search.name.take();
        if search.is_polled && !is_idle {
            return Some(Root { name, chain: Chain::missing(BEING_POLLED) });
        }
        let process = self.process;
        let program = program.and_then(|file| self.programs.get_mut(&file));
        let Some(Program { types: Ok(types), .. }) = program else {
            return Some(Root { name, chain: Chain::missing(NO_PLACE) });
        };
        let chain = search.chain(process, types);
        Some(Root { name, chain })
    }
}

impl Search {
    /// Adds what a frame shows. Returns whether frames further out matter.
    fn add_frame(&mut self, process: Process, types: &mut Types, stack: &StackFrame, bias: u64) -> bool {
        let address = stack.address.wrapping_sub(bias);
        let Some(scopes) = scopes::at(types, address) else { return true };
        let frame =
            Frame { process, unit: &scopes.unit, frame_base: scopes.frame_base.as_ref(), stack, bias };
        let mut functions = Vec::new();
        let mut goes_on = true;
        for function in &scopes.functions {
            functions.push(function);
            match kind(function) {
                FunctionKind::BlockOn => self.add_block_on(types, &frame, function),
                FunctionKind::PollTask if !self.has_block_on => self.is_polled = false,
                FunctionKind::Runtime | FunctionKind::PollTask => {}
                // The application's function, into which `block_on` is inlined.
                FunctionKind::Other if self.has_block_on => {
                    goes_on = false;
                    break;
                }
                FunctionKind::Other => self.is_polled = true,
            }
        }
        let block_on = functions.into_iter().filter(|function| kind(function) == FunctionKind::BlockOn);
        let futures = block_on.filter_map(|function| future_of(function)).collect::<BTreeSet<_>>();
        let is_pinned = |future: &&str| {
            self.candidates.iter().any(|candidate| candidate.is_pinned && is_of(&candidate.value, future))
        };
        let unknown: Vec<_> = futures.into_iter().filter(|future| !is_pinned(future)).collect();
        for future in unknown {
            self.add_polled(types, &frame, &scopes.code, future);
        }
        goes_on
    }

    /// Adds the futures that the code of a function in the file polls at a
    /// place in its own frame.
    fn add_polled(&mut self, types: &mut Types, frame: &Frame<'_>, code: &Range<u64>, future: &str) {
        let start = code.start.wrapping_add(frame.bias);
        let length = usize::try_from(code.end - code.start).unwrap_or(usize::MAX).min(MAX_CODE_BYTES);
        let Some(bytes) = frame.process.read(start, length) else { return };
        for (offset, target) in machine::calls_with_own_address(&bytes, start).into_iter().take(MAX_CALLS) {
            let target = target.wrapping_sub(frame.bias);
            let of_type = scopes::first_parameter(types, target).and_then(|id| types.at(id));
            let Some(of_type) = of_type.filter(|of_type| type_name::base(&of_type.path) == "core::pin::Pin")
            else {
                continue;
            };
            let address = frame.stack.sp.wrapping_add(offset);
            let found = through_pins(types, frame.process, of_type, Place::Word(address));
            if let Some((value, true)) = found.filter(|(value, _)| is_of(value, future)) {
                self.add_candidate(value, true, frame.bias);
            }
        }
    }

    fn add_block_on(&mut self, types: &mut Types, frame: &Frame<'_>, function: &Function) {
        self.has_block_on = true;
        let Some(future) = future_of(function) else { return };
        if self.name.is_none() || self.name.as_deref().is_some_and(is_of_tokio) {
            self.name = Some(type_name::readable(future));
        }
        for variable in &function.variables {
            if self.candidates.len() >= MAX_CANDIDATES {
                return;
            }
            // Wherever in the function a pointer to the pinned future is an
            // address in the frame, the future is at that address. It must not
            // move.
            let own_addresses = frame.own_addresses(&variable.location).into_iter().map(Place::Word);
            let place = variable.is_present.then(|| frame.place(&variable.location)).flatten();
            let places: Vec<_> = own_addresses.chain(place).collect();
            if places.is_empty() {
                continue;
            }
            let Some((name, of_type)) = variable.description(types) else { continue };
            let Some(of_type) = types.at(of_type) else { continue };
            let is_pin = type_name::base(&of_type.path) == "core::pin::Pin";
            if !is_pin && !VARIABLES.contains(&&*name) {
                continue;
            }
            for place in places {
                let found = through_pins(types, frame.process, Rc::clone(&of_type), place);
                if let Some((value, is_pinned)) = found.filter(|(value, _)| is_of(value, future)) {
                    self.add_candidate(value, is_pinned, frame.bias);
                }
            }
        }
    }

    fn add_candidate(&mut self, value: Value, is_pinned: bool, bias: u64) {
        let is_same = |other: &Candidate| {
            other.value.address == value.address && other.value.of_type.path == value.of_type.path
        };
        if let Some(other) = self.candidates.iter_mut().find(|other| is_same(other)) {
            other.is_pinned |= is_pinned;
        } else if self.candidates.len() < MAX_CANDIDATES {
            self.candidates.push(Candidate { value, is_pinned, bias });
        }
    }

    /// Returns what the future awaits, if its place is known for certain.
    fn chain(&self, process: Process, types: &mut Types) -> Chain {
        let mut found = None::<(u64, &Candidate, Chain)>;
        // The innermost functions have the pointer to what they poll.
        for is_pinned in [true, false] {
            for candidate in self.candidates.iter().filter(|candidate| candidate.is_pinned == is_pinned) {
                let Some((address, chain)) = chain_of(process, types, candidate) else { continue };
                match &found {
                    Some((other, first, _))
                        if *other != address && first.value.of_type.path == candidate.value.of_type.path =>
                    {
                        return Chain::missing(TWO_PLACES);
                    }
                    Some(_) => {}
                    None => found = Some((address, candidate, chain)),
                }
            }
            if found.is_some() {
                break;
            }
        }
        found.map_or_else(|| Chain::missing(NO_PLACE), |(_, _, chain)| chain)
    }
}

/// Returns what the future at a place awaits, and where it is; `None` if no
/// future that was polled is there.
fn chain_of(process: Process, types: &mut Types, candidate: &Candidate) -> Option<(u64, Chain)> {
    let Value { of_type, address } = &candidate.value;
    let memory = Memory::copy(process, *address, of_type.layout.size)?;
    let mut reader = Reader {
        types,
        memory: &memory,
        bias: candidate.bias,
        steps_left: walk::MAX_STEPS,
        values_left: walk::MAX_VALUES,
        now: now(),
    };
    let future = polled_in_turn(&mut reader, &candidate.value).unwrap_or_else(|| candidate.value.clone());
    if type_name::is_coroutine(&future.of_type.layout.name) {
        let (_, state) = reader.active(&future)?;
        if !state.of_type.layout.name.starts_with("Suspend") {
            return None;
        }
    } else if !candidate.is_pinned {
        // Nothing tells the future from what is left of it where it was before.
        return None;
    }
    let address = future.address;
    let chain = walk::chain(&mut reader, future);
    memory.is_unchanged().then_some((address, chain))
}

/// Returns the future of a `block_on` on a thread that does not run the loop of
/// its current-thread runtime: it is polled together with a notification that
/// the loop is free.
fn polled_in_turn(reader: &mut Reader<'_>, value: &Value) -> Option<Value> {
    const MODULE: &str = "tokio::runtime::scheduler::current_thread::";
    if !type_name::base(&value.of_type.path).ends_with("::PollFn") {
        return None;
    }
    let closure = reader.member(value, "f").filter(|closure| closure.of_type.path.starts_with(MODULE))?;
    let future = leaf::captured(reader, &closure, "future")?;
    let mut future = future;
    for _ in 0..MAX_LAYERS {
        let layout = &future.of_type.layout;
        future = if layout.is_pointer {
            reader.target(&future)?
        } else if type_name::base(&future.of_type.path) == "core::pin::Pin" {
            reader.only_member(&future)?
        } else {
            return Some(future);
        };
    }
    None
}

/// Returns the future that a variable is or points to, and whether it points to
/// it.
fn through_pins(
    types: &mut Types,
    process: Process,
    mut of_type: Rc<Type>,
    place: Place,
) -> Option<(Value, bool)> {
    let mut place = place;
    let mut is_pinned = false;
    for _ in 0..MAX_LAYERS {
        let layout = &of_type.layout;
        if layout.is_pointer && layout.size == 8 {
            let target = layout.target?;
            place = Place::Memory(pointer(process, place)?);
            of_type = types.follow(&of_type.clone(), target)?;
            is_pinned = true;
        } else if type_name::base(&of_type.path) == "core::pin::Pin" && layout.size == 8 {
            let [member] = &layout.members[..] else { return None };
            let member = member.of_type;
            let inner = types.follow(&of_type.clone(), member)?;
            // A box is a pointer in wrappers.
            if inner.layout.is_pointer {
                of_type = inner;
            } else if type_name::base(&inner.path) == "alloc::boxed::Box" {
                let target = types.follow(&inner, inner.layout.parameter("T")?)?;
                place = Place::Memory(pointer(process, place)?);
                of_type = target;
                is_pinned = true;
            } else {
                break;
            }
        } else {
            break;
        }
    }
    match place {
        Place::Memory(address) => Some((Value { of_type, address }, is_pinned)),
        Place::Word(_) => None,
    }
}

fn pointer(process: Process, place: Place) -> Option<u64> {
    match place {
        Place::Memory(address) => Some(u64::from_le_bytes(process.read(address, 8)?.try_into().ok()?)),
        Place::Word(word) => Some(word),
    }
}

/// Returns the name of the type of future that a function is for.
fn future_of(function: &Function) -> Option<&str> {
    type_name::arguments(&function.name).first().map(|name| without_pins(name))
}

/// Returns whether a value is a future of the type with this name.
fn is_of(value: &Value, future: &str) -> bool {
    without_pins(&value.of_type.path) == future
}

/// Returns the name of a future without `Pin<&mut …>` and `Pin<Box<…>>` around
/// it.
fn without_pins(name: &str) -> &str {
    const PINS: [(&str, &str); 2] =
        [("core::pin::Pin<&mut ", ">"), ("core::pin::Pin<alloc::boxed::Box<", ", alloc::alloc::Global>>")];
    let mut name = name.trim();
    for _ in 0..MAX_LAYERS {
        let strip = |(begin, end): &(&str, &str)| name.strip_prefix(begin)?.strip_suffix(end);
        let Some(inner) = PINS.iter().find_map(strip) else { break };
        name = inner.trim();
    }
    name
}

fn is_of_tokio(name: &str) -> bool {
    name.starts_with("tokio::") || name.contains("poll_fn::PollFn")
}

fn kind(function: &Function) -> FunctionKind {
    const RUNTIME: [&str; 8] =
        ["tokio", "core", "std", "alloc", "mio", "parking_lot", "parking_lot_core", "lock_api"];
    const POLL_MODULES: [&str; 2] = ["tokio::runtime::task::raw", "tokio::runtime::task::harness"];
    let crate_name = function.module.split("::").next().unwrap_or_default();
    let is_block_on = function.name.starts_with("block_on") || function.module.ends_with("::block_on");
    match crate_name {
        "tokio" if is_block_on => FunctionKind::BlockOn,
        "tokio" if POLL_MODULES.contains(&&*function.module) && function.name.starts_with("poll") => {
            FunctionKind::PollTask
        }
        name if RUNTIME.contains(&name) => FunctionKind::Runtime,
        _ => FunctionKind::Other,
    }
}
