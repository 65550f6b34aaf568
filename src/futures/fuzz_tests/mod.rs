//! Broken programs and broken memory: no panic, no long time, no much memory.
//!
//! The mutations are the same in each run. `LOOPSCOPE_FUZZ_SECONDS=600` makes
//! other ones for so long.

use std::collections::HashMap;
use std::env;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::diagnose::image::made_up::{self, MadeUpFile};
use crate::futures::chain::Chain;
use crate::futures::memory::Memory;
use crate::futures::types::{Type, Types};
use crate::futures::value::{Reader, Value};
use crate::futures::{future, names_of, walk};
use crate::os;

/// The address of the made-up task. No memory is there.
const TASK: u64 = 0x8000;
const MAX_TASK_BYTES: u64 = 256 * 1024;
/// The memory that compressed debug information may take.
const MAX_MEMORY: u64 = 64 << 20;
/// The CPU time of one case. A build without optimisation takes 10 ms for most.
const MAX_CPU_TIME: Duration = Duration::from_secs(1);
/// The memory of the process that runs the cases, in KiB.
const MAX_PROCESS_KIB: u64 = 2 << 20;
/// The variable with the path of the sample program.
const SAMPLE: &str = "LOOPSCOPE_TEST_SAMPLE";
/// The time for all cases of a usual run.
const USUAL_TIME: Duration = Duration::from_millis(500);
const MIN_CASES: u64 = 20;

/// A generator of numbers that look random.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }
}

