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
use crate::evidence::{Capture, CodeAddress};
use crate::finding::{Frame, FrameKind};

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
}

/// The symbols of one address.
#[derive(Clone)]
struct AddressSymbols {
    /// Innermost first; several where calls are inlined.
    frames: Arc<[Frame]>,
    /// The address in the program's file where the outermost function begins;
    /// `None` outside of the program itself.
    function_address: Option<u64>,
}

/// What the program's own file contains beyond functions and lines.
struct ProgramSymbols {
    source_roots: SourceRoots,
    merged_functions: HashMap<u64, Vec<String>>,
}

impl ProgramSymbols {
    fn read() -> Self {
        let Image { compile_units, main_crates, merged_functions } = Image::read(Path::new(PROGRAM_PATH));
        Self { source_roots: SourceRoots::new(compile_units, main_crates), merged_functions }
    }
}

impl Symbols {
    pub(crate) fn new() -> Self {
        Self { loaders: HashMap::new(), cache: HashMap::new(), program: None }
    }

    /// Returns the frames of a capture's stack, innermost first.
    pub(crate) fn stack(&mut self, capture: &Capture) -> Vec<Frame> {
        let fd_type = capture.call.as_ref().and_then(|call| call.fd_type);
        let mut stack = Vec::new();
        for address in &capture.stack {
            let symbols = self.symbols_of(address);
            stack.extend_from_slice(&symbols.frames);
            if let Some(name) = self.unmerged_name(&symbols, fd_type)
                && let Some(function) = stack.last_mut()
            {
                function.function = name;
            }
        }
        stack
    }

    /// Returns the name of the function that was called, if the linker has
    /// merged it with others: the one for the type of the file descriptor.
    fn unmerged_name(&self, symbols: &AddressSymbols, fd_type: Option<&str>) -> Option<String> {
        let names = self.program.as_ref()?.merged_functions.get(&symbols.function_address?)?;
        let of_type = names.iter().find(|name| fd_type.is_some_and(|fd_type| name.contains(fd_type)))?;
        Some(names::from_symbol(of_type, None, None))
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
        if frames.is_empty() {
            frames.push(unknown_frame(address));
        }
        if self.cache.len() >= MAX_CACHED_ADDRESSES {
            self.cache.clear();
        }
        // Merged functions are known for the program itself only.
        let program_loader = is_program(&address.module).then_some(loader).flatten();
        let function_address =
            program_loader.and_then(|loader| Some(loader.find_symbol_info(address.address)?.address()));
        let symbols = AddressSymbols { frames: frames.into(), function_address };
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
    // Instructions that the compiler added have no line, and their file may be
    // that of any call inlined nearby. The function's first address gives the
    // right file.
    for (_, file, _) in frames.iter_mut().filter(|(.., line)| line.is_none()) {
        *file = None;
    }
    if let Some((_, file @ None, _)) = frames.last_mut() {
        *file = file_of_function(loader, address);
    }
    let is_in_program = is_program(&address.module);
    let outermost = frames.len() - usize::from(!frames.is_empty());
    let named = frames.into_iter().enumerate().map(|(index, (debug_name, file, line))| {
        let file = file.as_deref();
        // The symbol names the outermost inlined frame, with its whole path.
        let symbol = symbol.as_deref().filter(|_| index == outermost);
        let debug_name = debug_name.as_deref();
        let whole_name = symbol.or(debug_name);
        let kind = whole_name.map_or(FrameKind::Native, |name| roots.kind_of(name, file, is_in_program));
        let function = match (symbol, debug_name) {
            (Some(symbol), debug_name) => names::from_symbol(symbol, debug_name, file),
            (None, Some(name)) => names::from_debug_name(name, file),
            (None, None) => unknown_frame(address).function,
        };
        Frame { function, file: file.map(|file| roots.shorten(file)), line, kind }
    });
    named.collect()
}

fn file_of_function(loader: &Loader, address: &CodeAddress) -> Option<String> {
    let begin = loader.find_symbol_info(address.address)?.address();
    let location = loader.find_location(begin).ok()??;
    location.file.map(str::to_owned)
}

/// Returns a frame with the address in place of the function's name.
fn unknown_frame(address: &CodeAddress) -> Frame {
    let module = Path::new(&*address.module).file_name().unwrap_or_default().to_string_lossy();
    let function = match &*module {
        "" => format!("{:#x}", address.address),
        module => format!("{module}+{:#x}", address.address),
    };
    // It may be anybody's code.
    Frame { function, file: None, line: None, kind: FrameKind::Native }
}
