//! RPL_ISUPPORT: announces the limits. The values are the constants that the
//! hub enforces.

use super::chathistory::{MAX_LINES, POSITION_KINDS};
use super::limits::{
    MAX_AWAY_REASON_BYTES, MAX_BANS, MAX_CHANNELS_PER_CLIENT, MAX_KEY_BYTES, MAX_KICK_REASON_BYTES,
    MAX_KICK_TARGETS, MAX_MESSAGE_TARGETS, MAX_MODE_CHANGES, MAX_REAL_NAME_BYTES, MAX_TOPIC_BYTES,
    MAX_USER_BYTES,
};
use crate::irc::names::{MAX_CHANNEL_BYTES, MAX_NICK_BYTES};

/// Maximum tokens in one line. A line has at most 15 parameters; the nick and
/// the text take two.
const MAX_TOKENS_PER_LINE: usize = 12;

/// Returns the tokens of each line.
pub(super) fn lines(network: &str) -> Vec<String> {
    let tokens = [
        "CASEMAPPING=rfc1459".to_owned(),
        "CHANTYPES=#".to_owned(),
        "PREFIX=(ov)@+".to_owned(),
        "CHANMODES=b,k,l,imnst".to_owned(),
        format!("CHANLIMIT=#:{MAX_CHANNELS_PER_CLIENT}"),
        format!("MAXLIST=b:{MAX_BANS}"),
        format!("MODES={MAX_MODE_CHANGES}"),
        format!("NICKLEN={MAX_NICK_BYTES}"),
        format!("USERLEN={MAX_USER_BYTES}"),
        format!("CHANNELLEN={MAX_CHANNEL_BYTES}"),
        format!("NAMELEN={MAX_REAL_NAME_BYTES}"),
        format!("TOPICLEN={MAX_TOPIC_BYTES}"),
        format!("KICKLEN={MAX_KICK_REASON_BYTES}"),
        format!("AWAYLEN={MAX_AWAY_REASON_BYTES}"),
        format!("KEYLEN={MAX_KEY_BYTES}"),
        format!("CHATHISTORY={MAX_LINES}"),
        format!("MSGREFTYPES={POSITION_KINDS}"),
        // A command without a number takes as many targets as fit in a line.
        format!(
            "TARGMAX=PRIVMSG:{MAX_MESSAGE_TARGETS},NOTICE:{MAX_MESSAGE_TARGETS},TAGMSG:{MAX_MESSAGE_TARGETS},KICK:{MAX_KICK_TARGETS},WHOIS:1,JOIN:,PART:,NAMES:,LIST:"
        ),
        // `M`: LIST takes masks; `U`: it takes numbers of members. SAFELIST: no
        // LIST disconnects the client that asks.
        "ELIST=MU".to_owned(),
        "SAFELIST".to_owned(),
        format!("NETWORK={network}"),
    ];
    tokens.chunks(MAX_TOKENS_PER_LINE).map(|tokens| tokens.join(" ")).collect()
}
