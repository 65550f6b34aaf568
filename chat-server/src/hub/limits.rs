//! The maximum lengths and counts that clients may use, and the server's
//! version.
//!
//! RPL_ISUPPORT announces most of them (`isupport.rs`). A text of the maximum
//! length fits into each line that repeats it: a line has at most 512 bytes.

/// Name and version of the server, as clients see them.
pub(super) const VERSION: &str = concat!("chat-server-", env!("CARGO_PKG_VERSION"));

/// Maximum channels that one client may join.
pub(super) const MAX_CHANNELS_PER_CLIENT: usize = 100;
/// Maximum bans of one channel.
pub(super) const MAX_BANS: usize = 100;
/// Maximum bans that one client may have set, in all channels together. The
/// longest ones take about 260 bytes each.
pub(super) const MAX_BANS_PER_CLIENT: usize = 500;
/// Maximum changes with a parameter in one MODE.
pub(super) const MAX_MODE_CHANGES: usize = 4;
/// Maximum member limit that mode `l` accepts.
pub(super) const MAX_MEMBER_LIMIT: u32 = 1_000_000;
/// Maximum distinct targets of one PRIVMSG or NOTICE.
pub(super) const MAX_MESSAGE_TARGETS: usize = 4;
/// Maximum nicks in one KICK.
pub(super) const MAX_KICK_TARGETS: usize = 4;
/// Maximum nicks in one USERHOST.
pub(super) const MAX_USERHOST_NICKS: usize = 5;

/// Maximum bytes of a user name, including its `~`.
pub(super) const MAX_USER_BYTES: usize = 16;
/// Maximum bytes of a real name.
pub(super) const MAX_REAL_NAME_BYTES: usize = 150;
/// Maximum bytes of a topic. A line of LIST holds all of it together with the
/// longest server name, nick and channel name.
pub(super) const MAX_TOPIC_BYTES: usize = 350;
/// Maximum bytes of the reason of a KICK.
pub(super) const MAX_KICK_REASON_BYTES: usize = 300;
/// Maximum bytes of the reason of a KILL.
pub(super) const MAX_KILL_REASON_BYTES: usize = 300;
/// Maximum bytes of the reason of an AWAY.
pub(super) const MAX_AWAY_REASON_BYTES: usize = 300;
/// Maximum bytes of a channel's key.
pub(super) const MAX_KEY_BYTES: usize = 23;
/// Maximum bytes of a ban mask. One MODE line holds [`MAX_MODE_CHANGES`] of
/// them.
pub(super) const MAX_MASK_BYTES: usize = 80;
