//! The commands.

mod args;
mod attach;
mod named_process;
mod output;
mod ps;
mod reading;
mod run;
mod text;

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Args, Command};

/// Parses the command line and runs the command. Returns the exit code.
pub(crate) fn main_with(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<u8> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    match Args::try_parse_from(&arguments) {
        Ok(Args { command: Command::Ps(args) }) => ps::ps(&args).map(|()| 0),
        Ok(Args { command: Command::Attach(args) }) => attach::attach(&args),
        Ok(Args { command: Command::Run(args) }) => run::run(&args),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                output::print(&error.to_string()).map(|_| 0)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                anyhow::bail!("the command is missing: use ps, attach or run; see --help")
            }
            _ => {
                let sentence = args::missing_dashes(&arguments).filter(|_| is_about_words(error.kind()));
                anyhow::bail!("{}; see --help", sentence.unwrap_or_else(|| args::sentence(&error)))
            }
        },
    }
}

/// Returns whether a word is missing, or one too many.
fn is_about_words(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument)
}
