//! What a future is, and what it awaits, by the debug information of its type.

mod chain;
#[cfg(test)]
mod fuzz_tests;
mod hold;
mod layout;
mod leaf;
mod macro_line;
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
use std::time::{Duration, Instant};

use crate::capture::modules::{MappedImage, MapsFile};
use crate::diagnose::image::{Image, MissingLines};
use crate::diagnose::names::demangled;
use crate::evidence::CodeFile;
pub(crate) use crate::futures::chain::Chain;
pub(crate) use crate::futures::hold::Hold;
use crate::futures::memory::Memory;
pub(crate) use crate::futures::root::Root;
use crate::futures::types::{PollFunction, Type, Types};
use crate::futures::value::{Reader, Value};
use crate::jump;
use crate::little_endian::u64_at;
use crate::os;
use crate::process::Process;
use crate::tasks::TaskPlace;
use crate::tasks::state::{COMPLETE, RUNNING};

/// The memory that compressed debug information may take.
const MAX_DEBUG_INFO_BYTES: u64 = 1 << 30;
/// The number of functions that poll tasks, in one program.
const MAX_POLL_SYMBOLS: usize = 1 << 16;
/// The number of functions of which it is remembered what they poll.
const MAX_KINDS: usize = 1 << 16;
/// Both ways in which Rust writes symbols have the path with its lengths.
const POLL_SYMBOL: &str = "4task3raw4poll";
const SCHEDULE_SYMBOL: &str = "4task3raw8schedule";
/// The number of tasks whose memory is copied at once, if each has at most so
/// many bytes.
const TASKS_AT_ONCE: usize = 256;
const MAX_SHORT_TASK_BYTES: u64 = 16 * 1024;
/// How often a task is read that runs meanwhile.
const MAX_ATTEMPTS: usize = 3;
/// The number of values that are visited in the tasks of one moment. A task has
/// about a hundred.
const MAX_VALUES_OF_ALL: usize = 1 << 26;

const MERGED: &str = "several kinds of tasks have equal code, so it is not known which this one is";

const TOO_MANY_VALUES: &str = "the futures of the tasks before this one have too many values";

/// Reads futures in the memory of a process.
#[derive(Debug)]
pub(crate) struct FutureReader {
    process: Process,
    images: Vec<MappedImage>,
    programs: HashMap<Arc<CodeFile>, Program>,
    kinds: HashMap<u64, Rc<Kind>>,
    max_debug_info_bytes: u64,
    /// How many more values may be visited.
    values_left: usize,
}

/// A program or library with functions that poll tasks.
#[derive(Debug)]
struct Program {
    types: Result<Types, Missing>,
    /// The symbols of the functions, by their addresses in the file.
    symbols: HashMap<u64, BTreeSet<String>>,
}

/// Why the types of a program are not known.
#[derive(Debug)]
enum Missing {
    Info(MissingLines),
    TooMuch { bytes: u64, max_bytes: u64 },
}

