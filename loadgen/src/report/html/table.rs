//! Tables, which can be scrolled with the keyboard where they are wide.

use std::fmt::Write as _;

use super::escape::escape;

/// A table with a header for each row.
#[derive(Debug)]
pub(super) struct Table {
    caption: String,
    html: String,
}

impl Table {
    /// Returns a table without rows.
    pub(super) fn new(caption: &str, columns: &[&str]) -> Self {
        let mut html = String::from("<thead><tr>");
        for column in columns {
            let _ = write!(html, "<th scope=\"col\">{}</th>", escape(column));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        Self { caption: escape(caption), html }
    }

    /// Adds a row of text.
    pub(super) fn row(&mut self, name: &str, cells: &[String]) {
        let cells: Vec<_> = cells.iter().map(|cell| escape(cell)).collect();
        self.html_row(&escape(name), &cells);
    }

    /// Adds a row of markup.
    pub(super) fn html_row(&mut self, name: &str, cells: &[String]) {
        let _ = write!(self.html, "<tr><th scope=\"row\">{name}</th>");
        for cell in cells {
            let _ = write!(self.html, "<td>{cell}</td>");
        }
        self.html.push_str("</tr>\n");
    }

    /// Returns the table as markup.
    pub(super) fn html(&self) -> String {
        let Self { caption, html } = self;
        scrollable(caption, &format!("<table>\n<caption>{caption}</caption>\n{html}</tbody>\n</table>"))
    }

    /// Returns the table as markup that is shown on request, for a table beside
    /// a picture.
    pub(super) fn folded(&self) -> String {
        format!("<details><summary>{} as a table</summary>\n{}</details>\n", self.caption, self.html())
    }
}

/// Returns `html` in a region that can be scrolled sideways, also with the
/// keyboard.
pub(super) fn scrollable(label: &str, html: &str) -> String {
    format!("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\">\n{html}\n</div>\n")
}
