//! The program: flags in, a sentence and exit code 2 out if something is wrong with them.
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
