//! Turns addresses into functions and lines, including inlined calls.
//!
//! Lines need `debug = "line-tables-only"`. Without it, functions are named
//! from the symbol table. A stripped program gives only addresses.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use addr2line::Loader;

use crate::diagnose::image::Image;
use crate::diagnose::names;
use crate::diagnose::roots::SourceRoots;
use crate::diagnose::tail_calls::recovery::{AddressFacts, Recovery, SourcePlace};
use crate::evidence::{Capture, CodeAddress};
use crate::finding::{Evidence, Frame, FrameKind};

/// The cache of frames is emptied when it holds this many addresses.
const MAX_CACHED_ADDRESSES: usize = 16_384;
/// The file of the running program, even if its path now leads to another file.
const PROGRAM_PATH: &str = "/proc/self/exe";

/// Reads the debug information of each module when it is first needed. That may
/// take up to a second for a large program, so the reporting thread does it,
/// not the watchdog.
pub(crate) struct Symbols {
    loaders: HashMap<Arc<str>, Option<Loader>>,
    cache: HashMap<CodeAddress, AddressSymbols>,
    /// Read when first needed.
    program: Option<ProgramSymbols>,
    recovery: Recovery,
}

/// The symbols of one address.
#[derive(Clone)]
struct AddressSymbols {
    /// Innermost first; several where calls are inlined.
    frames: Arc<[Frame]>,
    /// The address in the program's file where the outermost function begins;
    /// `None` outside of the program itself.
    function_address: Option<u64>,
    /// Whether the name of the outermost function is known.
    is_known: bool,
}

/// What the program's own file contains beyond functions and lines.
struct ProgramSymbols {
    source_roots: SourceRoots,
    merged_functions: HashMap<u64, Vec<String>>,
}

impl ProgramSymbols {
    fn read() -> Self {
        let Image { compile_directories, merged_functions } = Image::read(Path::new(PROGRAM_PATH));
        Self { source_roots: SourceRoots::new(compile_directories), merged_functions }
    }
}

impl Symbols {
    pub(crate) fn new() -> Self {
        Self { loaders: HashMap::new(), cache: HashMap::new(), program: None, recovery: Recovery::default() }
    }

    /// Returns the frames of a capture's stack, innermost first.
    pub(crate) fn stack(&mut self, capture: &Capture) -> Vec<Frame> {
        let fd_type = capture.call.as_ref().and_then(|call| call.fd_type);
        // In a reconstructed stack, two frames that do not fit may be left over
        // from different calls.
        let are_neighbours = matches!(capture.evidence, Evidence::Stack | Evidence::Leaf);
        let mut stack = Vec::new();
        for (index, address) in capture.stack.iter().enumerate() {
            let symbols = self.symbols_of(address);
            stack.extend_from_slice(&symbols.frames);
            if let Some(name) = self.unmerged_name(&symbols, fd_type)
                && let Some(function) = stack.last_mut()
            {
                function.function = name;
            }
            if let Some(caller) = capture.stack.get(index + 1).filter(|_| are_neighbours) {
                stack.extend_from_slice(&self.recovered_frames(address, caller));
            }
        }
        stack
    }

    /// Returns the frames between a frame and its caller that jumps have
    /// removed from the stack, innermost first.
    fn recovered_frames(&mut self, callee: &CodeAddress, caller: &CodeAddress) -> Arc<[Frame]> {
        let mut recovery = std::mem::take(&mut self.recovery);
        let frames = recovery.frames_between(callee, caller, &mut |address| self.facts(address));
        self.recovery = recovery;
        frames
    }

    fn facts(&mut self, address: &CodeAddress) -> AddressFacts {
        let symbols = self.symbols_of(address);
        let is_merged = self.is_merged(&symbols);
        let loader = self.loaders.get(&address.module).and_then(Option::as_ref);
        let symbol = loader.and_then(|loader| loader.find_symbol(address.address));
        let place = loader.and_then(|loader| loader.find_location(address.address).ok()?);
        AddressFacts {
            frames: if symbols.is_known { symbols.frames } else { Arc::default() },
            symbol: symbol.map(|symbol| format!("{:#}", rustc_demangle::demangle(symbol))),
            is_merged,
            place: place.map(|place| SourcePlace {
                file: place.file.map(str::to_owned),
                line: place.line,
                column: place.column,
            }),
        }
    }

    /// Returns whether the linker or the compiler has merged the function with
    /// a different one.
    fn is_merged(&self, symbols: &AddressSymbols) -> bool {
        let names = || self.program.as_ref()?.merged_functions.get(&symbols.function_address?);
        names().is_some_and(|names| {
            let mut names = names.iter().map(|name| names::public_path(&names::readable(name)));
            let first = names.next();
            names.any(|name| first.as_ref() != Some(&name))
        })
    }