/// Calls `case` with other numbers until the time is over.
fn fuzz(name: &str, mut case: impl FnMut(&mut Random)) {
    let seconds = env::var("LOOPSCOPE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = seconds.map_or(USUAL_TIME, Duration::from_secs);
    let begin = Instant::now();
    let cpu = || Duration::from_nanos(os::thread_cpu_nanos(os::current_thread_id()).unwrap_or(0));
    let (mut number, mut longest) = (0, Duration::ZERO);
    while number < MIN_CASES || begin.elapsed() < time {
        number += 1;
        let before = cpu();
        let seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        case(&mut Random(seed));
        let took = cpu().saturating_sub(before);
        longest = longest.max(took);
        assert!(took < MAX_CPU_TIME, "case {number} of {name} took {took:?}");
    }
    println!("{name}: {number} cases, the longest took {longest:?} of CPU");
}

/// Compiles the sample program to a file.
fn compile_sample(file: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/futures/fuzz_tests/sample.rs");
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-name", "tokio", "--crate-type", "bin", "-C", "debuginfo=2"]);
    rustc.args(["-C", "prefer-dynamic", "-C", "codegen-units=1", "-o"]).arg(file).arg(source);
    let output = rustc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The addresses of functions of the file.
fn read(contents: Vec<u8>, addresses: &[u64]) -> Option<MadeUpFile> {
    made_up::read(contents, super::POLL_SYMBOL, addresses, MAX_MEMORY)
}

/// Returns the layouts of the tasks that the functions poll, with the name of
/// each future.
fn cells(types: &mut Types, functions: &[(u64, String)]) -> Vec<(String, Rc<Type>)> {
    let mut cells = Vec::new();
    for (address, symbol) in functions.iter().take(64) {
        let polls = types.poll_functions(*address);
        let names = names_of(&polls, &[symbol.clone()].into());
        for poll in polls {
            let Some(cell) = types.cell(&poll) else { continue };
            types.twins(&poll, &cell);
            cells.push((names.first().cloned().unwrap_or_default(), cell));
        }
    }
    cells
}

fn walked(types: &mut Types, cell: &Rc<Type>, memory: &Memory) -> Option<Chain> {
    let mut reader = Reader {
        types,
        memory,
        bias: 0,
        steps_left: walk::MAX_STEPS,
        values_left: walk::MAX_VALUES,
        now: Some(Duration::from_secs(1)),
    };
    let value = Value { of_type: Rc::clone(cell), address: TASK };
    let future = future(&mut reader, &value).ok()?;
    Some(walk::chain(&mut reader, future))
}

/// A byte that is likely to matter.
fn byte(random: &mut Random) -> u8 {
    const SPECIAL: [u8; 8] = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF, 0x10];
    match random.below(3) {
        0 => SPECIAL[random.below(SPECIAL.len())],
        _ => random.next() as u8,
    }
}

/// Returns a task's memory with pointers to itself and to the tables of
/// functions of trait objects, which are in it too. Each table has the size of
/// its type.
fn memory(random: &mut Random, size: u64, tables: &[(u64, u64)]) -> Vec<u8> {
    let last = tables.last().map_or(0, |(table, _)| table.saturating_sub(TASK));
    let words = (size.min(MAX_TASK_BYTES).max(last.min(MAX_TASK_BYTES)) / 8 + 64) as usize;
    let word = |_| match random.below(10) {
        0 | 1 => TASK + 8 * random.below(words) as u64,
        2 | 3 if !tables.is_empty() => tables[random.below(tables.len())].0,
        4 => random.next(),
        5 => u64::MAX,
        6 => 0,
        7 => random.below(4) as u64,
        // Small numbers in each byte: the states of futures.
        _ => random.next() & 0x0707_0707_0707_0707,
    };
    let mut memory: Vec<u64> = (0..words).map(word).collect();
    for (table, size) in tables {
        let place = table.checked_sub(TASK).and_then(|at| memory.get_mut(at as usize / 8 + 1));
        place.into_iter().for_each(|word| *word = *size);
    }
    memory.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn mutated(random: &mut Random, contents: &[u8]) -> Vec<u8> {
    let mut broken = contents.to_vec();
    let length = broken.len();
    // The last part has the debug information and the tables.
    let place = |random: &mut Random| match random.below(8) {
        0 => random.below(4096),
        1 => length - 1 - random.below(4096),
        _ => length / 6 + random.below(length - length / 6),
    };
    match random.below(8) {
        0 => broken.truncate(place(random)),
        1 => {
            let (from, to, count) = (place(random), place(random), random.below(2048));
            let count = count.min(length - from.max(to));
            broken.copy_within(from..from + count, to);
        }
        2 => {
            let (at, count, value) = (place(random), random.below(512), byte(random));
            broken.iter_mut().skip(at).take(count).for_each(|one| *one = value);
        }
        _ => {
            let count = 1 << random.below(12);
            for _ in 0..count {
                let at = place(random);
                broken[at] = byte(random);
            }
        }
    }
    broken
}

/// In a process of its own, with little memory.
#[test]
fn broken_programs_and_broken_memory_do_no_harm() {
    let program = env::current_exe().unwrap();
    let sample = env::temp_dir().join(format!("loopscope-sample-{}", std::process::id()));
    compile_sample(&sample);
    let script = format!("ulimit -v {MAX_PROCESS_KIB}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh");
    child.args(["-c", &script]).arg(program);
    child.args(["--exact", "futures::fuzz_tests::broken_files", "--ignored", "--nocapture"]);
    let output = child.env(SAMPLE, &sample).output().unwrap();
    let _ = std::fs::remove_file(&sample);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{}: {text}", output.status);
    eprint!("{text}");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn broken_files() {
    let contents = std::fs::read(env::var_os(SAMPLE).unwrap()).unwrap();
    let whole = read(contents.clone(), &[]).unwrap();
    let functions = whole.functions;
    let addresses: Vec<_> = functions.iter().map(|(address, _)| address + 16).collect();
    assert!(read(contents.clone(), &addresses).unwrap().frames >= functions.len());
    let mut types = Types::new(whole.debug_info.unwrap());
    let known = cells(&mut types, &functions);
    let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"tokio::outer_again") && names.len() >= 5, "{names:?}");
    let tables: Vec<_> = types.vtable_addresses();
    let size_of = |table| (table, types.of_vtable(table).map_or(0, |of_type| of_type.layout.size));
    let tables: Vec<_> = tables.into_iter().map(size_of).collect();
    assert!(tables.len() >= 3, "{tables:x?}");

    let mut seen = HashMap::<_, usize>::new();
    fuzz("memory", |random| {
        let (_, cell) = &known[random.below(known.len())];
        let memory = Memory::made_up(TASK, memory(random, cell.layout.size, &tables));
        let chain = walked(&mut types, cell, &memory).unwrap_or_default();
        assert!(chain.awaits.len() <= 128 && memory.is_unchanged_in(&memory));
        *seen.entry((chain.awaits.len(), chain.leaf.is_some())).or_default() += 1;
    });
    println!("chains by their number of awaits, with and without a leaf: {seen:?}");
    assert!(seen.len() >= 3, "the chains are all alike: {seen:?}");

    let mut readable = 0;
    fuzz("program", |random| {
        let Some(file) = read(mutated(random, &contents), &addresses) else { return };
        let Some(info) = file.debug_info else { return };
        let mut types = Types::new(info);
        // Functions of the whole file too: their symbols may be lost.
        let all: Vec<_> = file.functions.iter().chain(&functions).cloned().collect();
        let cells = cells(&mut types, &all);
        readable += usize::from(!cells.is_empty());
        for (_, cell) in cells {
            let memory = Memory::made_up(TASK, memory(random, cell.layout.size, &tables));
            let chain = walked(&mut types, &cell, &memory);
            assert!(chain.is_none_or(|chain| chain.awaits.len() <= 128));
        }
    });
    assert!(readable > 0, "no broken program could be read in part");
}
