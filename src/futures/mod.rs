//! What a future is, and what it awaits, by the debug information of its type.

mod chain;
mod jump;
mod layout;
mod leaf;
mod memory;
mod place;
mod root;
mod scopes;
mod type_name;
mod types;
mod unit_entries;
mod unpolled;
mod value;
mod walk;
mod way;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::modules::{MappedImage, MapsFile};
use crate::diagnose::image::{Image, MissingLines};
use crate::diagnose::names::demangled;
use crate::evidence::CodeFile;
pub(crate) use crate::futures::chain::Chain;
use crate::futures::memory::Memory;
pub(crate) use crate::futures::root::Root;
use crate::futures::types::{PollFunction, Type, Types};
use crate::futures::value::{Reader, Value};
use crate::little_endian::u64_at;
use crate::os;
use crate::process::Process;
use crate::tasks::state::{COMPLETE, RUNNING};

/// The memory that compressed debug information may take.
const MAX_DEBUG_INFO_BYTES: u64 = 1 << 30;
/// The number of functions that poll tasks, in one program.
const MAX_POLL_SYMBOLS: usize = 1 << 16;
/// The number of functions of which it is remembered what they poll.
const MAX_KINDS: usize = 1 << 16;
/// Both ways in which Rust writes symbols have the path with its lengths.
const POLL_SYMBOL: &str = "4task3raw4poll";
/// How often a task is read that runs meanwhile.
const MAX_ATTEMPTS: usize = 3;

const MERGED: &str = "several kinds of tasks have equal code, so it is not known which this one is";

/// Reads futures in the memory of a process.
#[derive(Debug)]
pub(crate) struct FutureReader {
    process: Process,
    images: Vec<MappedImage>,
    programs: HashMap<Arc<CodeFile>, Program>,
    kinds: HashMap<u64, Rc<Kind>>,
}

/// A program or library with functions that poll tasks.
#[derive(Debug)]
struct Program {
    types: Result<Types, MissingLines>,
    /// The symbols of the functions, by their addresses in the file.
    symbols: HashMap<u64, BTreeSet<String>>,
}

/// What is known of a function that polls tasks.
#[derive(Debug)]
struct Kind {
    name: Option<String>,
    /// The layout of its tasks, or why it is not known.
    cell: Result<Rc<Type>, String>,
    file: Option<Arc<CodeFile>>,
    bias: u64,
}

impl FutureReader {
    pub(crate) fn new(process: Process) -> Self {
        let images = MapsFile::open(process).read().map(|maps| maps.images()).unwrap_or_default();
        Self { process, images, programs: HashMap::new(), kinds: HashMap::new() }
    }

    /// Returns the name of the type of future that the function at `poll`
    /// polls, such as `app::session`; `None` without symbols.
    pub(crate) fn name(&mut self, poll: u64) -> Option<String> {
        self.kind(poll).name.clone()
    }

    /// Returns what the future of the task whose header is at the address
    /// `header` awaits. `poll` is the function that polls it.
    pub(crate) fn chain(&mut self, poll: u64, header: u64) -> Chain {
        let kind = self.kind(poll);
        let cell = match &kind.cell {
            Ok(cell) => cell,
            Err(missing) => return Chain::missing(missing.clone()),
        };
        let Some(program) = kind.file.as_ref().and_then(|file| self.programs.get_mut(file)) else {
            return Chain::default();
        };
        let Ok(types) = &mut program.types else { return Chain::default() };
        for _ in 0..MAX_ATTEMPTS {
            let Some(memory) = Memory::copy(self.process, header, cell.layout.size) else {
                return Chain::missing("the task's memory cannot be read");
            };
            let state = memory.peek(header, 8).unwrap_or(RUNNING);
            if state & COMPLETE != 0 {
                return Chain::missing("the task has ended");
            }
            if state & RUNNING != 0 {
                continue;
            }
            let value = Value { of_type: Rc::clone(cell), address: header };
            let mut reader = Reader {
                types: &mut *types,
                memory: &memory,
                bias: kind.bias,
                steps_left: walk::MAX_STEPS,
                now: now(),
            };
            let chain = match future(&mut reader, &value) {
                Ok(future) => walk::chain(&mut reader, future),
                Err(missing) => Chain::missing(missing),
            };
            let word = self.process.read(header, 8).and_then(|word| u64_at(&word, 0));
            if word.is_some_and(|word| word & (RUNNING | COMPLETE) == 0) && memory.is_unchanged() {
                return chain;
            }
        }
        Chain::missing("the task ran while it was read")
    }

    fn kind(&mut self, poll: u64) -> Rc<Kind> {
        if let Some(kind) = self.kinds.get(&poll) {
            return Rc::clone(kind);
        }
        let kind = Rc::new(self.read_kind(poll));
        if self.kinds.len() >= MAX_KINDS {
            self.kinds.clear();
        }
        self.kinds.insert(poll, Rc::clone(&kind));
        kind
    }