    /// Returns the name of the function that was called, if the linker has
    /// merged it with others: the one for the type of the file descriptor.
    fn unmerged_name(&self, symbols: &AddressSymbols, fd_type: Option<&str>) -> Option<String> {
        let names = self.program.as_ref()?.merged_functions.get(&symbols.function_address?)?;
        let of_type = names.iter().find(|name| fd_type.is_some_and(|fd_type| name.contains(fd_type)))?;
        Some(names::readable(of_type))
    }

    fn symbols_of(&mut self, address: &CodeAddress) -> AddressSymbols {
        if let Some(symbols) = self.cache.get(address) {
            return symbols.clone();
        }
        let program = self.program.get_or_insert_with(ProgramSymbols::read);
        let loader = self.loaders.entry(Arc::clone(&address.module)).or_insert_with(|| load(&address.module));
        let loader = loader.as_ref();
        let mut frames =
            loader.map(|loader| symbolise(loader, address, &program.source_roots)).unwrap_or_default();
        let is_known = !frames.is_empty();
        if !is_known {
            frames.push(unknown_frame(address));
        }
        if self.cache.len() >= MAX_CACHED_ADDRESSES {
            self.cache.clear();
        }
        // Merged functions are known for the program itself only.
        let program_loader = is_program(&address.module).then_some(loader).flatten();
        let function_address =
            program_loader.and_then(|loader| Some(loader.find_symbol_info(address.address)?.address()));
        let symbols = AddressSymbols { frames: frames.into(), function_address, is_known };
        self.cache.insert(address.clone(), symbols.clone());
        symbols
    }
}

/// Returns whether the module is the running program. The kernel marks the path
/// as deleted if a newer file has replaced the program's.
fn is_program(module: &str) -> bool {
    let program = std::env::current_exe().ok();
    let module = Path::new(module.trim_end_matches(" (deleted)"));
    program.is_some_and(|path| Path::new(path.to_string_lossy().trim_end_matches(" (deleted)")) == module)
}

fn load(module: &str) -> Option<Loader> {
    let path = Path::new(if is_program(module) { PROGRAM_PATH } else { module });
    path.is_absolute().then(|| Loader::new(path).ok()).flatten()
}

fn symbolise(loader: &Loader, address: &CodeAddress, roots: &SourceRoots) -> Vec<Frame> {
    let mut frames = Vec::new();
    if let Ok(mut found) = loader.find_frames(address.address) {
        while let Ok(Some(frame)) = found.next() {
            let function = frame.function.and_then(|name| name.demangle().ok().map(|name| name.into_owned()));
            let location = frame.location;
            let file = location.as_ref().and_then(|location| location.file);
            let line = location.as_ref().and_then(|location| location.line);
            frames.push((function, file.map(str::to_owned), line));
        }
    }
    let symbol = loader
        .find_symbol(address.address)
        .map(|name| addr2line::demangle_auto(name.into(), None).into_owned());
    if frames.is_empty() {
        frames.extend(symbol.clone().map(|symbol| (Some(symbol), None, None)));
    }
    // The symbol names the outermost inlined frame, with its whole path.
    if let (Some((function, ..)), Some(symbol)) = (frames.last_mut(), symbol) {
        *function = Some(symbol);
    }
    // Instructions that the compiler added have no line, and their file may be
    // that of any call inlined nearby. The function's first address gives the
    // right file.
    for (_, file, _) in frames.iter_mut().filter(|(.., line)| line.is_none()) {
        *file = None;
    }
    if let Some((_, file @ None, _)) = frames.last_mut() {
        *file = file_of_function(loader, address);
    }
    frames
        .into_iter()
        .map(|(function, file, line)| {
            let function = function.unwrap_or_else(|| unknown_frame(address).function);
            let kind = roots.kind_of(&function, file.as_deref());
            let function = names::qualified(&function, file.as_deref());
            Frame {
                function: names::readable(&function),
                file: file.map(|file| roots.shorten(&file)),
                line,
                kind,
                recovered: false,
            }
        })
        .collect()
}

fn file_of_function(loader: &Loader, address: &CodeAddress) -> Option<String> {
    let begin = loader.find_symbol_info(address.address)?.address();
    let location = loader.find_location(begin).ok()??;
    location.file.map(str::to_owned)
}

/// Returns a frame with the address in place of the function's name.
fn unknown_frame(address: &CodeAddress) -> Frame {
    let module = Path::new(&*address.module).file_name().unwrap_or_default().to_string_lossy();
    let kind = if is_library(&module) { FrameKind::Native } else { FrameKind::Application };
    let function = match &*module {
        "" => format!("{:#x}", address.address),
        module => format!("{module}+{:#x}", address.address),
    };
    Frame { function, file: None, line: None, kind, recovered: false }
}

fn is_library(module: &str) -> bool {
    module.is_empty() || module.contains(".so") || module.starts_with('[')
}
