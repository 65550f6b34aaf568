//! Both ways in which Rust writes symbols give the same frames and findings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use object::{Object, ObjectSymbol};

use crate::diagnose::symbols::Symbols;
use crate::diagnose::verdict::{self, StallVerdict};
use crate::evidence::{Capture, CodeAddress, CodeFile, ImageIdentity, StallEvidence, TimeSplit};
use crate::finding::{Evidence, Frame};
use crate::process::Process;

/// Functions whose symbols the two ways write differently.
const SOURCE: &str = r#"
use std::fmt::{Debug, Display};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

struct Set<T>(T);
trait Run { fn run(&self) -> usize; }

impl<T: Debug> Set<T> {
    #[inline(never)]
    fn apply(&self) -> usize { format!("{:?}", self.0).len() }
    #[inline(never)]
    async fn apply_later(&self) -> usize { ready(self.apply()).await }
}
#[inline(never)]
async fn ready(n: usize) -> usize { black_box(n) }

mod elsewhere {
    impl<T: super::Debug> super::Run for super::Set<T> {
        #[inline(never)]
        fn run(&self) -> usize { super::black_box(self.apply()) }
    }
    impl super::Set<u8> {
        #[inline(never)]
        pub fn own(&self) -> u8 { super::black_box(self.0) }
    }
}
struct Job;
trait Every { fn every(&self) -> String; }
impl<T: Display> Every for T {
    #[inline(never)]
    fn every(&self) -> String { format!("{self}") }
}
impl Run for Job {
    #[inline(never)]
    fn run(&self) -> usize { let mut n = [3_u64, 1, 2]; black_box(&mut n).sort(); n.len() }
}
impl Drop for Job {
    #[inline(never)]
    fn drop(&mut self) { black_box(self as *const Self); }
}
#[inline(never)]
fn hold<T: Debug>(value: T) -> usize { let f = |n: usize| n + format!("{value:?}").len(); black_box(f)(1) }
#[inline(never)]
fn of_dyn(run: &dyn Run) -> usize { run.run() }

fn main() {
    let set = Set(7_u8);
    let mut n = set.apply() + set.run() + set.own() as usize + hold("text") + hold(vec![1]) + of_dyn(&Job);
    n += of_dyn(&set) + 4_u8.every().len() + "x".every().len();
    let mut later = pin!(async { set.apply_later().await + black_box(1) });
    if let Poll::Ready(more) = later.as_mut().poll(&mut Context::from_waker(Waker::noop())) { n += more; }
    println!("{n}");
}
"#;

#[test]
fn both_ways_of_writing_symbols_give_the_same_findings() {
    let folder = env::temp_dir().join(format!("loopscope-mangling-{}", std::process::id()));
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/main.rs"), SOURCE).unwrap();
    for options in ["-Cdebuginfo=line-tables-only", "-Cdebuginfo=0"] {
        let found = ["legacy", "v0"].map(|mangling| Some(findings(&compile(&folder, mangling, options)?)));
        let [Some(legacy), Some(v0)] = found else {
            eprintln!("NOT CHECKED: symbol mangling: `rustc` does not run or lacks an option");
            break;
        };
        let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
            one.difference(other).cloned().collect::<Vec<_>>().join("\n")
        };
        assert!(legacy.iter().any(|frame| frame.contains("Set::apply")), "{legacy:#?}");
        assert!(
            legacy == v0,
            "{options}: only legacy:\n{}\nonly v0:\n{}",
            only(&legacy, &v0),
            only(&v0, &legacy)
        );
    }
    let _ = fs::remove_dir_all(folder);
}

/// Compiles the program with one way of writing symbols.
fn compile(folder: &Path, mangling: &str, debug_information: &str) -> Option<PathBuf> {
    let program = folder.join(format!("program-{mangling}"));
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(compiler)
        .args([
            "--crate-name=app",
            "--edition=2024",
            "-Copt-level=2",
            "-Ccodegen-units=1",
            "-Zunstable-options",
        ])
        .arg(debug_information)
        .arg(format!("-Csymbol-mangling-version={mangling}"))
        // The legacy way needs unstable options from some version on.
        .env("RUSTC_BOOTSTRAP", "1")
        .arg("-o")
        .arg(&program)
        .arg(folder.join("src/main.rs"))
        .output()
        .ok()?;
    compiled.status.success().then_some(program)
}

/// Returns each finding that a stall at an address of the program gives: its
/// id, without debug information its frame only, as ids have addresses then.
fn findings(program: &Path) -> BTreeSet<String> {
    let contents = fs::read(program).unwrap();
    let file = object::File::parse(&*contents).unwrap();
    let identity = ImageIdentity::BuildId(file.build_id().unwrap().unwrap_or_default().to_vec());
    let path = program.to_str().unwrap().to_owned();
    let code_file = Arc::new(CodeFile { path, identity, ..CodeFile::none() });
    let is_own = |name: &str| {
        let is_legacy = name.starts_with("_ZN3app") || name.starts_with("_ZN") && name.contains("app..");
        is_legacy || name.starts_with("_R") && name.contains("3app")
    };
    let functions = file.symbols().filter(|symbol| symbol.name().is_ok_and(is_own));
    let addresses =
        functions.flat_map(|symbol| (symbol.address()..symbol.address() + symbol.size()).step_by(4));
    let mut symbols = Symbols::new(Process::Own, 1 << 30);
    let found = addresses.filter_map(|address| {
        let address = CodeAddress { file: Arc::clone(&code_file), address };
        let stall = stall(address);
        let StallVerdict::Blocked(parts) = verdict::judge(&stall, &mut symbols) else { return None };
        let diagnosis = &parts[0].diagnosis;
        let is_own = |frame: &Frame| match &frame.file {
            Some(file) => file.ends_with("src/main.rs"),
            // Without debug information nothing tells that an implementation is
            // for every type.
            None => frame.function.contains("app::") && !frame.function.contains("app::Every"),
        };
        if !diagnosis.stack.iter().any(is_own) {
            return None;
        }
        let id =
            if diagnosis.site.as_ref().is_some_and(|site| site.file.is_some()) { &*diagnosis.id } else { "" };
        let frame = |frame: &Frame| format!("{}:{:?}", frame.function, frame.line);
        let frames: Vec<_> = diagnosis.stack.iter().map(frame).collect();
        Some(format!("{id} {:?} {}", diagnosis.primitive, frames.join(" < ")))
    });
    found.collect()
}

fn stall(address: CodeAddress) -> StallEvidence {
    let capture =
        Capture { stack: vec![address], evidence: Evidence::Stack, ..Capture::without_stack(1, false, None) };
    StallEvidence::ended(TimeSplit { off_cpu: 1, ..TimeSplit::default() }, vec![capture])
}
