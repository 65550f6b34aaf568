//! Turns addresses into functions and lines, including inlined calls.
//!
//! Lines need `debug = "line-tables-only"`. Without it, functions are named
//! from the symbol table. A stripped program gives only addresses.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::diagnose::async_parent::{self, Caller};
use crate::diagnose::image::{self, AddressInfo, Image, ImageFrame, MissingLines};
use crate::diagnose::merged_functions;
use crate::diagnose::names::{self, demangled};
use crate::diagnose::roots::SourceRoots;
use crate::diagnose::tail_calls::recovery::{AddressFacts, Recovery, SourcePlace};
use crate::evidence::{Capture, CodeAddress, CodeFile};
use crate::finding::{Evidence, Frame, FrameKind};
use crate::process::Process;

/// The cache of frames is emptied when it holds this many addresses.
const MAX_CACHED_ADDRESSES: usize = 16_384;
/// The number of programs and libraries of which something is kept.
const MAX_IMAGES: usize = 16;
/// A file that could not be read is tried again after this time, and after
/// twice the time before whenever it fails again.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(250);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);
/// The maximum number of functions that are looked up to learn what one
/// function uses.
const MAX_USED_FUNCTIONS: usize = 64;
/// The maximum number of functions of one stack that are searched.
const MAX_SEARCHED_FUNCTIONS: usize = 8;
/// The maximum number of functions of which it is kept what they use.
const MAX_CACHED_FUNCTIONS: usize = 1024;

/// Reads the debug information of each address when it is first needed. That
/// may take a second for a large program, so the reporting thread does it, not
/// the watchdog.
pub(crate) struct Symbols {
    process: Process,
    /// The path of the program, which is not known any more once the process
    /// has ended.
    program_path: Option<String>,
    program: KnownImage,
    images: HashMap<Arc<CodeFile>, KnownImage>,
    cache: HashMap<CodeAddress, AddressSymbols>,
    /// `None` until the program's debug information has been read.
    source_roots: Option<SourceRoots>,
    /// The program's own crates, if they were needed without its debug
    /// information.
    main_crates: Option<BTreeSet<String>>,
    /// The memory that compressed debug information may take.
    max_memory_bytes: u64,
    /// The number of look-ups in images.
    look_ups: u64,
    recovery: Recovery,
    /// Whether the functions at these addresses use the ticks of an interval.
    uses_interval: HashMap<CodeAddress, bool>,
}

/// A program or library of which an address was looked up.
#[derive(Debug, Default)]
struct KnownImage {
    image: Image,
    /// The number of the last look-up.
    last_look_up: u64,
    failure: Option<Failure>,
}

/// A file could not be read as it should be.
#[derive(Debug, Clone)]
struct Failure {
    missing: MissingLines,
    pause: Duration,
    retry_at: Instant,
}

/// The symbols of one address.
#[derive(Clone)]
struct AddressSymbols {
    /// Innermost first; several where calls are inlined.
    frames: Arc<[Frame]>,
    /// The names of std's functions that the linker has merged with the
    /// outermost function.
    merged_functions: Arc<[String]>,
    /// Whether the only frame is that of one of several functions, which the
    /// linker has merged.
    is_uncertain: bool,
    /// Why code of the application has no line here.
    lines_missing: Option<Arc<str>>,
    /// When the address is looked up again, because its file could not be read.
    retry_at: Option<Instant>,
    facts: AddressFacts,
}

/// The frames of a stack.
#[derive(Debug, Default)]
pub(crate) struct SymbolisedStack {
    /// Innermost first.
    pub(crate) frames: Vec<Frame>,
    /// Why frames have no line, as a sentence.
    pub(crate) lines_missing: Option<String>,
}

/// Returns the path of the program, as it is in the list of mappings.
fn path_of_program(process: Process) -> Option<String> {
    Some(process.program_path()?.to_string_lossy().into_owned())
}

impl Symbols {
    /// Creates a reader that uses at most `max_memory_bytes` of memory for
    /// debug information that is compressed.
    pub(crate) fn new(process: Process, max_memory_bytes: u64) -> Self {
        Self {
            process,
            program_path: path_of_program(process),
            program: KnownImage { image: Image::of_program(process), ..KnownImage::default() },
            images: HashMap::new(),
            cache: HashMap::new(),
            source_roots: None,
            main_crates: None,
            max_memory_bytes,
            look_ups: 0,
            recovery: Recovery::new(process),
            uses_interval: HashMap::new(),
        }
    }

