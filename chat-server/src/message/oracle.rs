//! The parser against others: the vectors of irc-parser-tests, and the crate `irc-proto` on generated lines.
//!
//! Where it differs from `irc-proto`, it does so on purpose, as the vectors, RFC 1459 and other servers do:
//! 1. a NUL, CR or LF ends the line; `irc-proto` keeps it as a byte of a parameter;
//! 2. spaces before the first word are passed over, and several count as one wherever one separates words;
//!    `irc-proto` reads an empty command where more than one stands before the command, and counts empty
//!    parameters towards its limit;
//! 3. a line without a command is none; `irc-proto` reads an empty command, or the source as the command;
//! 4. the fifteenth parameter takes the rest; `irc-proto` lets the fourteenth take it, spaces and all;
//! 5. a command may start with a colon, after a source, and is unknown; to `irc-proto` it is an error if alone.
//!
//! The first two are undone by [`plainly`], and the rest of each such line is compared all the same. The others
//! are counted.

use super::Message;

/// How many lines are generated, unless this is set to a number.
const LINES: &str = "CHAT_SERVER_PARSER_LINES";
const DEFAULT: u64 = 100_000;

#[test]
fn the_vectors_hold() {
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
        serde_norway::from_str(include_str!("../../tests/vectors/msg-split.yaml")).expect("YAML");
    assert!(file.tests.len() >= 30, "{}", file.tests.len());
    for Case { input, atoms } in file.tests {
        let message = Message::parse(input.as_bytes()).expect("a command");
        assert_eq!(message.command, atoms.verb.as_bytes(), "{input:?}");
        assert_eq!(
            message.params(),
            atoms.params.iter().map(|it| it.as_bytes()).collect::<Vec<_>>(),
            "{input:?}"
        );
    }
}

#[test]
fn generated_lines_are_read_as_irc_proto_reads_them() {
    let lines = std::env::var(LINES).ok().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut compared, mut no_command, mut too_many, mut colons) = (0u64, 0u64, 0u64, 0u64);
    for _ in 0..lines {
        let line = random.line();
        let ours = Message::parse(line.as_bytes());
        let Some((plain, words)) = plainly(&line) else {
            assert_eq!(ours, None, "{line:?}");
            no_command += 1;
            continue;
        };
        let ours = ours.unwrap_or_else(|| panic!("no command in {line:?}"));
        if words >= super::MAX_PARAMS - 1 {
            assert!(ours.params().len() >= super::MAX_PARAMS - 1, "{line:?}");
            too_many += 1;
            continue;
        }
        let Ok(theirs) = plain.parse::<irc_proto::Message>() else {
            assert!(ours.command.starts_with(b":"), "{plain:?}");
            colons += 1;
            continue;
        };
        let irc_proto::Command::Raw(command, params) = theirs.command else { panic!("{plain:?} is known") };
        assert_eq!(ours.command, command.as_bytes(), "{line:?}");
        assert_eq!(ours.params(), params.iter().map(|it| it.as_bytes()).collect::<Vec<_>>(), "{line:?}");
        compared += 1;
    }
    println!("{lines} lines: {compared} the same, {no_command} without a command");
    println!("{too_many} with 14 parameters or more, {colons} with a command that starts with a colon");
    assert!(compared > lines / 2, "the lines are too odd to show anything");
    assert!(no_command > 0 && too_many > 0, "the lines are too tame");
}

/// The line with the first two differences undone, and how many parameters stand before the trailing one
/// (or would, without a limit); `None` if there is no command.
fn plainly(line: &str) -> Option<(String, usize)> {
    let mut rest = line.split(['\0', '\r', '\n']).next().unwrap_or_default().trim_start_matches(' ');
    let (mut plain, mut words, mut command) = (String::new(), 0, false);
    let mut heads = ['@', ':'].into_iter().peekable();
    while !rest.is_empty() {
        let head = heads.find(|marker| !command && rest.starts_with(*marker)).is_some();
        if !head && command && rest.starts_with(':') {
            plain.push_str(rest);
            return Some((plain, words));
        }
        let end = rest.find(' ').unwrap_or(rest.len());
        plain.push_str(&rest[..end]);
        plain.push(' ');
        rest = rest[end..].trim_start_matches(' ');
        words += usize::from(!head && command);
        command |= !head;
    }
    command.then(|| (plain.trim_end_matches(' ').to_owned(), words))
}

/// SplitMix64, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }

    /// Half of them have the form of the protocol, more or less; half are made of what matters to it.
    fn line(&mut self) -> String {
        let mut line = String::new();
        if self.below(2) == 0 {
            self.some(&mut line, 40);
            return line;
        }
        for marker in ['@', ':'] {
            if self.below(3) == 0 {
                line.push(marker);
                self.word(&mut line);
                self.spaces(&mut line);
            }
        }
        line.push('Z');
        self.word(&mut line);
        let most = if self.below(8) == 0 { 18 } else { 5 };
        for _ in 0..self.below(most) {
            self.spaces(&mut line);
            self.word(&mut line);
        }
        if self.below(2) == 0 {
            line.push_str(" :");
            self.some(&mut line, 20);
        }
        line
    }

    fn spaces(&mut self, line: &mut String) {
        let count = if self.below(6) == 0 { 3 } else { 1 };
        line.extend(std::iter::repeat_n(' ', count));
    }

    fn word(&mut self, line: &mut String) {
        for _ in 0..=self.below(6) {
            line.push(['a', 'Z', '#', '@', ':', ';', '=', '!', 'ä', '7'][self.below(10) as usize]);
        }
    }

    fn some(&mut self, line: &mut String, most: u64) {
        const PARTS: [char; 16] =
            [' ', ' ', ' ', ':', '@', 'a', 'B', '#', ',', 'ä', '\t', '\u{1}', '\u{7f}', '!', 'q', '9'];
        for _ in 0..self.below(most) {
            let end = ['\0', '\r', '\n'][self.below(3) as usize];
            line.push(if self.below(60) == 0 { end } else { PARTS[self.below(16) as usize] });
        }
    }
}
