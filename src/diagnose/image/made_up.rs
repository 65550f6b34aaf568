//! Files that a test has made up.

use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::debug_info::{self, DebugInfo};
use crate::diagnose::image::elf::Elf;
use crate::diagnose::image::{Image, symbol_table};
use crate::evidence::CodeFile;

/// What the readers find in a file.
#[derive(Debug)]
pub(crate) struct MadeUpFile {
    pub(crate) debug_info: Option<DebugInfo>,
    /// The functions with a text in their names.
    pub(crate) functions: Vec<(u64, String)>,
    /// The number of frames at the addresses.
    pub(crate) frames: usize,
}

/// Reads a file with these contents as the file of a program; `None` if it is
/// not one.
pub(crate) fn read(
    contents: Vec<u8>,
    function: &str,
    addresses: &[u64],
    max_memory: u64,
) -> Option<MadeUpFile> {
    let file = CodeFile { path: "/made-up".to_owned(), ..CodeFile::none() };
    let elf = Elf::parse(Bytes::from_memory(contents))?;
    let infos = Image::default().look_up_in(&elf, &file, addresses, max_memory);
    let strings = elf.bytes_of(".strtab", &mut 0).unwrap_or_else(|_| Bytes::empty());
    let _ = symbol_table::main_crates(&strings);
    Some(MadeUpFile {
        debug_info: DebugInfo::open(&elf, &file, max_memory).ok(),
        functions: debug_info::functions_with(&elf, &file, function, 1024).unwrap_or_default(),
        frames: infos.iter().map(|info| info.frames.len()).sum(),
    })
}