    /// Returns the frames of a capture's stack.
    pub(crate) fn stack(&mut self, capture: &Capture) -> SymbolisedStack {
        self.look_up_all(&capture.stack);
        let fd_type = capture.call.as_ref().and_then(|call| call.fd_type);
        let mut stack = SymbolisedStack::default();
        let mut uncertain = Vec::new();
        // In a reconstructed stack, two frames that do not fit may be left over
        // from different calls. Of another process there is no better stack of
        // a thread that waits.
        let are_neighbours = match capture.evidence {
            Evidence::Stack | Evidence::Leaf => true,
            Evidence::Reconstructed => self.process != Process::Own,
            _ => false,
        };
        for (index, address) in capture.stack.iter().enumerate() {
            if let Some(callee) = index.checked_sub(1).filter(|_| are_neighbours) {
                let recovered = self.recovered_frames(&capture.stack[callee], address);
                stack.frames.extend_from_slice(&recovered);
                // The look-ups may have emptied the cache.
                self.look_up_all(std::slice::from_ref(address));
            }
            let Some(symbols) = self.cache.get(address) else {
                stack.frames.push(unknown_frame(address));
                continue;
            };
            if symbols.is_uncertain {
                uncertain.push(stack.frames.len());
            }
            stack.frames.extend_from_slice(&symbols.frames);
            if let (Some(name), Some(function)) =
                (merged_functions::of_type(&symbols.merged_functions, fd_type), stack.frames.last_mut())
            {
                function.function = name;
            }
            if stack.lines_missing.is_none() {
                stack.lines_missing = symbols.lines_missing.as_deref().map(str::to_owned);
            }
        }
        demote(&mut stack.frames, &uncertain);
        stack
    }

    /// Returns the name of the innermost function of the application on the
    /// stack that awaits an interval of Tokio: its code says so, whether or not
    /// a capture shows the call.
    pub(crate) fn interval_awaiter(&mut self, capture: &Capture) -> Option<String> {
        let is_application = |frame: &&Frame| frame.kind == FrameKind::Application;
        let mut searched = 0;
        for address in &capture.stack {
            self.look_up_all(std::slice::from_ref(address));
            let frames = self.cache.get(address).map(|symbols| Arc::clone(&symbols.frames));
            // Inlined functions are part of the outermost one.
            let Some(frame) = frames.iter().flat_map(|frames| frames.iter()).rev().find(is_application)
            else {
                continue;
            };
            if self.uses_interval(address) {
                return Some(names::without_async_mark(&frame.function).to_owned());
            }
            searched += 1;
            if searched >= MAX_SEARCHED_FUNCTIONS {
                break;
            }
        }
        None
    }

    /// Returns whether the function at this address uses the ticks of an
    /// interval.
    fn uses_interval(&mut self, address: &CodeAddress) -> bool {
        if let Some(uses_interval) = self.uses_interval.get(address) {
            return *uses_interval;
        }
        let is_tick = |frame: &Frame| {
            frame.function.contains("tokio::time::interval::Interval::") && frame.function.contains("tick")
        };
        let used = self.recovery.used_functions(address, MAX_USED_FUNCTIONS);
        self.look_up_all(&used);
        let symbols = used.iter().filter_map(|function| self.cache.get(function));
        let uses_interval = symbols.flat_map(|symbols| symbols.frames.iter()).any(is_tick);
        if self.uses_interval.len() >= MAX_CACHED_FUNCTIONS {
            self.uses_interval.clear();
        }
        self.uses_interval.insert(address.clone(), uses_interval);
        uses_interval
    }

    /// Returns the frames between a frame and its caller that jumps have
    /// removed from the stack, innermost first.
    fn recovered_frames(&mut self, callee: &CodeAddress, caller: &CodeAddress) -> Arc<[Frame]> {
        let mut recovery = std::mem::replace(&mut self.recovery, Recovery::new(self.process));
        let frames = recovery.frames_between(callee, caller, &mut |address| {
            self.look_up_all(std::slice::from_ref(address));
            let facts = |symbols: &AddressSymbols| AddressFacts {
                is_temporary: symbols.retry_at.is_some(),
                ..symbols.facts.clone()
            };
            self.cache.get(address).map(facts).unwrap_or_default()
        });
        self.recovery = recovery;
        frames
    }

