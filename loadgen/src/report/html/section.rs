//! A section of the page.

use std::fmt::Write as _;

use super::escape::escape;

/// Appends a section with a note below its title.
pub(super) fn push_section(page: &mut String, title: &str, note: &str, body: &str) {
    let _ = writeln!(page, "<h2>{title}</h2>\n<p class=\"note\">{}</p>\n{body}", escape(note));
}
