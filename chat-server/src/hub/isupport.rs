//! RPL_ISUPPORT: what clients may rely on, out of the constants that hold.

use super::channel::BANS;
use super::messages::TARGETS;
use super::mode_change::KEY_LENGTH;
use super::moderation::{KICK_LENGTH, KICKS};
use super::modes::CHANGES;
use super::registration::{CHANNELS_EACH, TOPIC_LENGTH, USER_LENGTH};
use super::whois::AWAY_LENGTH;
use crate::irc::names::{CHANNEL_LENGTH, NICK_LENGTH};

/// Tokens on one line: a line has 15 parameters, and the name and the text are two of them.
const EACH: usize = 12;

/// The tokens, a line each.
pub(super) fn lines(network: &str) -> Vec<String> {
    let tokens = [
        "CASEMAPPING=rfc1459".to_owned(),
        "CHANTYPES=#".to_owned(),
        "PREFIX=(ov)@+".to_owned(),
        "CHANMODES=b,k,l,imnst".to_owned(),
        format!("CHANLIMIT=#:{CHANNELS_EACH}"),
        format!("MAXLIST=b:{BANS}"),
        format!("MODES={CHANGES}"),
        format!("NICKLEN={NICK_LENGTH}"),
        format!("USERLEN={USER_LENGTH}"),
        format!("CHANNELLEN={CHANNEL_LENGTH}"),
        format!("TOPICLEN={TOPIC_LENGTH}"),
        format!("KICKLEN={KICK_LENGTH}"),
        format!("AWAYLEN={AWAY_LENGTH}"),
        format!("KEYLEN={KEY_LENGTH}"),
        // Those without a number take as many as the line has room for.
        format!("TARGMAX=PRIVMSG:{TARGETS},NOTICE:{TARGETS},KICK:{KICKS},WHOIS:1,JOIN:,PART:,NAMES:,LIST:"),
        // LIST by mask and by how many are inside; and it never costs whoever asks the connection.
        "ELIST=MU".to_owned(),
        "SAFELIST".to_owned(),
        format!("NETWORK={network}"),
    ];
    tokens.chunks(EACH).map(|tokens| tokens.join(" ")).collect()
}
