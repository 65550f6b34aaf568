//! What is printed on stderr, and when.

use std::time::{Duration, Instant};

use crate::report::text::count;
use crate::settings::Terminal;
use crate::stderr::{self, StderrMode};

/// How many bytes of text are kept while the terminal is in raw mode.
const MAX_HELD_BYTES: usize = 64 << 10;
/// The time between two looks at the terminal's mode while text is kept.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Prints reports, and keeps them while the terminal is in raw mode: a program
/// that draws on the whole screen uses that mode.
#[derive(Debug)]
pub(crate) struct Output {
    terminal: Terminal,
    held: String,
    /// How many texts were not kept, because there was no room.
    lost_texts: u64,
    check_due: Option<Instant>,
}

impl Output {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal, held: String::new(), lost_texts: 0, check_due: None }
    }

    /// Prints a text, if the setting allows it. `is_taken` says whether a
    /// subscriber takes the event with the same content. `text` gets whether to
    /// use colours.
    pub(crate) fn print(&mut self, is_taken: bool, text: impl FnOnce(bool) -> String) {
        let is_shown = match self.terminal {
            Terminal::Auto => !is_taken,
            Terminal::Always => true,
            Terminal::Never => false,
        };
        if is_shown {
            let mode = stderr::mode();
            let has_color = mode != StderrMode::NoTerminal
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            self.print_in_mode(mode, &text(has_color), Instant::now(), stderr::print);
        }
    }

    fn print_in_mode(&mut self, mode: StderrMode, text: &str, now: Instant, print: impl Fn(&str)) {
        if mode == StderrMode::RawTerminal {
            if self.held.len() + text.len() <= MAX_HELD_BYTES {
                self.held.push_str(text);
            } else {
                self.lost_texts += 1;
            }
            self.check_due.get_or_insert(now + CHECK_INTERVAL);
            return;
        }
        self.release(&print);
        print(text);
    }

    /// Returns when to call [`Self::check`], if text is kept.
    pub(crate) fn check_due(&self) -> Option<Instant> {
        self.check_due
    }

    /// Prints what is kept, if the terminal is no longer in raw mode.
    pub(crate) fn check(&mut self, now: Instant) {
        if self.check_due.is_some_and(|due| due <= now) {
            self.check_mode(stderr::mode(), now, stderr::print);
        }
    }

    fn check_mode(&mut self, mode: StderrMode, now: Instant, print: impl Fn(&str)) {
        if mode == StderrMode::RawTerminal {
            self.check_due = Some(now + CHECK_INTERVAL);
        } else {
            self.release(&print);
        }
    }

    /// Prints what is kept for the last time. In raw mode, it is dropped.
    pub(crate) fn end(&mut self) {
        if self.check_due.is_some() {
            self.check_mode(stderr::mode(), Instant::now(), stderr::print);
        }
    }

    fn release(&mut self, print: &impl Fn(&str)) {
        self.check_due = None;
        let mut held = std::mem::take(&mut self.held);
        let lost = std::mem::take(&mut self.lost_texts);
        if lost > 0 {
            let messages = count(lost, "more message was", "more messages were");
            held.push_str(&format!("loopscope: {messages} not kept while the terminal was in raw mode\n"));
        }
        if !held.is_empty() {
            print(&held);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const COOKED: StderrMode = StderrMode::Terminal;
    const RAW: StderrMode = StderrMode::RawTerminal;

    #[test]
    fn text_for_a_terminal_in_raw_mode_is_kept_until_the_mode_is_back() {
        let printed = RefCell::new(String::new());
        let print = |text: &str| printed.borrow_mut().push_str(text);
        let now = Instant::now();
        let mut output = Output::new(Terminal::Always);
        output.print_in_mode(RAW, "one\n", now, print);
        output.print_in_mode(RAW, "two\n", now, print);
        assert_eq!(output.check_due(), Some(now + CHECK_INTERVAL));
        output.check_mode(RAW, now, print);
        assert_eq!(*printed.borrow(), "");
        output.check_mode(COOKED, now, print);
        assert_eq!((&**printed.borrow(), output.check_due()), ("one\ntwo\n", None));
        output.print_in_mode(RAW, "three\n", now, print);
        output.print_in_mode(COOKED, "four\n", now, print);
        assert_eq!(*printed.borrow(), "one\ntwo\nthree\nfour\n", "in their order");
    }

    #[test]
    fn the_text_that_is_kept_is_bounded_and_the_rest_is_counted() {
        let printed = RefCell::new(String::new());
        let print = |text: &str| printed.borrow_mut().push_str(text);
        let mut output = Output::new(Terminal::Always);
        let text = "x".repeat(MAX_HELD_BYTES / 2);
        for _ in 0..5 {
            output.print_in_mode(RAW, &text, Instant::now(), print);
        }
        assert_eq!(output.held.len(), MAX_HELD_BYTES);
        output.check_mode(COOKED, Instant::now(), print);
        let lost = "loopscope: 3 more messages were not kept while the terminal was in raw mode\n";
        assert!(printed.borrow().ends_with(lost));
    }
}
