//! Nicknames and channel names: their syntax and their comparison.

/// Maximum bytes of a nickname.
pub(crate) const MAX_NICK_BYTES: usize = 30;
/// Maximum bytes of a channel name.
pub(crate) const MAX_CHANNEL_BYTES: usize = 50;

/// A name in lower case as RFC 1459 defines it: `{}|^` are the lower case of
/// `[]\~`. Two names are the same if their keys are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NameKey(Box<[u8]>);

impl NameKey {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self(name.iter().map(|&byte| fold(byte)).collect())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

pub(crate) fn fold(byte: u8) -> u8 {
    match byte {
        b'[' => b'{',
        b']' => b'}',
        b'\\' => b'|',
        b'~' => b'^',
        _ => byte.to_ascii_lowercase(),
    }
}

/// Returns whether a nickname is valid: letters, digits and ``[]\`_^{|}-``,
/// but no digit or dash as the first character.
pub(crate) fn is_nick(name: &[u8]) -> bool {
    let special = |byte: u8| matches!(byte, b'['..=b'`' | b'{'..=b'}');
    let has_valid_start = name.first().is_some_and(|&byte| byte.is_ascii_alphabetic() || special(byte));
    let has_valid_bytes =
        name.iter().all(|&byte| byte.is_ascii_alphanumeric() || special(byte) || byte == b'-');
    has_valid_start && has_valid_bytes && name.len() <= MAX_NICK_BYTES
}

/// Returns whether a channel name is valid: `#` and at least one byte, without
/// control characters, spaces and commas.
pub(crate) fn is_channel(name: &[u8]) -> bool {
    let plain = |byte: &u8| !matches!(byte, 0..=b' ' | b',' | 0x7f);
    is_channel_like(name) && (2..=MAX_CHANNEL_BYTES).contains(&name.len()) && name.iter().all(plain)
}

/// Returns whether a name is meant for a channel: it starts with `#`. The rest
/// may be invalid.
pub(crate) fn is_channel_like(name: &[u8]) -> bool {
    name.first() == Some(&b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_follows_rfc1459() {
        assert_eq!(NameKey::new(b"Ada[x]\\~"), NameKey::new(b"aDA{X}|^"));
        assert_ne!(NameKey::new(b"ada"), NameKey::new(b"ada_"));
    }

    #[test]
    fn invalid_nicks_are_refused() {
        for nick in [&b"ada"[..], b"[x]", b"_a-1", b"`a", b"a^b"] {
            assert!(is_nick(nick), "{nick:?}");
        }
        for nick in
            [&b""[..], b"1a", b"-a", b"a b", b"a!b", b"#a", b"a~", b"\xc3\xa4", &[b'a'; MAX_NICK_BYTES + 1]]
        {
            assert!(!is_nick(nick), "{nick:?}");
        }
    }

    #[test]
    fn invalid_channel_names_are_refused() {
        for channel in [&b"#a"[..], b"##", b"#\xc3\xa4", b"#a:b"] {
            assert!(is_channel(channel), "{channel:?}");
        }
        for channel in
            [&b""[..], b"#", b"a", b"&a", b"#a b", b"#a,b", b"#a\x07", &[b'#'; MAX_CHANNEL_BYTES + 1]]
        {
            assert!(!is_channel(channel), "{channel:?}");
        }
    }
}
