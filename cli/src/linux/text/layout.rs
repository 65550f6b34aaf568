//! Lines of a fixed width: labels at the left, text behind them.

use anstyle::{AnsiColor, Style};
use loopscope::report::{width, wrapped};

use crate::linux::text::view::View;

/// The columns of a label and the space behind it.
const LABEL_COLUMNS: usize = 15;
/// Text has at least this width, however far it is indented.
const MIN_TEXT_COLUMNS: usize = 24;

const LABEL: Style = Style::new().bold();
const ALERT: Style = AnsiColor::BrightRed.on_default().bold();
const PLACE: Style = AnsiColor::Cyan.on_default();
const NONE: Style = Style::new();

/// How a line stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emphasis {
    /// As all text.
    None,
    /// It heads a group.
    Head,
    /// Something is wrong.
    Alert,
    /// A place in the code.
    Place,
}

/// The text, line by line.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) view: View,
    text: String,
}

impl Page {
    pub(super) fn new(view: View) -> Self {
        Self { view, text: String::new() }
    }

    pub(super) fn text(self) -> String {
        self.text
    }

    /// Adds a text that is laid out already.
    pub(super) fn verbatim(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn blank_line(&mut self) {
        self.text.push('\n');
    }

    /// Adds the first line.
    pub(super) fn title(&mut self, text: &str) {
        for line in wrapped(text, self.view.columns).lines() {
            self.push(Emphasis::Head, line);
            self.text.push('\n');
        }
    }

    /// Adds a label and a text, which is wrapped behind it.
    pub(super) fn labelled(&mut self, label: &str, text: &str) {
        let room = self.room(LABEL_COLUMNS);
        for (number, line) in wrapped(text, room).lines().enumerate() {
            let label = if number == 0 { label } else { "" };
            self.push(Emphasis::Head, label);
            let space = LABEL_COLUMNS.saturating_sub(width(label));
            self.text.push_str(&" ".repeat(space));
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// Adds a text below a label. Further lines are indented a little more.
    pub(super) fn below_label(&mut self, emphasis: Emphasis, text: &str) {
        self.indented(LABEL_COLUMNS, emphasis, text);
    }

    /// Adds a text that is wrapped behind an indentation. Further lines are
    /// indented a little more.
    pub(super) fn indented(&mut self, indent: usize, emphasis: Emphasis, text: &str) {
        let room = self.room(indent + 2);
        for (number, line) in wrapped(text, room).lines().enumerate() {
            self.text.push_str(&" ".repeat(indent + if number == 0 { 0 } else { 2 }));
            self.push(emphasis, line);
            self.text.push('\n');
        }
    }

    /// Adds one line, which is cut at the width.
    pub(super) fn cut_line(&mut self, emphasis: Emphasis, text: &str) {
        let text = cut(text.trim_end(), self.view.columns);
        self.push(emphasis, &text);
        self.text.push('\n');
    }

    /// Returns how many columns are left behind `indent`.
    pub(super) fn room(&self, indent: usize) -> usize {
        self.view.columns.saturating_sub(indent).max(MIN_TEXT_COLUMNS)
    }

    fn push(&mut self, emphasis: Emphasis, text: &str) {
        let style = match emphasis {
            Emphasis::None => NONE,
            Emphasis::Head => LABEL,
            Emphasis::Alert => ALERT,
            Emphasis::Place => PLACE,
        };
        if self.view.has_color && style != NONE && !text.is_empty() {
            self.text.push_str(&format!("{style}{text}{style:#}"));
        } else {
            self.text.push_str(text);
        }
    }
}

/// Cuts the end of `text` if it is wider than `columns`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 1);
    for c in text.chars() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > columns {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

/// Cuts the middle of `text` if it is wider than `columns`: a path begins with
/// its package and ends with the line.
pub(super) fn cut_middle(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let head = cut(text, (columns / 3).max(2));
    let mut tail = String::new();
    for c in text.chars().rev() {
        if width(&head) + width(&tail) + width(c.encode_utf8(&mut [0; 4])) > columns {
            break;
        }
        tail.insert(0, c);
    }
    head + &tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_text_is_as_wide_as_allowed() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("好好好", 4), "好…");
        assert_eq!(cut_middle("src/a/very/long/path.rs:12", 12), "src…th.rs:12");
        assert_eq!(cut_middle("short.rs:1", 12), "short.rs:1");
        assert!(width(&cut_middle("好好好好好好好好好", 7)) <= 7);
    }
}