    /// Adds to the cache what it does not have of some addresses.
    fn look_up_all(&mut self, addresses: &[CodeAddress]) {
        let now = Instant::now();
        let is_due = |address: &&CodeAddress| match self.cache.get(*address) {
            Some(symbols) => symbols.retry_at.is_some_and(|at| at <= now),
            None => true,
        };
        let mut by_file = HashMap::<&Arc<CodeFile>, Vec<&CodeAddress>>::new();
        for address in addresses.iter().filter(is_due).filter(|address| address.file.path.starts_with('/')) {
            let of_file = by_file.entry(&address.file).or_default();
            // A stack of a recursion has an address many times.
            if !of_file.contains(&address) {
                of_file.push(address);
            }
        }
        if by_file.is_empty() {
            return;
        }
        let max_memory_bytes = self.max_memory_bytes;
        if self.cache.len() + addresses.len() > MAX_CACHED_ADDRESSES {
            self.cache.clear();
        }
        let mut found = Vec::new();
        let program_path = self.program_path();
        let is_program = |path: &str| program_path.as_deref() == Some(path);
        for (file, addresses) in by_file {
            let infos = self.image_of(file).look_up(file, &addresses, max_memory_bytes, now);
            found.push((file, addresses, infos));
        }
        if self.source_roots.is_none() {
            self.source_roots = self.program.source_roots(self.process, max_memory_bytes, now);
        }
        // Without the program's directories, its own code cannot be told from
        // other code for certain.
        let (unknown_roots, no_roots_until);
        let roots = match &self.source_roots {
            Some(roots) => {
                no_roots_until = None;
                roots
            }
            None => {
                // The names of its crates may be known nevertheless.
                if self.main_crates.is_none() {
                    self.main_crates = self.program.image.main_crates().ok();
                }
                unknown_roots =
                    SourceRoots::new(self.process, [], self.main_crates.clone().unwrap_or_default());
                no_roots_until = self.program.failure.as_ref().map(|failure| failure.retry_at);
                &unknown_roots
            }
        };
        for (file, addresses, infos) in found {
            let is_in_program = is_program(&file.path);
            let image = if is_in_program { Some(&self.program) } else { self.images.get(file) };
            let failed_until = image.and_then(|image| Some(image.failure.as_ref()?.retry_at));
            let retry_at = [failed_until, no_roots_until].into_iter().flatten().min();
            for (address, info) in addresses.into_iter().zip(infos) {
                let symbols =
                    AddressSymbols { retry_at, ..AddressSymbols::new(address, info, roots, is_in_program) };
                self.cache.insert(address.clone(), symbols);
            }
        }
    }

    /// Returns the path of the program that the process runs, or ran last.
    fn program_path(&mut self) -> Option<String> {
        if let Some(path) = path_of_program(self.process) {
            self.program_path = Some(path);
        }
        self.program_path.clone()
    }

    /// Returns what is known of a file. Forgets the file that was not used for
    /// the longest time, if there are too many.
    fn image_of(&mut self, file: &Arc<CodeFile>) -> &mut KnownImage {
        if self.program_path().as_deref() == Some(file.path.as_str()) {
            return &mut self.program;
        }
        self.look_ups += 1;
        if !self.images.contains_key(file) && self.images.len() >= MAX_IMAGES {
            let oldest = self.images.iter().min_by_key(|(_, image)| image.last_look_up);
            if let Some(oldest) = oldest.map(|(file, _)| Arc::clone(file)) {
                self.images.remove(&oldest);
            }
        }
        let image = self.images.entry(Arc::clone(file)).or_default();
        image.last_look_up = self.look_ups;
        image
    }
}

impl KnownImage {
    /// Looks up addresses. After a failure the file is left alone for a while.
    fn look_up(
        &mut self,
        file: &CodeFile,
        addresses: &[&CodeAddress],
        max_memory_bytes: u64,
        now: Instant,
    ) -> Vec<AddressInfo> {
        let addresses: Vec<_> = addresses.iter().map(|address| address.address).collect();
        let failed = |missing: &MissingLines| {
            vec![AddressInfo { missing: Some(missing.clone()), ..AddressInfo::default() }; addresses.len()]
        };
        if let Some(failure) = self.failure.as_ref().filter(|failure| now < failure.retry_at) {
            return failed(&failure.missing);
        }
        match self.image.look_up(file, &addresses, max_memory_bytes) {
            Ok(infos) => {
                let missing = infos.iter().find_map(|info| info.missing.clone());
                self.note(missing.filter(MissingLines::is_temporary), now);
                infos
            }
            Err(missing) => {
                let infos = failed(&missing);
                self.note(Some(missing), now);
                infos
            }
        }
    }

