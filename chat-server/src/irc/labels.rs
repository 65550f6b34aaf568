//! `labeled-response`: marks the replies to a request with the label that the
//! client gave it.

use crate::irc::tags::push_tag;

/// The reference of the batch around several replies. All lines of a batch are
/// in one buffer, so one reference is enough.
const BATCH: &[u8] = b"r";

/// Returns the encoded `lines`, which are the whole response to a request, with
/// its label. `tag` is the tag of the lines that this adds.
///
/// One line, or one batch, has the label itself. Several lines come in a batch
/// that has it. Without a line, the response is ACK.
pub(crate) fn add_label(lines: &[u8], label: &[u8], server: &[u8], tag: &[u8]) -> Vec<u8> {
    let label = [b"label=", label].concat();
    let all: Vec<&[u8]> = lines.split_inclusive(|&byte| byte == b'\n').collect();
    let mut labelled = Vec::with_capacity(lines.len() + 64 * (all.len() + 1));
    let own_line = |bytes: &mut Vec<u8>, more_tag: &[u8], rest: &[&[u8]]| {
        let line = [&[b":", server, b" "], rest, &[b"\r\n"]].concat().concat();
        push_with_tag(bytes, more_tag, &with_tag(tag, &line));
    };
    match &all[..] {
        [] => own_line(&mut labelled, &label, &[b"ACK"]),
        [first, rest @ ..] if rest.is_empty() || is_one_batch(&all) => {
            push_with_tag(&mut labelled, &label, first);
            rest.iter().for_each(|line| labelled.extend_from_slice(line));
        }
        lines => {
            own_line(&mut labelled, &label, &[b"BATCH +", BATCH, b" labeled-response"]);
            for line in lines {
                if has_batch(line) {
                    labelled.extend_from_slice(line);
                } else {
                    push_with_tag(&mut labelled, &[b"batch=", BATCH].concat(), line);
                }
            }
            own_line(&mut labelled, b"", &[b"BATCH -", BATCH]);
        }
    }
    labelled
}

/// Returns whether the lines are one batch with nothing before and after it.
fn is_one_batch(lines: &[&[u8]]) -> bool {
    let [first, between @ .., last] = lines else { return false };
    batch_parameter(first).is_some_and(|it| it.starts_with(b"+"))
        && batch_parameter(last).is_some_and(|it| it.starts_with(b"-"))
        && between.iter().all(|line| has_batch(line))
}

/// Returns the rest of a BATCH line from the sign of its reference.
fn batch_parameter(line: &[u8]) -> Option<&[u8]> {
    let mut words = split_tags(line).1.splitn(3, |&byte| byte == b' ');
    (words.nth(1) == Some(b"BATCH")).then(|| words.next()).flatten()
}

fn has_batch(line: &[u8]) -> bool {
    split_tags(line).0.split(|&byte| byte == b';').any(|tag| tag.starts_with(b"batch="))
}

/// Splits a line into its tags, which may be empty, and the rest.
fn split_tags(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(tagged) = line.strip_prefix(b"@") else { return (b"", line) };
    let end = tagged.iter().position(|&byte| byte == b' ').unwrap_or(tagged.len());
    (&tagged[..end], tagged.get(end + 1..).unwrap_or_default())
}

fn with_tag(tag: &[u8], line: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_with_tag(&mut bytes, tag, line);
    bytes
}

/// Appends the line with `tag` in front of its own tags.
fn push_with_tag(bytes: &mut Vec<u8>, tag: &[u8], line: &[u8]) {
    let (own_tags, rest) = split_tags(line);
    let mut tags = tag.to_vec();
    if !own_tags.is_empty() {
        push_tag(&mut tags, own_tags);
    }
    if !tags.is_empty() {
        bytes.extend_from_slice(&[b"@", &tags[..], b" "].concat());
    }
    bytes.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_response_has_the_label_once() {
        for (lines, expected) in [
            ("", "@label=L;time=1 :s ACK\r\n"),
            (":s PONG s :x\r\n", "@label=L :s PONG s :x\r\n"),
            ("@time=2 :s PONG s :x\r\n", "@label=L;time=2 :s PONG s :x\r\n"),
            (
                "@time=2 :s BATCH +h chathistory #a\r\n@batch=h :a PRIVMSG #a :x\r\n:s BATCH -h\r\n",
                "@label=L;time=2 :s BATCH +h chathistory #a\r\n@batch=h :a PRIVMSG #a :x\r\n:s BATCH -h\r\n",
            ),
            (
                ":s 1 a\r\n@time=2 :s 2 a\r\n",
                "@label=L;time=1 :s BATCH +r labeled-response\r\n@batch=r :s 1 a\r\n\
                 @batch=r;time=2 :s 2 a\r\n@time=1 :s BATCH -r\r\n",
            ),
            (
                ":s WARN X\r\n:s BATCH +h chathistory #a\r\n@batch=h :a PRIVMSG #a :x\r\n:s BATCH -h\r\n",
                "@label=L;time=1 :s BATCH +r labeled-response\r\n@batch=r :s WARN X\r\n\
                 @batch=r :s BATCH +h chathistory #a\r\n@batch=h :a PRIVMSG #a :x\r\n\
                 @batch=r :s BATCH -h\r\n@time=1 :s BATCH -r\r\n",
            ),
        ] {
            let labelled = add_label(lines.as_bytes(), b"L", b"s", b"time=1");
            assert_eq!(String::from_utf8_lossy(&labelled), expected);
        }
        assert_eq!(add_label(b"", b"L", b"s", b""), b"@label=L :s ACK\r\n");
    }
}
