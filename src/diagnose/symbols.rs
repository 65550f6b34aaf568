//! From addresses to functions and lines, inlined calls included.
//!
//! Lines need `debug = "line-tables-only"`; without it the functions are still
//! named from the symbol table, and a stripped program gives addresses.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use addr2line::Loader;

use super::names;
use crate::{Frame, FrameKind, watchdog::evidence::CodeAddress};

/// Addresses whose frames are kept at most.
const CACHED_ADDRESSES: usize = 16_384;

/// Reads the debug information of each module as it is needed, on the
/// reporting thread. That may take a good part of a second for a large program,
/// which is why it is not the watchdog that does it.
pub(crate) struct Symbols {
    loaders: HashMap<Arc<str>, Option<Loader>>,
    frames: HashMap<CodeAddress, Arc<[Frame]>>,
    roots: Roots,
}

impl Symbols {
    pub(crate) fn new() -> Self {
        Self { loaders: HashMap::new(), frames: HashMap::new(), roots: Roots::of_this_process() }
    }

    /// The frames of a stack, innermost first.
    pub(crate) fn stack(&mut self, addresses: &[CodeAddress]) -> Vec<Frame> {
        addresses.iter().flat_map(|address| self.frames_at(address).to_vec()).collect()
    }

    fn frames_at(&mut self, address: &CodeAddress) -> Arc<[Frame]> {
        if let Some(frames) = self.frames.get(address) {
            return Arc::clone(frames);
        }
        let loader = self.loaders.entry(Arc::clone(&address.module)).or_insert_with(|| load(&address.module));
        let mut frames =
            loader.as_ref().map(|loader| symbolise(loader, address, &self.roots)).unwrap_or_default();
        if frames.is_empty() {
            frames.push(unknown(address));
        }
        if self.frames.len() >= CACHED_ADDRESSES {
            self.frames.clear();
        }
        let frames: Arc<[Frame]> = frames.into();
        self.frames.insert(address.clone(), Arc::clone(&frames));
        frames
    }
}

fn load(module: &str) -> Option<Loader> {
    let program = std::env::current_exe().ok();
    // The file may have been replaced by a newer one; this link still leads to
    // the one that runs.
    let is_program = program.is_some_and(|path| path == Path::new(module.trim_end_matches(" (deleted)")));
    let path = if is_program { Path::new("/proc/self/exe") } else { Path::new(module) };
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

/// Where the application's own sources lie, as paths of debug information have
/// it.
struct Roots {
    /// The directory above `target/`, or the working directory.
    workspace: Option<PathBuf>,
    working_directory: Option<PathBuf>,
}

impl Roots {
    fn of_this_process() -> Self {
        let program = std::env::current_exe().ok();
        let above_target = program.as_deref().and_then(|program| {
            let target = program.ancestors().find(|path| path.ends_with("target"))?;
            target.parent().map(Path::to_owned)
        });
        Self { workspace: above_target, working_directory: std::env::current_dir().ok() }
    }

    /// The path from the workspace, as the compiler prints it.
    fn shorten(&self, file: &str) -> String {
        let path = Path::new(file);
        let roots = [&self.workspace, &self.working_directory];
        let relative = roots.into_iter().flatten().find_map(|root| path.strip_prefix(root).ok());
        relative.unwrap_or(path).to_string_lossy().into_owned()
    }

    fn kind_of(&self, function: &str, file: Option<&str>) -> FrameKind {
        const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
        let Some(file) = file else { return names::kind_of(function).unwrap_or(FrameKind::Native) };
        let is_workspaces = self.workspace.as_ref().is_some_and(|root| Path::new(file).starts_with(root));
        let from_elsewhere = |part| file.contains(part) && !is_workspaces;
        if file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/library/") {
            FrameKind::Std
        } else if file.starts_with(OURS) {
            FrameKind::Runtime
        } else if from_elsewhere("/registry/src/") || from_elsewhere("/git/checkouts/") {
            let is_runtime = file.contains("/tokio-1.") || file.contains("/console-subscriber-");
            if is_runtime { FrameKind::Runtime } else { FrameKind::Dependency }
        } else if file.starts_with("/usr/")
            || file.contains("/glibc")
            || file.ends_with(".S")
            || file.ends_with(".c") && !is_workspaces
        {
            FrameKind::Native
        } else {
            FrameKind::Application
        }
    }
}