    /// Returns the directories of the program's sources, or `None` if they
    /// cannot be read now.
    fn source_roots(&mut self, process: Process, max_memory_bytes: u64, now: Instant) -> Option<SourceRoots> {
        if self.failure.as_ref().is_some_and(|failure| now < failure.retry_at) {
            return None;
        }
        let units = match self.image.compile_units(max_memory_bytes) {
            Ok(units) => units,
            Err(missing) if missing.is_temporary() => {
                self.note(Some(missing), now);
                return None;
            }
            Err(_) => BTreeSet::new(),
        };
        Some(SourceRoots::new(process, units, self.image.main_crates().unwrap_or_default()))
    }

    fn note(&mut self, missing: Option<MissingLines>, now: Instant) {
        let before = self.failure.as_ref().map(|failure| failure.pause * 2);
        self.failure = missing.map(|missing| {
            let pause = before.unwrap_or(FIRST_RETRY_PAUSE).min(MAX_RETRY_PAUSE);
            Failure { missing, pause, retry_at: now + pause }
        });
    }
}

impl AddressSymbols {
    fn new(address: &CodeAddress, info: AddressInfo, roots: &SourceRoots, is_in_program: bool) -> Self {
        let AddressInfo { frames, symbols, missing } = info;
        let is_known = !frames.is_empty() || !symbols.is_empty();
        let place = frames.first().map(|frame| SourcePlace {
            file: frame.file.clone(),
            line: frame.line,
            column: frame.column,
        });
        let with_debug_name =
            |frame: ImageFrame| ImageFrame { function: frame.function.map(|name| demangled(&name)), ..frame };
        let mut frames: Vec<_> = frames.into_iter().map(with_debug_name).collect();
        if frames.is_empty() && !symbols.is_empty() {
            frames.push(ImageFrame::default());
        }
        let symbol = symbols.first().map(|symbol| demangled(symbol));
        let outermost = frames.len() - usize::from(!frames.is_empty());
        let caller_of = |index: usize| {
            let caller = frames.get(index + 1)?;
            let debug_name = caller.function.as_deref()?;
            let kind = roots.kind_of(debug_name, caller.file.as_deref(), is_in_program);
            Some(Caller { debug_name, is_runtime: kind == FrameKind::Runtime })
        };
        let frame = |(index, frame): (usize, &ImageFrame)| {
            let (debug_name, file) = (frame.function.as_deref(), frame.file.as_deref());
            // The symbol names the outermost inlined frame, with its whole
            // path.
            let symbol = symbol.as_deref().filter(|_| index == outermost);
            let whole_name = symbol.or(debug_name);
            let kind = whole_name.map_or(FrameKind::Native, |name| roots.kind_of(name, file, is_in_program));
            let function = match (symbol, debug_name) {
                (Some(symbol), debug_name) => names::from_symbol(symbol, debug_name, file),
                (None, Some(name)) => caller_of(index)
                    .and_then(|caller| async_parent::whole_name(name, file, caller))
                    .unwrap_or_else(|| names::from_debug_name(name, file)),
                (None, None) => unknown_frame(address).function,
            };
            let file = file.map(|file| roots.shorten(file));
            Frame { function, file, line: frame.line, column: frame.column, kind, recovered: false }
        };
        let mut frames: Vec<_> = frames.iter().enumerate().map(frame).collect();
        if frames.is_empty() {
            frames.push(unknown_frame(address));
        }
        let is_application = frames.iter().any(|frame| frame.kind == FrameKind::Application);
        // Libraries of the system have no debug information as a rule, and
        // their lines are of no use.
        let is_wanted = |missing: &MissingLines| {
            is_application
                || *missing != MissingLines::NoDebugInfo && !image::is_of_system(&address.file.path)
        };
        let missing = missing.filter(is_wanted);
        // The line is that of one of the merged functions.
        let merged_name = merged_functions::joined_name(&symbols);
        let is_uncertain =
            merged_name.is_some() && frames.last().is_some_and(|frame| frame.kind == FrameKind::Application);
        if let Some(function) = merged_name.filter(|_| is_uncertain) {
            let kind = FrameKind::Application;
            frames = vec![Frame { function, file: None, line: None, column: None, kind, recovered: false }];
        }
        let lines_missing = missing.map(|missing| missing.describe(&address.file.path).into());
        let frames: Arc<[Frame]> = frames.into();
        let facts = AddressFacts {
            frames: if is_known { Arc::clone(&frames) } else { Arc::default() },
            symbol: symbols.first().map(|symbol| demangled(symbol)),
            is_merged: merged_functions::are_different(&symbols),
            place,
            is_temporary: false,
        };
        Self {
            frames,
            merged_functions: merged_functions::of_std(&symbols).into(),
            is_uncertain,
            lines_missing,
            retry_at: None,
            facts,
        }
    }
}

