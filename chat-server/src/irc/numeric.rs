//! The numeric replies of the server, with the names that the IRC documents
//! use.
//!
//! The texts are those that clients know from other servers.

/// The code of a numeric reply whose text or parameters vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numeric(pub(crate) u16);

/// A numeric reply with a fixed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StandardReply {
    pub(crate) numeric: Numeric,
    pub(crate) text: &'static str,
}

impl Numeric {
    /// Returns a reply with this code and this text.
    pub(crate) const fn with_text(self, text: &'static str) -> StandardReply {
        StandardReply { numeric: self, text }
    }
}

impl StandardReply {
    /// Returns the same code with another text.
    pub(crate) const fn with_text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }
}

macro_rules! numerics {
    ($($code:literal $name:ident)+) => { $(pub(crate) const $name: Numeric = Numeric($code);)+ };
}

macro_rules! standard_replies {
    ($($code:literal $name:ident $text:literal)+) => {
        $(pub(crate) const $name: StandardReply = Numeric($code).with_text($text);)+
    };
}

numerics! {
    1 RPL_WELCOME
    2 RPL_YOURHOST
    3 RPL_CREATED
    4 RPL_MYINFO
    221 RPL_UMODEIS
    251 RPL_LUSERCLIENT
    255 RPL_LUSERME
    265 RPL_LOCALUSERS
    266 RPL_GLOBALUSERS
    301 RPL_AWAY
    302 RPL_USERHOST
    303 RPL_ISON
    311 RPL_WHOISUSER
    312 RPL_WHOISSERVER
    314 RPL_WHOWASUSER
    319 RPL_WHOISCHANNELS
    322 RPL_LIST
    324 RPL_CHANNELMODEIS
    329 RPL_CREATIONTIME
    332 RPL_TOPIC
    333 RPL_TOPICWHOTIME
    341 RPL_INVITING
    351 RPL_VERSION
    352 RPL_WHOREPLY
    353 RPL_NAMREPLY
    367 RPL_BANLIST
    371 RPL_INFO
    372 RPL_MOTD
    375 RPL_MOTDSTART
    391 RPL_TIME
    411 ERR_NORECIPIENT
    696 ERR_INVALIDMODEPARAM
    704 RPL_HELPSTART
    705 RPL_HELPTXT
    900 RPL_LOGGEDIN
}

standard_replies! {
    5 RPL_ISUPPORT "are supported by this server"
    252 RPL_LUSEROP "operator(s) online"
    253 RPL_LUSERUNKNOWN "unknown connection(s)"
    254 RPL_LUSERCHANNELS "channels formed"
    305 RPL_UNAWAY "You are no longer marked as being away"
    306 RPL_NOWAWAY "You have been marked as being away"
    313 RPL_WHOISOPERATOR "is an IRC operator"
    315 RPL_ENDOFWHO "End of /WHO list"
    317 RPL_WHOISIDLE "seconds idle, signon time"
    318 RPL_ENDOFWHOIS "End of /WHOIS list"
    321 RPL_LISTSTART "Users  Name"
    323 RPL_LISTEND "End of /LIST"
    330 RPL_WHOISACCOUNT "is logged in as"
    331 RPL_NOTOPIC "No topic is set"
    366 RPL_ENDOFNAMES "End of /NAMES list"
    368 RPL_ENDOFBANLIST "End of channel ban list"
    369 RPL_ENDOFWHOWAS "End of WHOWAS"
    374 RPL_ENDOFINFO "End of /INFO list"
    376 RPL_ENDOFMOTD "End of /MOTD command"
    381 RPL_YOUREOPER "You are now an IRC operator"
    382 RPL_REHASHING "Rehashing"
    401 ERR_NOSUCHNICK "No such nick/channel"
    403 ERR_NOSUCHCHANNEL "No such channel"
    404 ERR_CANNOTSENDTOCHAN "Cannot send to channel"
    405 ERR_TOOMANYCHANNELS "You have joined too many channels"
    406 ERR_WASNOSUCHNICK "There was no such nickname"
    407 ERR_TOOMANYTARGETS "Too many targets"
    409 ERR_NOORIGIN "No origin specified"
    410 ERR_INVALIDCAPCMD "Invalid CAP command"
    412 ERR_NOTEXTTOSEND "No text to send"
    416 ERR_TOOMANYMATCHES "Too many matches, ask for fewer"
    417 ERR_INPUTTOOLONG "Input line was too long"
    421 ERR_UNKNOWNCOMMAND "Unknown command"
    422 ERR_NOMOTD "MOTD File is missing"
    431 ERR_NONICKNAMEGIVEN "No nickname given"
    432 ERR_ERRONEUSNICKNAME "Erroneous nickname"
    433 ERR_NICKNAMEINUSE "Nickname is already in use"
    441 ERR_USERNOTINCHANNEL "They aren't on that channel"
    442 ERR_NOTONCHANNEL "You're not on that channel"
    443 ERR_USERONCHANNEL "is already on channel"
    451 ERR_NOTREGISTERED "You have not registered"
    461 ERR_NEEDMOREPARAMS "Not enough parameters"
    462 ERR_ALREADYREGISTERED "You may not reregister"
    464 ERR_PASSWDMISMATCH "Password incorrect"
    471 ERR_CHANNELISFULL "Cannot join channel (+l)"
    472 ERR_UNKNOWNMODE "is unknown mode char to me"
    473 ERR_INVITEONLYCHAN "Cannot join channel (+i)"
    474 ERR_BANNEDFROMCHAN "Cannot join channel (+b)"
    475 ERR_BADCHANNELKEY "Cannot join channel (+k)"
    478 ERR_BANLISTFULL "Channel ban list is full"
    481 ERR_NOPRIVILEGES "Permission Denied- You're not an IRC operator"
    482 ERR_CHANOPRIVSNEEDED "You're not channel operator"
    491 ERR_NOOPERHOST "No O-lines for your host"
    501 ERR_UMODEUNKNOWNFLAG "Unknown MODE flag"
    502 ERR_USERSDONTMATCH "Cannot change mode for other users"
    524 ERR_HELPNOTFOUND "Help not found"
    525 ERR_INVALIDKEY "Key is not well-formed"
    671 RPL_WHOISSECURE "is using a secure connection"
    706 RPL_ENDOFHELP "End of /HELP"
    903 RPL_SASLSUCCESS "SASL authentication successful"
    904 ERR_SASLFAIL "SASL authentication failed"
    905 ERR_SASLTOOLONG "SASL message too long"
    906 ERR_SASLABORTED "SASL authentication aborted"
    907 ERR_SASLALREADY "You have already authenticated using SASL"
    908 RPL_SASLMECHS "are available SASL mechanisms"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_its_code_and_text() {
        assert_eq!(RPL_WELCOME, Numeric(1));
        assert_eq!(ERR_NOSUCHNICK, Numeric(401).with_text("No such nick/channel"));
    }
}
