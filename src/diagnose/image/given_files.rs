//! Files with debug information that the user named. They are for all readings
//! of this process, because the debug information of a program does not depend
//! on who reads it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnose::image::elf::{self, Elf};
use crate::lock::Lock;
use crate::per_process::PerProcess;
use crate::process::Process;

static GIVEN_FILES: PerProcess<Lock<Vec<PathBuf>>> = PerProcess::new();
/// More files are not needed: each belongs to one program.
const MAX_GIVEN_FILES: usize = 64;

const NO_BUILD_ID: &str = "the program has no build id, so nothing shows that the file belongs to it";

/// Returns the files that were named.
pub(super) fn all() -> Vec<PathBuf> {
    GIVEN_FILES.get().lock().clone()
}

/// Adds a file with the debug information of the program that `process` runs.
///
/// # Errors
///
/// Returns why the file is not used, as a phrase.
pub(crate) fn add(process: Process, path: &Path) -> Result<(), String> {
    let program = elf::open(Path::new(&process.proc_path("exe"))).ok().map(Arc::new).and_then(Elf::read);
    let program = program.ok_or("the file of the program cannot be read")?;
    let path = if path.is_dir() { in_folder(&program, path)? } else { path.to_owned() };
    check(&program, &path)?;
    let mut files = GIVEN_FILES.get().lock();
    if files.len() < MAX_GIVEN_FILES && !files.contains(&path) {
        files.push(path);
    }
    Ok(())
}

/// Returns the file with the debug information of a program in a folder that
/// is laid out as `/usr/lib/debug`: by build id.
fn in_folder(program: &Elf, folder: &Path) -> Result<PathBuf, String> {
    let id = program.build_id().map(hex).filter(|id| id.len() > 2).ok_or(NO_BUILD_ID)?;
    let (begin, rest) = id.split_at(2);
    let name = format!("{begin}/{rest}.debug");
    let places = [folder.join(".build-id").join(&name), folder.join(&name)];
    places
        .into_iter()
        .find(|place| place.is_file())
        .ok_or_else(|| format!("the folder has no file `.build-id/{name}`"))
}

fn check(program: &Elf, path: &Path) -> Result<(), String> {
    let file = elf::open(path).map_err(|error| format!("it cannot be opened: {error}"))?;
    let debug = Elf::read(Arc::new(file)).ok_or("it is not a 64-bit ELF file")?;
    if !debug.has_section(".debug_info") {
        return Err("it has no debug information".to_owned());
    }
    if program.has_section(".debug_info") {
        return Err("the program has debug information itself, which is used instead".to_owned());
    }
    match (program.build_id(), debug.build_id()) {
        (Some(of_program), Some(of_debug)) if of_program == of_debug => Ok(()),
        (Some(of_program), Some(of_debug)) => Err(format!(
            "it belongs to another build: its build id is {}, and that of the program is {}",
            hex(of_debug),
            hex(of_program)
        )),
        (None, _) => Err(NO_BUILD_ID.to_owned()),
        (_, None) => Err("it has no build id, so nothing shows that it belongs to the program".to_owned()),
    }
}

/// Returns a build id as the tools print it.
pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_belong_to_the_program_is_refused() {
        let own = std::env::current_exe().unwrap();
        let error = add(Process::Own, &own).unwrap_err();
        assert_eq!(error, "the program has debug information itself, which is used instead");
        let error = add(Process::Own, Path::new("/dev/zero")).unwrap_err();
        assert!(error.starts_with("it cannot be opened"), "{error}");
        let error = add(Process::Own, Path::new("/proc/self")).unwrap_err();
        assert!(error.starts_with("the folder has no file `.build-id/") || error == NO_BUILD_ID, "{error}");
        let error = add(Process::Own, Path::new("/proc/self/maps")).unwrap_err();
        assert_eq!(error, "it is not a 64-bit ELF file");
        assert!(all().is_empty());
    }
}
