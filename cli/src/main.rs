//! The command `loopscope`: what a running Tokio process does.

#![forbid(unsafe_code)]

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux;

use std::io::{self, Write};
use std::process::ExitCode;

/// The exit code after an error.
const COULD_NOT_RUN_EXIT_CODE: u8 = 2;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // An error of stderr cannot be reported anywhere.
            let _ = writeln!(io::stderr(), "loopscope: {error:#}");
            ExitCode::from(COULD_NOT_RUN_EXIT_CODE)
        }
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn run() -> anyhow::Result<u8> {
    linux::main_with(std::env::args_os())
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn run() -> anyhow::Result<u8> {
    anyhow::bail!("the command loopscope reads processes only on Linux, on x86_64 and aarch64")
}
