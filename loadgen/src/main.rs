//! `loadgen`: see the library of the same name.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// The exit code of what could not be done.
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
