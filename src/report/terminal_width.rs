//! How many columns a report may use.

use std::env;

use crate::stderr;

/// The width of a text that is not for a terminal, or for one that does not
/// tell its width: the titles of most findings fit.
pub(super) const DEFAULT_COLUMNS: usize = 120;
/// In fewer columns, nothing can be read.
const MIN_COLUMNS: usize = 30;
const MAX_COLUMNS: usize = 1_000;

/// Returns the width of what is printed to stderr: that of the environment
/// variable `COLUMNS`, else that of the terminal, else a fixed one.
pub(super) fn columns() -> usize {
    text_columns(stderr::columns())
}

/// Returns the width of a text for people: that of the environment variable
/// `COLUMNS`, else that of the terminal, else 120 columns. It is at least 30.
#[must_use]
pub fn text_columns(terminal: Option<u16>) -> usize {
    columns_of(env::var("COLUMNS").ok().as_deref(), terminal)
}

fn columns_of(variable: Option<&str>, terminal: Option<u16>) -> usize {
    let of_variable = variable.and_then(|value| value.trim().parse::<usize>().ok());
    let known = of_variable.filter(|columns| *columns > 0).or(terminal.map(usize::from));
    known.map_or(DEFAULT_COLUMNS, |columns| columns.clamp(MIN_COLUMNS, MAX_COLUMNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_counts_before_the_terminal() {
        for (variable, terminal, expected) in [
            (None, None, DEFAULT_COLUMNS),
            (None, Some(80), 80),
            (Some("60"), Some(80), 60),
            (Some(" 100\n"), None, 100),
            (Some(""), Some(80), 80),
            (Some("0"), Some(80), 80),
            (Some("-1"), Some(80), 80),
            (Some("wide"), None, DEFAULT_COLUMNS),
            (Some("3"), None, MIN_COLUMNS),
            (None, Some(1), MIN_COLUMNS),
            (Some("4000000000"), None, MAX_COLUMNS),
        ] {
            assert_eq!(columns_of(variable, terminal), expected, "{variable:?}, {terminal:?}");
        }
    }
}
