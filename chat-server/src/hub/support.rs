//! What the server tells of itself on arrival: 001 to 005.

use super::{
    World,
    moderation::{KICK_LENGTH, KICKS},
    modes::{BANS, CHANGES, KEY_LENGTH},
    presence::AWAY_LENGTH,
    registration::{CHANNELS_EACH, TARGETS, TOPIC_LENGTH, USER_LENGTH, VERSION},
};
use crate::{
    lines::MAX_LINE,
    names::{CHANNEL_LENGTH, NICK_LENGTH},
    reply::Replies,
};

/// Tokens on one line, as the protocol bounds its parameters.
const TOKENS: usize = 12;

impl World {
    pub(super) fn welcome(&self, prefix: &[u8], replies: &mut Replies) {
        let name = &self.identity.name;
        let created = humantime::format_rfc3339_seconds(self.identity.created);
        replies.numeric(1, &[], [b"Welcome to the network, ", prefix].concat());
        replies.numeric(2, &[], format!("Your host is {name}, running {VERSION}"));
        replies.numeric(3, &[], format!("This server was started {created}"));
        replies.numeric_params(4, &[name.as_bytes(), VERSION.as_bytes(), b"io", b"biklmnostv", b"bklov"]);
        for tokens in tokens().chunks(TOKENS) {
            replies.numeric(5, &[tokens.join(" ").as_bytes()], "are supported by this server");
        }
    }
}

/// Every limit that clients are told, from the constant that is kept to.
fn tokens() -> Vec<String> {
    vec![
        "CASEMAPPING=rfc1459".into(),
        "CHANTYPES=#".into(),
        "PREFIX=(ov)@+".into(),
        "CHANMODES=b,k,l,imnst".into(),
        format!("MODES={CHANGES}"),
        format!("MAXLIST=b:{BANS}"),
        format!("CHANLIMIT=#:{CHANNELS_EACH}"),
        format!("NICKLEN={NICK_LENGTH}"),
        format!("USERLEN={USER_LENGTH}"),
        format!("CHANNELLEN={CHANNEL_LENGTH}"),
        format!("TOPICLEN={TOPIC_LENGTH}"),
        format!("KEYLEN={KEY_LENGTH}"),
        format!("KICKLEN={KICK_LENGTH}"),
        format!("AWAYLEN={AWAY_LENGTH}"),
        format!("LINELEN={MAX_LINE}"),
        format!("TARGMAX=PRIVMSG:{TARGETS},NOTICE:{TARGETS},KICK:{KICKS},WHOIS:1"),
    ]
}
