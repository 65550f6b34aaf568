//! Where the text goes, its width and its colours.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;

use anyhow::Context;
use clap::ColorChoice;
use loopscope::attach::PsDocument;
use loopscope::report;

use crate::linux::args::OutputArgs;
use crate::linux::text::{self, View};

/// Prints to standard output. Returns `false` if its reader has closed the
/// pipe, such as `head`: that is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("standard output cannot be written"),
    }
}

/// Returns the document as text or JSON, for what `stream` is.
pub(crate) fn rendered(
    document: &PsDocument,
    args: &OutputArgs,
    stream: &(impl AsFd + IsTerminal),
) -> anyhow::Result<String> {
    if args.json {
        let json = serde_json::to_string(document).context("the document cannot be converted to JSON")?;
        return Ok(json + "\n");
    }
    Ok(text::text(document, &view(args, stream)))
}

fn view(args: &OutputArgs, stream: &(impl AsFd + IsTerminal)) -> View {
    let terminal = rustix::termios::tcgetwinsize(stream).ok().map(|size| size.ws_col);
    let has_color = match args.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    View {
        columns: args.width.map_or_else(
            || report::text_columns(terminal.filter(|columns| *columns > 0)).max(text::MIN_COLUMNS),
            usize::from,
        ),
        has_color,
        is_tree: args.tree,
        lists_all: args.all,
    }
}