impl Missing {
    fn describe(&self, path: &str) -> String {
        match self {
            Self::Info(missing) => missing.describe_types(path),
            Self::TooMuch { bytes, max_bytes } => format!(
                "the program has {} MiB of debug information, and at most {} MiB are read from within; \
                 `loopscope ps --tree` reads all of it",
                bytes >> 20,
                max_bytes >> 20
            ),
        }
    }
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
        Self {
            process,
            images,
            programs: HashMap::new(),
            kinds: HashMap::new(),
            max_debug_info_bytes: u64::MAX,
            values_left: MAX_VALUES_OF_ALL,
        }
    }

    /// Sets how much debug information of a program is read. Of one that has
    /// more, only names are known.
    pub(crate) fn with_max_debug_info(self, bytes: u64) -> Self {
        Self { max_debug_info_bytes: bytes, ..self }
    }

    /// Returns whether the process still has the programs and libraries that it
    /// had when this reader was created.
    pub(crate) fn has_current_images(&self) -> bool {
        MapsFile::open(self.process).read().is_some_and(|maps| maps.images() == self.images)
    }

    /// Begins to read the tasks of another moment.
    pub(crate) fn begin_moment(&mut self) {
        self.values_left = MAX_VALUES_OF_ALL;
    }

    /// Returns the name of the type of future that the function at `poll`
    /// polls, such as `app::session`; `None` without symbols.
    pub(crate) fn name(&mut self, poll: u64) -> Option<String> {
        self.kind(poll).name.clone()
    }

    /// Returns the type of the scheduler whose tasks the function at `schedule`
    /// schedules: `Arc<tokio::runtime::scheduler::current_thread::Handle>`.
    /// `None` if no symbol and no debug information names it.
    pub(crate) fn scheduler(&mut self, schedule: u64) -> Option<String> {
        let is_around = |image: &&MappedImage| image.code.iter().any(|range| range.contains(&schedule));
        let image = self.images.iter().find(is_around).cloned()?;
        let address = schedule.checked_sub(image.bias)?;
        let program = self.program(&image.file);
        let functions = program.types.as_mut().map(|types| types.poll_functions(address)).unwrap_or_default();
        let of_functions = functions.into_iter().filter_map(|function| function.name);
        let symbols = program.symbols.get(&address).into_iter().flatten().map(|symbol| demangled(symbol));
        let mut names = of_functions.chain(symbols).filter_map(|name| {
            let (_, parameters) = name.split_once("schedule")?;
            Some((*type_name::arguments(parameters.trim_start_matches("::")).first()?).to_owned())
        });
        names.next()
    }

    /// Returns what the futures of several tasks await. It is not read of tasks
    /// whose turn comes after the `deadline`.
    pub(crate) fn chains(&mut self, tasks: &[TaskPlace], deadline: Option<Instant>) -> Vec<Chain> {
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let chains = tasks.chunks(TASKS_AT_ONCE).flat_map(|tasks| {
            if is_late() {
                return vec![Chain::missing("the time for this reading was over"); tasks.len()];
            }
            self.chains_at_once(tasks)
        });
        chains.collect()
    }

    /// Reads the memory of several tasks with one system call, twice.
    fn chains_at_once(&mut self, tasks: &[TaskPlace]) -> Vec<Chain> {
        let mut length =
            |task: &TaskPlace| self.kind(task.poll).cell.as_ref().map_or(0, |cell| cell.layout.size);
        let pieces: Vec<_> = tasks.iter().map(|task| (task.header, length(task))).collect();
        let copies = Memory::copies(self.process, &pieces, MAX_SHORT_TASK_BYTES).into_iter();
        let walked = copies.zip(tasks).map(|(memory, task)| {
            let memory = memory?;
            Some((self.read_copy(*task, &memory, &walk::chain)?, memory))
        });
        let walked: Vec<_> = walked.collect();
        let later = Memory::copies(self.process, &pieces, MAX_SHORT_TASK_BYTES);
        let chains = walked.into_iter().zip(later).zip(tasks).map(|((walked, later), task)| {
            let unchanged = walked.zip(later).filter(|((_, memory), later)| {
                is_suspended(later.peek(task.header, 8)) && memory.is_unchanged_in(later)
            });
            // It is read once more, alone.
            let alone = || self.chain(*task);
            unchanged.map_or_else(alone, |((chain, _), _)| chain.unwrap_or_else(Chain::missing))
        });
        chains.collect()
    }

    /// Returns what the future of a task awaits.
    pub(crate) fn chain(&mut self, task: TaskPlace) -> Chain {
        self.with_future(task, walk::chain).unwrap_or_else(Chain::missing)
    }

    /// Returns what a variable of an async function of the task has of the
    /// lock whose semaphore is at an address.
    pub(crate) fn hold(&mut self, task: TaskPlace, semaphore: u64) -> Option<Hold> {
        let hold = |reader: &mut Reader<'_>, future| hold::of(reader, future, semaphore);
        self.with_future(task, hold).ok().flatten()
    }

    /// Reads the future of a task that does not run meanwhile.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, as a sentence.
    fn with_future<T>(
        &mut self,
        task: TaskPlace,
        read: impl Fn(&mut Reader<'_>, Value) -> T,
    ) -> Result<T, String> {
        let kind = self.kind(task.poll);
        let length = kind.cell.as_ref().map_err(String::clone)?.layout.size;
        for _ in 0..MAX_ATTEMPTS {
            let Some(memory) = Memory::copy(self.process, task.header, length) else {
                return Err("the task's memory cannot be read".to_owned());
            };
            let state = memory.peek(task.header, 8);
            if state.is_some_and(|state| state & COMPLETE != 0) {
                return Err("the task has ended".to_owned());
            }
            let Some(result) = self.read_copy(task, &memory, &read) else { continue };
            let state = self.process.read(task.header, 8).and_then(|word| u64_at(&word, 0));
            if is_suspended(state) && memory.is_unchanged() {
                return result;
            }
        }
        Err("the task ran while it was read".to_owned())
    }

    /// Reads the future of a task in a copy of its memory; `None` if the task
    /// was being polled or had ended.
    fn read_copy<T>(
        &mut self,
        task: TaskPlace,
        memory: &Memory,
        read: &impl Fn(&mut Reader<'_>, Value) -> T,
    ) -> Option<Result<T, String>> {
        if !is_suspended(memory.peek(task.header, 8)) {
            return None;
        }
        if self.values_left == 0 {
            return Some(Err(TOO_MANY_VALUES.to_owned()));
        }
        let kind = self.kind(task.poll);
        let cell = match &kind.cell {
            Ok(cell) => cell,
            Err(missing) => return Some(Err(missing.clone())),
        };
        let program = kind.file.as_ref().and_then(|file| self.programs.get_mut(file));
        let Some(Ok(types)) = program.map(|program| &mut program.types) else {
            return Some(Err("the program of the task is not known".to_owned()));
        };
        let values = walk::MAX_VALUES.min(self.values_left);
        let mut reader = Reader {
            types,
            memory,
            bias: kind.bias,
            steps_left: walk::MAX_STEPS,
            values_left: values,
            now: now(),
        };
        let value = Value { of_type: Rc::clone(cell), address: task.header };
        let result = future(&mut reader, &value).map(|future| read(&mut reader, future));
        self.values_left -= values - reader.values_left;
        Some(result.map_err(str::to_owned))
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
        let (process, max_bytes) = (self.process, self.max_debug_info_bytes);
        self.programs.entry(Arc::clone(file)).or_insert_with(|| {
            let is_program =
                process.program_path().is_some_and(|program| program.to_string_lossy() == file.path);
            let mut image = if is_program { Image::of_program(process) } else { Image::default() };
            let info = image.debug_info(file, MAX_DEBUG_INFO_BYTES.min(max_bytes));
            let types = match info.map(|info| (info.total_bytes(), info)) {
                Ok((bytes, _)) if bytes > max_bytes => Err(Missing::TooMuch { bytes, max_bytes }),
                Ok((_, info)) => Ok(Types::new(info)),
                Err(missing) => Err(Missing::Info(missing)),
            };
            let mut symbols = HashMap::<_, BTreeSet<_>>::new();
            for function in [POLL_SYMBOL, SCHEDULE_SYMBOL] {
                let functions = image.functions_with(file, function, MAX_POLL_SYMBOLS);
                for (address, symbol) in functions.unwrap_or_default() {
                    symbols.entry(address).or_default().insert(symbol);
                }
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

/// Returns whether a task with this state is not being polled and has not
/// ended.
fn is_suspended(state: Option<u64>) -> bool {
    state.is_some_and(|state| state & (RUNNING | COMPLETE) == 0)
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
