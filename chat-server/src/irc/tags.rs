//! Message tags: what stands between `@` and the first space of a line.

use std::time::SystemTime;

/// Maximum bytes of the tags that a client sends, including `@` and the space.
/// A line to a client holds those and less than 4,094 bytes of the server's own
/// tags, as the specification requires.
pub(crate) const MAX_CLIENT_TAG_BYTES: usize = 4096;
/// Maximum bytes of a label.
const MAX_LABEL_BYTES: usize = 64;

/// Which tags a client wants on the lines that it receives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TagKinds {
    /// The time of each line (`server-time`).
    pub(crate) time: bool,
    /// The account of the user that a line comes from (`account-tag`).
    pub(crate) account: bool,
    /// The id of each message, and the tags of its sender (`message-tags`).
    pub(crate) message: bool,
}

/// The tags of a message that a client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageTags {
    pub(crate) time: SystemTime,
    pub(crate) id: u64,
    /// The tags for other clients, without `@`. See [`client_only`].
    pub(crate) client_only: Box<[u8]>,
}

impl TagKinds {
    /// Returns a number below 8 that [`from_bits`](Self::from_bits) reads.
    pub(crate) fn bits(self) -> u8 {
        u8::from(self.time) | u8::from(self.message) << 1 | u8::from(self.account) << 2
    }

    pub(crate) fn from_bits(bits: u8) -> Self {
        Self { time: bits & 1 != 0, message: bits & 2 != 0, account: bits & 4 != 0 }
    }
}

/// Returns the tags of these kinds, without `@`, for a line from the user of
/// `account`. A line that is no message has the present time.
pub(crate) fn encode(kinds: TagKinds, account: Option<&[u8]>, message: Option<&MessageTags>) -> Vec<u8> {
    let time = || message.map_or_else(SystemTime::now, |message| message.time);
    let mut tags = if kinds.time { time_tag(time()) } else { Vec::new() };
    if let Some(account) = account.filter(|_| kinds.account) {
        push_tag(&mut tags, &account_tag(account));
    }
    if let Some(message) = message.filter(|_| kinds.message) {
        push_tag(&mut tags, format!("msgid={}", message.id).as_bytes());
        if !message.client_only.is_empty() {
            push_tag(&mut tags, &message.client_only);
        }
    }
    tags
}

/// Returns `account=…`. A name is a nick, so a backslash is the only character
/// to escape.
fn account_tag(name: &[u8]) -> Vec<u8> {
    let mut tag = b"account=".to_vec();
    for &byte in name {
        if byte == b'\\' {
            tag.push(byte);
        }
        tag.push(byte);
    }
    tag
}

/// Returns `time=…`.
pub(crate) fn time_tag(time: SystemTime) -> Vec<u8> {
    format!("time={}", humantime::format_rfc3339_millis(time)).into_bytes()
}

/// Appends a tag, or several that are joined already.
pub(crate) fn push_tag(tags: &mut Vec<u8>, tag: &[u8]) {
    if !tags.is_empty() {
        tags.push(b';');
    }
    tags.extend_from_slice(tag);
}

/// Returns the valid client-only tags, which begin with `+`. They stay as they
/// are, also their escapes. The server relays no other tag.
pub(crate) fn client_only(tags: &[u8]) -> Box<[u8]> {
    let mut kept = Vec::new();
    for tag in split(tags).filter(|tag| is_client_only(tag)) {
        push_tag(&mut kept, tag);
    }
    kept.into()
}

/// Returns the label of a request, unless it is missing or invalid.
pub(crate) fn label(tags: &[u8]) -> Option<&[u8]> {
    // The last of several tags with one name counts.
    let label = split(tags).filter_map(|tag| tag.strip_prefix(b"label=")).last()?;
    (1..=MAX_LABEL_BYTES).contains(&label.len()).then_some(label)
}

fn split(tags: &[u8]) -> impl Iterator<Item = &[u8]> {
    tags.split(|&byte| byte == b';')
}

fn is_client_only(tag: &[u8]) -> bool {
    let Some(tag) = tag.strip_prefix(b"+") else { return false };
    let (name, value) = match tag.iter().position(|&byte| byte == b'=') {
        Some(equals) => tag.split_at(equals),
        None => (tag, &b""[..]),
    };
    let is_name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-./".contains(byte);
    !name.is_empty() && name.iter().all(is_name_byte) && std::str::from_utf8(value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn only_valid_client_only_tags_are_relayed() {
        for (tags, kept) in [
            (&b"+typing=active"[..], &b"+typing=active"[..]),
            (b"time=1;+a=b\\\\:c;label=x;+draft/reply=5", b"+a=b\\\\:c;+draft/reply=5"),
            (b"+a;+b=;+c=a=b", b"+a;+b=;+c=a=b"),
            (b"", b""),
            (b"+", b""),
            (b"+=x;+a b;+\xc3\xa4=x;+a=\xff;;msgid=3", b""),
            (b"+a=\xc3\xa4", b"+a=\xc3\xa4"),
        ] {
            assert_eq!(&*client_only(tags), kept, "{:?}", String::from_utf8_lossy(tags));
        }
    }

    #[test]
    fn a_label_has_one_to_64_bytes() {
        assert_eq!(label(b"label=a;+x=1;label=b"), Some(&b"b"[..]));
        assert_eq!(label(&[&b"label="[..], &[b'x'; 64]].concat()), Some(&[b'x'; 64][..]));
        for tags in [&b""[..], b"label", b"label=", b"+label=x", &[&b"label="[..], &[b'x'; 65]].concat()] {
            assert_eq!(label(tags), None, "{tags:?}");
        }
    }

    #[test]
    fn the_account_tag_escapes_the_name() {
        assert_eq!(account_tag(br"a\[b]"), br"account=a\\[b]");
    }

    #[test]
    fn a_client_receives_the_kinds_of_tags_that_it_wants() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let tags = MessageTags { time, id: 7, client_only: b"+a=b"[..].into() };
        for (bits, expected) in [
            (0, ""),
            (1, "time=2023-11-14T22:13:20.123Z"),
            (2, "msgid=7;+a=b"),
            (3, "time=2023-11-14T22:13:20.123Z;msgid=7;+a=b"),
        ] {
            let kinds = TagKinds::from_bits(bits);
            assert_eq!((kinds.bits(), &encode(kinds, None, Some(&tags))[..]), (bits, expected.as_bytes()));
        }
    }
}
