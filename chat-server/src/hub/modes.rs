//! What holds in a channel, and who may do what there.

/// The most bytes of a channel's key.
pub(super) const KEY_LENGTH: usize = 23;
/// The most bans of a channel.
pub(super) const BANS: usize = 100;
/// The most changes with a parameter in one MODE.
pub(super) const CHANGES: usize = 4;

/// The modes of a channel beside its bans and ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Modes {
    /// `i`: only whoever was invited may join.
    pub(super) invite_only: bool,
    /// `m`: only whoever has a rank may talk.
    pub(super) moderated: bool,
    /// `n`: only members may talk.
    pub(super) inside_only: bool,
    /// `s`: only members see it.
    pub(super) secret: bool,
    /// `t`: only operators set the topic.
    pub(super) topic_locked: bool,
    /// `k`: what JOIN must give.
    pub(super) key: Option<Box<[u8]>>,
    /// `l`: members at most.
    pub(super) limit: Option<u32>,
}

impl Default for Modes {
    fn default() -> Self {
        let (invite_only, moderated, secret, topic_locked) = Default::default();
        Modes { invite_only, moderated, inside_only: true, secret, topic_locked, key: None, limit: None }
    }
}

impl Modes {
    /// The switch that `letter` names.
    pub(super) fn switch(&mut self, letter: u8) -> Option<&mut bool> {
        Some(match letter {
            b'i' => &mut self.invite_only,
            b'm' => &mut self.moderated,
            b'n' => &mut self.inside_only,
            b's' => &mut self.secret,
            b't' => &mut self.topic_locked,
            _ => return None,
        })
    }

    /// `+nt` and so on, with the parameters of `k` and `l`; a key shows only to whoever is a `member`.
    pub(super) fn text(&self, member: bool) -> Vec<u8> {
        let switches = [
            (self.invite_only, b'i'),
            (self.key.is_some(), b'k'),
            (self.limit.is_some(), b'l'),
            (self.moderated, b'm'),
            (self.inside_only, b'n'),
            (self.secret, b's'),
            (self.topic_locked, b't'),
        ];
        let mut text = vec![b'+'];
        text.extend(switches.iter().filter(|(on, _)| *on).map(|(_, letter)| letter));
        if let Some(key) = &self.key {
            text.push(b' ');
            text.extend_from_slice(if member { key } else { b"*" });
        }
        if let Some(limit) = self.limit {
            text.extend_from_slice(format!(" {limit}").as_bytes());
        }
        text
    }
}

/// What a member is in a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) operator: bool,
    pub(super) voice: bool,
}

impl Rank {
    /// What stands before the nick.
    pub(super) fn sign(self) -> &'static [u8] {
        match self {
            Rank { operator: true, .. } => b"@",
            Rank { voice: true, .. } => b"+",
            _ => b"",
        }
    }
}

/// A mask of users who may not join, and cannot talk if they are in already.
#[derive(Debug)]
pub(super) struct Ban {
    pub(super) mask: Box<[u8]>,
    pub(super) by: Vec<u8>,
    /// In seconds since 1970.
    pub(super) at: u64,
}

/// Whether it can be a key: what one parameter can carry, without commas as JOIN lists keys.
pub(super) fn is_key(text: &[u8]) -> bool {
    let plain = |byte: &u8| !matches!(byte, 0..=b' ' | b',' | 0x7f);
    !text.is_empty() && text.len() <= KEY_LENGTH && text[0] != b':' && text.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_show_as_they_are_set() {
        let mut modes = Modes::default();
        assert_eq!(modes.text(true), b"+n");
        modes.key = Some(b"sesame"[..].into());
        modes.limit = Some(7);
        *modes.switch(b't').expect("a switch") = true;
        assert_eq!(modes.text(true), b"+klnt sesame 7");
        assert_eq!(modes.text(false), b"+klnt * 7");
        assert!(modes.switch(b'o').is_none());
    }

    #[test]
    fn keys_are_checked() {
        assert!(is_key(b"sesame") && is_key(b"a:b"));
        for key in [&b""[..], b"a b", b"a,b", b":a", b"\x01", &[b'x'; KEY_LENGTH + 1]] {
            assert!(!is_key(key), "{key:?}");
        }
    }
}
