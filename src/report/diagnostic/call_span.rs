//! Which part of a source line is marked as the call.

use std::ops::Range;

use crate::report::source_line;

/// Returns the part of `line` that names the call at a column, counted from 1
/// in bytes: `path::to::name` up to its opening bracket. If no call is
/// recognised there, returns one character. `None` if no code is at the column:
/// the file has changed since it was compiled.
pub(super) fn at_column(line: &str, column: u32) -> Option<Range<usize>> {
    let rest = source_line::code_at(line, column)?;
    let begin = line.len() - rest.len();
    let first = rest.chars().next()?;
    Some(begin..begin + called_path(rest).unwrap_or(first.len_utf8()))
}

/// Returns the part of `line` that calls the function `primitive`. If that is
/// not certain, returns the code of the line.
pub(super) fn of_name(line: &str, primitive: Option<&str>) -> Range<usize> {
    let code = of_code(line);
    let name = primitive.and_then(|primitive| primitive.rsplit("::").next());
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(is_identifier);
    let Some(name) = name.filter(is_name) else { return code };
    let is_call = |(at, name): &(usize, &str)| {
        let behind = &line[at + name.len()..code.end];
        !line[..*at].ends_with(is_identifier)
            && (behind.starts_with('(')
                || behind.starts_with("::<") && called_path(&line[*at..code.end]).is_some())
    };
    let mut calls = line[..code.end].match_indices(name).filter(is_call);
    match (calls.next(), calls.next()) {
        (Some((at, name)), None) => at..at + name.len(),
        _ => code,
    }
}

/// Returns the code of `line` without what is around it: leading space and a
/// comment behind it.
fn of_code(line: &str) -> Range<usize> {
    let begin = line.len() - line.trim_start().len();
    let code = &line[begin..code_end(line).max(begin)];
    // A line in the middle of a comment or text looks like no code.
    let code = if code.is_empty() { &line[begin..] } else { code };
    begin..begin + code.trim_end().len()
}

/// Returns the length of the path at the beginning of `text` if a call or a
/// macro's call follows, or if it is `await`.
fn called_path(text: &str) -> Option<usize> {
    let mut end = 0;
    loop {
        let name = text[end..].find(|c| !is_identifier(c)).unwrap_or(text.len() - end);
        if name > 0 {
            end += name;
        } else {
            end += angle_brackets(&text[end..])?;
        }
        match text[end..].strip_prefix("::") {
            Some(_) => end += 2,
            None => break,
        }
    }
    match &text[end..] {
        rest if rest.starts_with('(') => Some(end),
        rest if ["!(", "![", "!{", "! {"].iter().any(|bracket| rest.starts_with(bracket)) => Some(end + 1),
        _ if &text[..end] == "await" => Some(end),
        _ => None,
    }
}

/// Returns the length of `<…>` at the beginning of `text`.
fn angle_brackets(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (c == '>').then_some(at + 1);
        }
        before = c;
    }
    None
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns where a comment begins that is not in a text or character, or the
/// end of the line.
fn code_end(line: &str) -> usize {
    let mut rest = line.char_indices().peekable();
    let mut is_in_text = false;
    while let Some((at, c)) = rest.next() {
        match c {
            '\\' if is_in_text => drop(rest.next()),
            '"' => is_in_text = !is_in_text,
            _ if is_in_text => {}
            // A character, not a lifetime.
            '\'' => {
                let length = line[at..].chars().skip(1).take(2).collect::<Vec<_>>();
                match length[..] {
                    ['\\', _] => drop((rest.next(), rest.next())),
                    [_, '\''] => drop((rest.next(), rest.next())),
                    _ => {}
                }
            }
            '/' if rest.peek().is_some_and(|(_, next)| matches!(next, '/' | '*')) => return at,
            _ => {}
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is marked of a line, of which `|` marks the column.
    fn marked(line: &str) -> Option<String> {
        let column = line.find('|').unwrap() as u32 + 1;
        let line = line.replacen('|', "", 1);
        at_column(&line, column).map(|span| line[span].to_owned())
    }

    #[test]
    fn the_path_of_the_call_is_marked() {
        for (line, expected) in [
            ("    |std::thread::sleep(pause); // THE MISTAKE", "std::thread::sleep"),
            ("tokio::spawn(async move { |std::thread::sleep(pause) });", "std::thread::sleep"),
            ("    let text = |std::fs::read_to_string(path)?;", "std::fs::read_to_string"),
            ("    self.pool.|get().unwrap();", "get"),
            ("    .|collect::<Vec<_>>();", "collect::<Vec<_>>"),
            ("    |Vec::<fn() -> u8>::with_capacity(3)", "Vec::<fn() -> u8>::with_capacity"),
            ("    |<Job as Run>::run(job)", "<Job as Run>::run"),
            ("    |println!(\"{x}\");", "println!"),
            ("    let v = |vec![0; n];", "vec!"),
            ("    other().|await?;", "await"),
            ("    let 好 = |größe(5);", "größe"),
            // No call is recognised: one character.
            ("    |self.pool.get().unwrap();", "s"),
            ("    sum |+= x;", "+"),
            ("    for x in |items {", "i"),
            ("    (|self.f)(x)", "s"),
            ("    |好 + 1", "好"),
            ("    |a::b", "a"),
            ("    |a::<b", "a"),
            ("    |<a", "<"),
            ("    |a::", "a"),
        ] {
            assert_eq!(marked(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_column_without_code_marks_nothing() {
        for line in ["|    sleep();", "sleep()|"] {
            assert_eq!(marked(line), None, "{line}");
        }
        assert_eq!(at_column("größe()", 4), None, "inside of a character");
        for column in [0, 9, 100, u32::MAX] {
            assert_eq!(at_column("sleep();", column), None, "{column}");
        }
    }

    #[test]
    fn without_a_column_the_called_name_is_marked() {
        let sleep = Some("std::thread::sleep");
        for (line, primitive, expected) in [
            ("    thread::sleep(pause); // sleep(1)", sleep, "sleep"),
            ("    oversleep(1); sleep_ms(2); sleep::<u8>(3);", sleep, "sleep"),
            ("    sleep(1); sleep(2);", sleep, "sleep(1); sleep(2);"),
            ("    work(pause); // sleep(1)", sleep, "work(pause);"),
            ("    let f = sleep;", sleep, "let f = sleep;"),
            ("    work(pause);", None, "work(pause);"),
            ("    work(pause);", Some("<A as B>"), "work(pause);"),
        ] {
            assert_eq!(&line[of_name(line, primitive)], expected, "{line}");
        }
    }

    #[test]
    fn a_comment_is_no_code() {
        for (line, expected) in [
            ("    sleep(pause); // THE MISTAKE  ", "sleep(pause);"),
            ("    sleep(pause); /* why */", "sleep(pause);"),
            ("    get(\"http://x\"); // y", "get(\"http://x\");"),
            (r#"    get("a\"//b"); // y"#, r#"get("a\"//b");"#),
            ("    split('\"'); // y", "split('\"');"),
            (r"    split('\''); // y", r"split('\'');"),
            ("    f::<'a>(x); // y", "f::<'a>(x);"),
            ("    // only a comment", "// only a comment"),
            ("\tx / y", "x / y"),
        ] {
            assert_eq!(&line[of_code(line)], expected, "{line}");
        }
    }
}
