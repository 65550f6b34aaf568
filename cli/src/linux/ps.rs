//! The command `loopscope ps`.

use std::io::{self, IsTerminal, Write};

use loopscope::attach::{AttachError, PsReader};

use crate::linux::args::PsArgs;
use crate::linux::{named_process, output, reading};

/// Moves the cursor to the top left and clears the screen.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// Prints what a process does: once, or until it ends.
pub(crate) fn ps(args: &PsArgs) -> anyhow::Result<()> {
    let pid = named_process::pid(&args.process)?;
    reading::prepare(pid, &args.reading)?;
    let stdout = io::stdout();
    let clears_screen = args.watch.is_some() && !args.output.json && stdout.is_terminal();
    let mut is_first = true;
    let mut reader = PsReader::new(pid).with_registers(args.registers.into());
    loop {
        let document = match reader.read() {
            Err(
                AttachError::NotFound { .. }
                | AttachError::Zombie { .. }
                | AttachError::FirstThreadEnded { .. },
            ) if !is_first => {
                let _ = writeln!(io::stderr(), "loopscope: process {pid} has ended");
                return Ok(());
            }
            result => result?,
        };
        let mut text = output::rendered(&document, &args.output, &stdout)?;
        if clears_screen {
            text.insert_str(0, CLEAR_SCREEN);
        } else if !is_first && !args.output.json {
            text.insert(0, '\n');
        }
        let is_read = output::print(&text)?;
        let Some(pause) = args.watch.filter(|_| is_read) else { return Ok(()) };
        std::thread::sleep(pause);
        is_first = false;
    }
}
