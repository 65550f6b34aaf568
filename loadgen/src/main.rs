//! The `loadgen` program; the library of the same name does the work.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// The exit code after an error.
const COULD_NOT_RUN_EXIT_CODE: u8 = 2;

fn main() -> ExitCode {
    match loadgen::main_with(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(COULD_NOT_RUN_EXIT_CODE)
        }
    }
}
