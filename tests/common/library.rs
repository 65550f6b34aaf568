//! Small libraries that a test compiles, loads and unloads.
// SAFETY of all unsafe blocks: each call gets numbers or pointers to live
// values of the expected type. A loaded library is built by this test, and its
// function has the type that it is called with.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, mem, process};

/// A folder that is deleted at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("loopscope-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    /// Compiles a library whose function blocks at a line that is shown by its
    /// number of lines before it.
    pub(crate) fn library(&self, name: &str, line: usize, arguments: &[&str]) -> PathBuf {
        let source = self.0.join(format!("{name}.rs"));
        let code = format!(
            "{}#[inline(never)] fn blocks(millis: u64) {{ \
             std::thread::sleep(std::time::Duration::from_millis(millis)); std::hint::black_box(()); }}\n\
             #[unsafe(no_mangle)] pub extern \"C\" fn entry(millis: u64) {{ \
             blocks(millis); std::hint::black_box(()); }}\n",
            "\n".repeat(line - 1)
        );
        fs::write(&source, code).unwrap();
        let library = self.0.join(format!("lib{name}.so"));
        let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()));
        rustc.args([
            "--edition=2024",
            "--crate-type=cdylib",
            "-Copt-level=1",
            "-Cdebuginfo=2",
            "-Cpanic=abort",
        ]);
        rustc.args(arguments).arg("-o").arg(&library).arg(&source).current_dir(&self.0);
        let output = rustc.output().expect("rustc runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A loaded library. It is unloaded at the end.
pub(crate) struct Library(usize);

impl Library {
    pub(crate) fn load(path: &Path) -> Self {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "{:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
        Self(handle.addr())
    }

    /// Blocks in a function of the library.
    pub(crate) fn block(&self, time: Duration) {
        let handle = std::ptr::without_provenance_mut(self.0);
        let entry = unsafe { libc::dlsym(handle, c"entry".as_ptr()) };
        assert!(!entry.is_null());
        let entry: extern "C" fn(u64) = unsafe { mem::transmute(entry) };
        entry(time.as_millis() as u64);
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        unsafe { libc::dlclose(std::ptr::without_provenance_mut(self.0)) };
    }
}