/// Makes some frames of the application other people's code, if there is a
/// certain frame of the application: that one becomes the site.
fn demote(frames: &mut [Frame], uncertain: &[usize]) {
    let is_certain =
        |(at, frame): (usize, &Frame)| frame.kind == FrameKind::Application && !uncertain.contains(&at);
    if frames.iter().enumerate().any(is_certain) {
        for at in uncertain {
            frames[*at].kind = FrameKind::Native;
        }
    }
}

/// Returns a frame with the address in place of the function's name.
fn unknown_frame(address: &CodeAddress) -> Frame {
    let module = Path::new(&address.file.path).file_name().unwrap_or_default().to_string_lossy();
    let function = match &*module {
        "" => format!("{:#x}", address.address),
        module => format!("{module}+{:#x}", address.address),
    };
    // It may be anybody's code.
    let kind = FrameKind::Native;
    Frame { function, file: None, line: None, column: None, kind, recovered: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_async_functions_of_one_file_have_their_own_names() {
        let function_of = |name: &str| {
            let poll = format!("poll<loopscope::instrument::NamedFuture<app::{name}::{{async_fn_env#0}}>>");
            let frame = |function: &str, file: &str| ImageFrame {
                function: Some(function.to_owned()),
                file: Some(file.to_owned()),
                line: Some(9),
                ..ImageFrame::default()
            };
            let frames = vec![
                frame("{async_fn#0}", "/home/me/app/src/main.rs"),
                frame(&poll, "/home/me/loopscope/src/instrument/future.rs"),
            ];
            let address = CodeAddress { file: Arc::new(CodeFile::none()), address: 1 };
            let info = AddressInfo { frames, symbols: Vec::new(), missing: None };
            let symbols = AddressSymbols::new(
                &address,
                info,
                &SourceRoots::new(Process::Own, [], BTreeSet::new()),
                false,
            );
            names::without_async_mark(&symbols.frames[0].function).to_owned()
        };
        assert_eq!(["first", "second"].map(function_of), ["app::first", "app::second"]);
    }

    #[test]
    fn a_merged_function_is_the_site_only_without_a_caller() {
        let roots = SourceRoots::new(Process::Own, [], BTreeSet::from(["app".to_owned()]));
        let frames_of = |functions: &[&str], line| {
            let symbol = |name: &&str| format!("_ZN3app{}{name}17h0123456789abcdefE", name.len());
            let frame = ImageFrame {
                file: Some("src/main.rs".to_owned()),
                line: Some(line),
                ..ImageFrame::default()
            };
            let info = AddressInfo {
                frames: vec![frame],
                symbols: functions.iter().map(symbol).collect(),
                missing: None,
            };
            let address = CodeAddress { file: Arc::new(CodeFile::none()), address: 1 };
            AddressSymbols::new(&address, info, &roots, false)
        };
        let (merged, caller) = (frames_of(&["one", "two"], 4), frames_of(&["caller"], 9));
        assert!(merged.is_uncertain && !caller.is_uncertain);
        let mut stack = [&merged.frames[..], &caller.frames].concat();
        demote(&mut stack, &[0]);
        let seen: Vec<_> = stack.iter().map(|frame| (&*frame.function, frame.line, frame.kind)).collect();
        assert_eq!(
            seen,
            [
                ("app::one or app::two", None, FrameKind::Native),
                ("app::caller", Some(9), FrameKind::Application)
            ]
        );
        let mut alone = merged.frames.to_vec();
        demote(&mut alone, &[0]);
        assert_eq!(alone[0].kind, FrameKind::Application);
    }
}
