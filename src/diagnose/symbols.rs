//! From addresses to functions and lines, inlined calls included.
//!
//! Lines need `debug = "line-tables-only"`; without it the functions are still
//! named from the symbol table, and a stripped program gives addresses.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use addr2line::Loader;

use crate::diagnose::image::Image;
use crate::diagnose::names;
use crate::diagnose::roots::Roots;
use crate::evidence::{Capture, CodeAddress};
use crate::finding::{Frame, FrameKind};

/// Addresses whose frames are kept at most.
const CACHED_ADDRESSES: usize = 16_384;
/// The program itself, even if its file has been replaced since.
const PROGRAM: &str = "/proc/self/exe";

/// Reads the debug information of each module as it is needed, on the
/// reporting thread. That may take a good part of a second for a large program,
/// which is why it is not the watchdog that does it.
pub(crate) struct Symbols {
    loaders: HashMap<Arc<str>, Option<Loader>>,
    frames: HashMap<CodeAddress, Known>,
    /// Of the program itself, once it is needed.
    program: Option<Program>,
}

/// What is known of an address.
#[derive(Clone)]
struct Known {
    /// Innermost first, for inlined calls.
    frames: Arc<[Frame]>,
    /// Where the outermost of them begins, as a file counts.
    function_at: Option<u64>,
}

/// What is known of the program itself.
struct Program {
    roots: Roots,
    merged: HashMap<u64, Vec<String>>,
}

impl Program {
    fn read() -> Self {
        let Image { compiled_in, merged } = Image::read(Path::new(PROGRAM));
        Self { roots: Roots::new(compiled_in), merged }
    }
}

impl Symbols {
    pub(crate) fn new() -> Self {
        Self { loaders: HashMap::new(), frames: HashMap::new(), program: None }
    }

    /// The frames of a stack, innermost first.
    pub(crate) fn stack(&mut self, capture: &Capture) -> Vec<Frame> {
        let fd_type = capture.call.as_ref().and_then(|call| call.fd_type);
        let mut stack = Vec::new();
        for address in &capture.stack {
            let known = self.known(address);
            stack.extend_from_slice(&known.frames);
            if let Some(name) = self.unmerged(&known, fd_type)
                && let Some(function) = stack.last_mut()
            {
                function.function = name;
            }
        }
        stack
    }

    /// The name of a function that several types share, for the type that the
    /// call's descriptor tells.
    fn unmerged(&self, known: &Known, fd_type: Option<&str>) -> Option<String> {
        let names = self.program.as_ref()?.merged.get(&known.function_at?)?;
        let of_type = names.iter().find(|name| fd_type.is_some_and(|fd_type| name.contains(fd_type)))?;
        Some(names::readable(of_type))
    }

    fn known(&mut self, address: &CodeAddress) -> Known {
        if let Some(known) = self.frames.get(address) {
            return known.clone();
        }
        let program = self.program.get_or_insert_with(Program::read);
        let loader = self.loaders.entry(Arc::clone(&address.module)).or_insert_with(|| load(&address.module));
        let loader = loader.as_ref();
        let mut frames = loader.map(|loader| symbolise(loader, address, &program.roots)).unwrap_or_default();
        if frames.is_empty() {
            frames.push(unknown(address));
        }
        if self.frames.len() >= CACHED_ADDRESSES {
            self.frames.clear();
        }
        // Only the program's own are looked up by it.
        let in_program = is_program(&address.module).then_some(loader).flatten();
        let function_at =
            in_program.and_then(|loader| Some(loader.find_symbol_info(address.address)?.address()));
        let known = Known { frames: frames.into(), function_at };
        self.frames.insert(address.clone(), known.clone());
        known
    }
}

/// The file may have been replaced by a newer one; a link of the kernel's still
/// leads to the one that runs.
fn is_program(module: &str) -> bool {
    let program = std::env::current_exe().ok();
    let module = Path::new(module.trim_end_matches(" (deleted)"));
    program.is_some_and(|path| Path::new(path.to_string_lossy().trim_end_matches(" (deleted)")) == module)
}

fn load(module: &str) -> Option<Loader> {
    let path = Path::new(if is_program(module) { PROGRAM } else { module });
    path.is_absolute().then(|| Loader::new(path).ok()).flatten()
}

fn symbolise(loader: &Loader, address: &CodeAddress, roots: &Roots) -> Vec<Frame> {
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
    // The outermost of the inlined frames is the function that the symbol
    // names, and the symbol has its whole path.
    if let (Some((function, ..)), Some(symbol)) = (frames.last_mut(), symbol) {
        *function = Some(symbol);
    }
    // The compiler's own instructions have no line, and a file that may be that
    // of anything inlined nearby. Where the function begins tells its true one.
    for (_, file, _) in frames.iter_mut().filter(|(.., line)| line.is_none()) {
        *file = None;
    }
    if let Some((_, file @ None, _)) = frames.last_mut() {
        *file = file_of_function(loader, address);
    }
    frames
        .into_iter()
        .map(|(function, file, line)| {
            let function = function.unwrap_or_else(|| unknown(address).function);
            let kind = roots.kind_of(&function, file.as_deref());
            let function = names::qualified(&function, file.as_deref());
            Frame {
                function: names::readable(&function),
                file: file.map(|file| roots.shorten(&file)),
                line,
                kind,
            }
        })
        .collect()
}

fn file_of_function(loader: &Loader, address: &CodeAddress) -> Option<String> {
    let begin = loader.find_symbol_info(address.address)?.address();
    let location = loader.find_location(begin).ok()??;
    location.file.map(str::to_owned)
}

fn unknown(address: &CodeAddress) -> Frame {
    let module = Path::new(&*address.module).file_name().unwrap_or_default().to_string_lossy();
    let kind = if is_library(&module) { FrameKind::Native } else { FrameKind::Application };
    let function = match &*module {
        "" => format!("{:#x}", address.address),
        module => format!("{module}+{:#x}", address.address),
    };
    Frame { function, file: None, line: None, kind }
}

fn is_library(module: &str) -> bool {
    module.is_empty() || module.contains(".so") || module.starts_with('[')
}
