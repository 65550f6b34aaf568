//! Compares the parser with the test vectors of irc-parser-tests, and with
//! `irc-proto` on generated lines.
//!
//! `CHAT_ORACLE_LINES=10000000 cargo test -p chat-server oracle -- --nocapture`
//! compares that many lines.
//!
//! Some lines are parsed differently on purpose. They are counted by [`Reason`]
//! and not compared. All other lines must give the same result. Bytes that are
//! not UTF-8 are compared too: `irc-proto` takes only text, so it gets each
//! byte as the character with that number.

use super::Message;

/// Why the parser reads a line differently from `irc-proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// NUL, CR or LF in the middle. Here they end the line; in `irc-proto` they
    /// are part of it.
    Control,
    /// More than one space around tags and source. Here they are one gap; in
    /// `irc-proto` the command is empty.
    Spaces,
    /// A command that begins with a colon and has no parameters. Here it is
    /// parsed as a command; in `irc-proto` it is an error.
    Colon,
    /// More than 13 spaces between the start of the command and the trailing
    /// parameter. Here the 15th parameter takes the rest of the line.
    /// `irc-proto` splits at every space, also between two spaces, and the 14th
    /// piece takes the rest.
    Pieces,
}

impl Reason {
    /// Returns why `irc-proto` parses `line` differently, or `None` if both
    /// must give the same result.
    fn expected_difference(line: &[u8]) -> Option<Self> {
        let inner = line.strip_suffix(b"\n").unwrap_or(line);
        let inner = inner.strip_suffix(b"\r").unwrap_or(inner);
        if inner.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Some(Self::Control);
        }
        let mut rest = inner;
        for marker in [b'@', b':'] {
            if rest.first() == Some(&b' ') {
                return Some(Self::Spaces);
            }
            if rest.first() == Some(&marker) {
                let space = rest.iter().position(|&byte| byte == b' ');
                rest = space.map_or(&b""[..], |space| &rest[space + 1..]);
            }
        }
        let trailing = rest.windows(2).position(|pair| pair == b" :");
        match rest.first() {
            Some(b' ') => return Some(Self::Spaces),
            Some(b':') if !rest.contains(&b' ') => return Some(Self::Colon),
            _ => {}
        }
        let middle = &rest[..trailing.unwrap_or(rest.len())];
        (middle.iter().filter(|&&byte| byte == b' ').count() > 13).then_some(Self::Pieces)
    }
}

type Parts = (String, Vec<String>);

fn parse(line: &[u8]) -> Option<Parts> {
    let message = Message::parse(line)?;
    Some((text(message.command), message.params().iter().map(|param| text(param)).collect()))
}

fn parse_with_irc_proto(line: &[u8]) -> Option<Parts> {
    match text(line).parse::<irc_proto::Message>().ok()?.command {
        irc_proto::Command::Raw(command, params) => (!command.is_empty()).then_some((command, params)),
        other => panic!("{other:?}: irc-proto has a type for this command, so the line cannot be compared"),
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Generates lines from pieces that are hard to parse. The sequence is the same
/// in each run.
struct Lines(u64);

impl Lines {
    fn random_below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn word(&mut self, line: &mut Vec<u8>) {
        const BYTES: &[u8] = b"aZ0:@!;=,#-+\\[]{}~\x01\x7f\x80\xc3\xa4\xff";
        for _ in 0..self.random_below(6) {
            let byte = self.random_below(BYTES.len());
            line.push(BYTES[byte]);
        }
    }

    fn spaces(&mut self, line: &mut Vec<u8>) {
        let count = if self.random_below(8) == 0 { self.random_below(4) } else { 1 };
        line.resize(line.len() + count, b' ');
    }

    fn fill(&mut self, line: &mut Vec<u8>) {
        line.clear();
        for marker in [b'@', b':'] {
            if self.random_below(4) == 0 {
                line.push(marker);
                self.word(line);
                self.spaces(line);
            }
        }
        // No command that irc-proto knows begins with these letters.
        line.extend_from_slice([&b"X"[..], b"Xy", b"xYZ", b"Z9", b":", b""][self.random_below(6)]);
        let max_params = if self.random_below(10) == 0 { 20 } else { 6 };
        for _ in 0..self.random_below(max_params) {
            self.spaces(line);
            if self.random_below(6) == 0 {
                line.push(b':');
            }
            self.word(line);
        }
        if self.random_below(16) == 0 && !line.is_empty() {
            let (at, byte) = (self.random_below(line.len()), [0, b'\r', b'\n', b' '][self.random_below(4)]);
            line.insert(at, byte);
        }
        line.extend_from_slice([&b"\r\n"[..], b"\n", b"\r", b"", b" "][self.random_below(5)]);
    }
}

#[test]
fn generated_lines_parse_as_in_irc_proto() {
    let count = std::env::var("CHAT_ORACLE_LINES").ok().and_then(|it| it.parse().ok()).unwrap_or(100_000u64);
    let (mut lines, mut line) = (Lines(0x9e37_79b9_7f4a_7c15), Vec::new());
    let (mut compared, mut skipped) = (0u64, std::collections::BTreeMap::new());
    for _ in 0..count {
        lines.fill(&mut line);
        match Reason::expected_difference(&line) {
            Some(reason) => {
                // The parser must not panic on these lines either.
                parse(&line);
                *skipped.entry(reason).or_insert(0u64) += 1;
            }
            None => {
                assert_eq!(parse(&line), parse_with_irc_proto(&line), "{:?}", String::from_utf8_lossy(&line));
                compared += 1;
            }
        }
    }
    println!("{count} lines, {compared} compared and all the same; different on purpose: {skipped:?}");
    assert!(compared > count / 2 && skipped.len() == 4, "{compared} of {count}, {skipped:?}");
}

/// Each reason has a line that still shows the difference.
#[test]
fn the_documented_differences_still_exist() {
    for (line, reason) in [
        (&b"X a\0b"[..], Reason::Control),
        (b"X a\rb", Reason::Control),
        (b"  X a", Reason::Spaces),
        (b"@t  X a", Reason::Spaces),
        (b":s :X", Reason::Colon),
        (b"X 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", Reason::Pieces),
    ] {
        assert_eq!(Reason::expected_difference(line), Some(reason));
        assert_ne!(parse(line), parse_with_irc_proto(line), "{:?}", String::from_utf8_lossy(line));
    }
}

/// The vectors are by Daniel Oaks, in the public domain (CC0).
#[test]
fn the_test_vectors_parse() {
    #[derive(serde::Deserialize)]
    struct File {
        tests: Vec<Case>,
    }
    #[derive(serde::Deserialize)]
    struct Case {
        input: String,
        atoms: Atoms,
    }
    #[derive(serde::Deserialize)]
    struct Atoms {
        verb: String,
        #[serde(default)]
        params: Vec<String>,
    }
    let file: File =
        serde_norway::from_str(include_str!("../../../tests/vectors/msg-split.yaml")).expect("YAML");
    assert!(file.tests.len() >= 30, "{}", file.tests.len());
    for case in file.tests {
        let message = Message::parse(case.input.as_bytes()).unwrap_or_else(|| panic!("{}", case.input));
        let params: Vec<_> = case.atoms.params.iter().map(|param| param.as_bytes()).collect();
        assert_eq!(
            (message.command, message.params()),
            (case.atoms.verb.as_bytes(), &params[..]),
            "{}",
            case.input
        );
    }
}
