//! The program. Exit code 2 and one sentence on stderr mean that it could not
//! start.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match chat_server::main_with(chat_server::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat-server: {error:#}");
            ExitCode::from(2)
        }
    }
}
