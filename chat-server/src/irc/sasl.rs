//! The messages of SASL PLAIN, as AUTHENTICATE carries them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::irc::names::NameKey;

/// Size of a chunk that another one must follow, and maximum size of a chunk.
const CHUNK_BYTES: usize = 400;
/// Maximum size of all chunks of a message together.
const MAX_MESSAGE_BYTES: usize = 1200;

/// The name of an account and the password that a client has sent.
#[derive(PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) account: Box<[u8]>,
    pub(crate) password: Box<[u8]>,
}

/// The chunks of a message that has not ended.
#[derive(Debug, Default)]
pub(crate) struct SaslMessage(Vec<u8>);

/// What a chunk means for its message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// Another chunk follows.
    Partial,
    /// The message is complete.
    Last(Credentials),
    /// The chunk is longer than the protocol allows.
    TooLong,
    /// The message is not one of PLAIN, or it is too long.
    Malformed,
}

impl SaslMessage {
    /// Adds a parameter of AUTHENTICATE. A message that is not
    /// [`Chunk::Partial`] has ended.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Chunk {
        if chunk.len() > CHUNK_BYTES {
            return Chunk::TooLong;
        }
        if chunk != b"+" {
            self.0.extend_from_slice(chunk);
        }
        if self.0.len() > MAX_MESSAGE_BYTES {
            return Chunk::Malformed;
        }
        if chunk.len() == CHUNK_BYTES {
            return Chunk::Partial;
        }
        let decoded = STANDARD.decode(&self.0).ok();
        decoded.and_then(|message| Credentials::parse(&message)).map_or(Chunk::Malformed, Chunk::Last)
    }
}

impl Credentials {
    /// Parses `[authzid] NUL authcid NUL password`. A client can act only for
    /// its own account.
    fn parse(message: &[u8]) -> Option<Self> {
        let mut parts = message.split(|&byte| byte == 0);
        let (authorized, account, password) = (parts.next()?, parts.next()?, parts.next()?);
        let is_own = authorized.is_empty() || NameKey::new(authorized) == NameKey::new(account);
        let is_complete = parts.next().is_none() && !account.is_empty() && !password.is_empty();
        (is_own && is_complete).then(|| Self { account: account.into(), password: password.into() })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(message: &[u8]) -> Chunk {
        SaslMessage::default().push(STANDARD.encode(message).as_bytes())
    }

    fn credentials(account: &str, password: &str) -> Credentials {
        Credentials { account: account.as_bytes().into(), password: password.as_bytes().into() }
    }

    #[test]
    fn the_three_parts_are_found() {
        assert_eq!(push(b"\0ada\0sesame"), Chunk::Last(credentials("ada", "sesame")));
        assert_eq!(push(b"ADA\0ada\0\xc3\xa4"), Chunk::Last(credentials("ada", "ä")));
        for message in
            [&b""[..], b"ada", b"ada\0sesame", b"\0ada\0", b"\0\0sesame", b"bob\0ada\0sesame", b"\0a\0b\0c"]
        {
            assert_eq!(push(message), Chunk::Malformed, "{message:?}");
        }
    }

    #[test]
    fn what_is_not_base64_is_malformed() {
        for chunk in [&b"!!!"[..], b"AAA", b"AGFkYQBzZXNhbWU", b"+", b"=", b"\xff"] {
            assert_eq!(SaslMessage::default().push(chunk), Chunk::Malformed, "{chunk:?}");
        }
    }

    #[test]
    fn a_chunk_of_400_bytes_needs_another_one() {
        for bytes in [299, 300, 301, 599, 600, 601, 899, 900] {
            let password = "x".repeat(bytes - "\0ada\0".len());
            let text = STANDARD.encode(format!("\0ada\0{password}"));
            let mut message = SaslMessage::default();
            for chunk in text.as_bytes().chunks(CHUNK_BYTES).filter(|it| it.len() == CHUNK_BYTES) {
                assert_eq!(message.push(chunk), Chunk::Partial, "{bytes}");
            }
            let rest = text.as_bytes().chunks(CHUNK_BYTES).next_back().filter(|it| it.len() < CHUNK_BYTES);
            assert_eq!(message.push(rest.unwrap_or(b"+")), Chunk::Last(credentials("ada", &password)));
        }
    }

    #[test]
    fn a_message_has_a_maximum_size() {
        assert_eq!(SaslMessage::default().push(&[b'A'; CHUNK_BYTES + 1]), Chunk::TooLong);
        let mut message = SaslMessage::default();
        for _ in 0..MAX_MESSAGE_BYTES / CHUNK_BYTES {
            assert_eq!(message.push(&[b'A'; CHUNK_BYTES]), Chunk::Partial);
        }
        assert_eq!(message.push(&[b'A'; CHUNK_BYTES]), Chunk::Malformed);
    }

    proptest! {
        #[test]
        fn arbitrary_chunks_never_panic(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..420), 0..5),
        ) {
            let mut message = SaslMessage::default();
            chunks.iter().for_each(|chunk| drop(message.push(chunk)));
        }
    }
}