    fn read_kind(&mut self, poll: u64) -> Kind {
        let unknown = |missing: &str| Kind { name: None, cell: Err(missing.to_owned()), file: None, bias: 0 };
        let is_around = |image: &&MappedImage| image.code.iter().any(|range| range.contains(&poll));
        let Some(image) = self.images.iter().find(is_around).cloned() else {
            return unknown("the code that polls the task is in no file");
        };
        let Some(address) = poll.checked_sub(image.bias) else {
            return unknown("the code that polls the task is in no file");
        };
        let process = self.process;
        let program = self.program(&image.file);
        let symbols = program.symbols.get(&address).cloned().unwrap_or_default();
        let (functions, missing) = match &mut program.types {
            Ok(types) => match types.poll_functions(address) {
                // In line tables, a function that only jumps has no entry. The
                // one that it jumps to has the same parameters.
                functions if functions.is_empty() => {
                    let target = jump::target(process, poll).and_then(|at| at.checked_sub(image.bias));
                    (target.map(|target| types.poll_functions(target)).unwrap_or_default(), None)
                }
                functions => (functions, None),
            },
            Err(missing) => (Vec::new(), Some(missing.describe(&image.file.path))),
        };
        let mut names = names_of(&functions, &symbols);
        let mut is_merged = functions.len() > 1 || symbols.len() > 1;
        let cell = match (&functions[..], missing, &mut program.types) {
            (_, Some(missing), _) => Err(missing),
            ([function], None, Ok(types)) if !is_merged => match types.cell(function) {
                Some(cell) => {
                    let twins = types.twins(function, &cell);
                    is_merged = !twins.is_empty();
                    names.extend(twins);
                    Ok(cell)
                }
                None => Err(no_layout(function)),
            },
            _ => Err("the debug information does not describe the function that polls it".to_owned()),
        };
        let cell = if is_merged { Err(MERGED.to_owned()) } else { cell };
        let name = joined(names, symbols.len());
        Kind { name, cell, file: Some(Arc::clone(&image.file)), bias: image.bias }
    }

    fn program(&mut self, file: &Arc<CodeFile>) -> &mut Program {
        let process = self.process;
        self.programs.entry(Arc::clone(file)).or_insert_with(|| {
            let is_program =
                process.program_path().is_some_and(|program| program.to_string_lossy() == file.path);
            let mut image = if is_program { Image::of_program(process) } else { Image::default() };
            let types = image.debug_info(file, MAX_DEBUG_INFO_BYTES).map(Types::new);
            let mut symbols = HashMap::<_, BTreeSet<_>>::new();
            let polls = image.functions_with(file, POLL_SYMBOL, MAX_POLL_SYMBOLS);
            for (address, symbol) in polls.unwrap_or_default() {
                symbols.entry(address).or_default().insert(symbol);
            }
            Program { types, symbols }
        })
    }
}

fn no_layout(function: &PollFunction) -> String {
    let why = if function.has_type() {
        "the debug information does not have the layout of the task"
    } else {
        "the debug information has lines only; `debug = \"full\"` in the profile of Cargo.toml adds what a \
         future awaits"
    };
    why.to_owned()
}

/// Returns the names of the futures that a function polls.
fn names_of(functions: &[PollFunction], symbols: &BTreeSet<String>) -> BTreeSet<String> {
    let of_symbol = |symbol: &String| {
        let name = demangled(symbol);
        let (_, parameters) = name.split_once("raw::poll::<")?;
        type_name::arguments(&format!("<{parameters}")).first().map(|name| type_name::readable(name))
    };
    let of_functions = functions.iter().filter_map(PollFunction::future_name);
    // The debug information does not name a function that is passed as a value.
    let mut names: BTreeSet<_> = of_functions.filter(|name| !name.starts_with("fn(")).collect();
    if names.is_empty() || symbols.len() > functions.len() {
        names.extend(symbols.iter().filter_map(of_symbol));
        names.extend(functions.iter().filter_map(|function| of_symbol(function.linkage_name.as_ref()?)));
    }
    names
}

/// Returns one name for the futures of functions that have equal code. Of some
/// of the `symbols` the name may not be known.
fn joined(names: BTreeSet<String>, symbols: usize) -> Option<String> {
    let names: Vec<_> = names.into_iter().collect();
    let more = |named: usize| symbols.max(names.len()).saturating_sub(named);
    match &names[..] {
        [] => None,
        [one] if more(1) > 0 => Some(format!("{one} or {} more", more(1))),
        [one] => Some(one.clone()),
        [one, other] if more(2) == 0 => Some(format!("{one} or {other}")),
        [one, other, ..] => Some(format!("{one}, {other} or {} more", more(2))),
    }
}

/// Returns the future of a task.
fn future(reader: &mut Reader<'_>, cell: &Value) -> Result<Value, &'static str> {
    const UNKNOWN: &str = "the debug information does not say where the task's future is";
    let stage = reader.at_path(cell, &["core", "stage"]).ok_or(UNKNOWN)?;
    let stage = reader.through_wrappers(stage).ok_or(UNKNOWN)?;
    match reader.active(&stage) {
        Some(("Running", running)) => reader.member(&running, "__0").ok_or(UNKNOWN),
        Some((_, _)) => Err("the task's future has ended"),
        None => Err(UNKNOWN),
    }
}

/// Returns the time of the clock that Tokio's timers use.
fn now() -> Option<Duration> {
    os::monotonic_time()
}
