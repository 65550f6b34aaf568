//! Where the result of a command goes: standard output, standard error, files.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::Command;
use crate::compare::{self, Comparison};
use crate::merge::MergedLog;
use crate::report::{self, Report};
use crate::search::{self, SearchReport};

/// The result of a command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Document {
    /// The report of `run`, of `hunt`, or of a `merge` of reports.
    Report(Box<Report>),
    /// The result of `search`.
    Search(Box<SearchReport>),
    /// The result of `compare`.
    Comparison(Box<Comparison>),
    /// The result of a `merge` of interval logs.
    MergedLog(Box<MergedLog>),
}

impl Document {
    /// Returns the document as text for a terminal; with ANSI colours if
    /// `color`.
    fn text(&self, color: bool) -> String {
        match self {
            Self::Report(report) => report::text(report, color),
            Self::Search(report) => search::text(report),
            Self::Comparison(comparison) => compare::text(comparison),
            Self::MergedLog(log) => log.text(),
        }
    }

    /// Returns the document as a web page, if it has one.
    fn html(&self) -> Option<String> {
        match self {
            Self::Report(report) => Some(report::html(report)),
            Self::Search(_) | Self::Comparison(_) | Self::MergedLog(_) => None,
        }
    }

    /// Returns the exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Report(report) => report.verdict.exit_code,
            Self::Search(report) => report.exit_code,
            Self::Comparison(comparison) => comparison.exit_code,
            Self::MergedLog(log) => log.exit_code,
        }
    }
}

/// The files that a document is written to, in addition to its text.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    /// The file for the JSON; `-` is standard output.
    json: Option<PathBuf>,
    /// The file for the web page.
    html: Option<PathBuf>,
}

impl From<&Command> for Destinations {
    fn from(command: &Command) -> Self {
        let (json, html) = match command {
            Command::Run(args) => (&args.output.json, &args.output.html),
            Command::Hunt(args) => (&args.output.json, &args.output.html),
            Command::Search(args) => (&args.output.json, &args.output.html),
            Command::Compare(args) => (&args.json, &None),
            Command::Merge(args) => (&args.json, &None),
            Command::Serve(_) => (&None, &None),
        };
        Self { json: json.clone(), html: html.clone() }
    }
}

impl Destinations {
    fn json_on_stdout(&self) -> bool {
        self.json.as_deref().is_some_and(|path| path == "-")
    }
}

/// Prints the text of `document` and writes the files. The text goes to
/// standard error if the JSON goes to standard output.
///
/// # Errors
///
/// If standard output or a file cannot be written.
pub(crate) fn write(document: &Document, destinations: &Destinations) -> anyhow::Result<()> {
    let json_on_stdout = destinations.json_on_stdout();
    let text = document.text(has_color(json_on_stdout));
    if json_on_stdout {
        eprint!("{text}");
    } else {
        print(&text)?;
    }
    if let Some(path) = &destinations.json {
        write_json(document, path)?;
    }
    if let (Some(path), Some(page)) = (&destinations.html, document.html()) {
        std::fs::write(path, page).with_context(|| format!("--html {} cannot be written", path.display()))?;
    }
    Ok(())
}

/// Returns whether the text may have colours: it goes to a terminal, and
/// `NO_COLOR` is not set.
fn has_color(text_on_stderr: bool) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let terminal =
        if text_on_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    terminal && !no_color
}

/// Prints to standard output. A reader that has closed the pipe, such as
/// `head`, is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output cannot be written")
        }
        _ => Ok(()),
    }
}

fn write_json(document: &Document, path: &Path) -> anyhow::Result<()> {
    let mut json =
        serde_json::to_string_pretty(document).context("the document cannot be converted to JSON")?;
    json.push('\n');
    if path == Path::new("-") {
        return print(&json);
    }
    std::fs::write(path, json).with_context(|| format!("--json {} cannot be written", path.display()))
}
