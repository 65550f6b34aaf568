//! The command `loopscope`.

#![forbid(unsafe_code)]

mod args;
mod attach;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// The exit code after an error.
const COULD_NOT_RUN_EXIT_CODE: u8 = 2;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loopscope: {error:#}");
            ExitCode::from(COULD_NOT_RUN_EXIT_CODE)
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Attach(args) => attach::run(&args)?,
        Command::Ps(args) => {
            let document = loopscope::attach::ps(args.pid)?;
            println!("{}", serde_json::to_string_pretty(&document)?);
        }
    }
    Ok(())
}
