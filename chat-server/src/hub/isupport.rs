//! RPL_ISUPPORT: what clients may rely on, out of the constants that hold.

use super::limits::{
    MAX_AWAY_REASON_BYTES, MAX_BANS, MAX_CHANNELS_PER_CLIENT, MAX_KEY_BYTES, MAX_KICK_REASON_BYTES,
    MAX_KICK_TARGETS, MAX_MESSAGE_TARGETS, MAX_MODE_CHANGES, MAX_TOPIC_BYTES, MAX_USER_BYTES,
};
use crate::irc::names::{MAX_CHANNEL_BYTES, MAX_NICK_BYTES};

/// Tokens on one line: a line has 15 parameters, and the name and the text are two of them.
const MAX_TOKENS_PER_LINE: usize = 12;

/// The tokens, a line each.
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
        format!("TOPICLEN={MAX_TOPIC_BYTES}"),
        format!("KICKLEN={MAX_KICK_REASON_BYTES}"),
        format!("AWAYLEN={MAX_AWAY_REASON_BYTES}"),
        format!("KEYLEN={MAX_KEY_BYTES}"),
        // Those without a number take as many as the line has room for.
        format!(
            "TARGMAX=PRIVMSG:{MAX_MESSAGE_TARGETS},NOTICE:{MAX_MESSAGE_TARGETS},KICK:{MAX_KICK_TARGETS},WHOIS:1,JOIN:,PART:,NAMES:,LIST:"
        ),
        // LIST by mask and by how many are inside; and it never costs whoever asks the connection.
        "ELIST=MU".to_owned(),
        "SAFELIST".to_owned(),
        format!("NETWORK={network}"),
    ];
    tokens.chunks(MAX_TOKENS_PER_LINE).map(|tokens| tokens.join(" ")).collect()
}
