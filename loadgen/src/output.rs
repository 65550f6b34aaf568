//! Where results go: standard output, standard error, files.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// Whether text may be coloured; it goes to standard error if JSON takes
/// standard output.
pub(crate) fn color(json_on_stdout: bool) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let terminal =
        if json_on_stdout { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    terminal && !no_color
}

/// Prints `text`, and writes `document` where `json` says; `-` is standard
/// output.
///
/// # Errors
///
/// If one of the two cannot be written.
pub(crate) fn hand_out(text: &str, document: &impl Serialize, json: Option<&Path>) -> anyhow::Result<()> {
    if json.is_some_and(|path| path == "-") {
        eprint!("{text}");
    } else {
        print(text)?;
    }
    json.map_or(Ok(()), |path| write_json(document, path))
}

/// Prints; a reader that has gone, such as `head`, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output cannot be written")
        }
        _ => Ok(()),
    }
}

fn write_json(document: &impl Serialize, path: &Path) -> anyhow::Result<()> {
    let mut json = serde_json::to_string_pretty(document).context("the report cannot be made into JSON")?;
    json.push('\n');
    if path == Path::new("-") {
        return print(&json);
    }
    std::fs::write(path, json).with_context(|| format!("--json {} cannot be written", path.display()))
}
