//! HELP: the parameters of each command.

use super::state::HubState;
use crate::irc::command::Command;
use crate::irc::message::Message;
use crate::irc::numeric::{ERR_HELPNOTFOUND, RPL_ENDOFHELP, RPL_HELPSTART, RPL_HELPTXT};
use crate::irc::reply::Replies;

impl HubState {
    /// `HELP [command]`
    pub(super) fn help(&self, message: &Message<'_>, replies: &mut Replies) {
        let Some(subject) = message.param(0) else {
            let names = Command::ALL.iter().filter(|it| parameters(**it).is_some()).map(|it| it.name());
            replies.numeric(RPL_HELPSTART, &[b"*"], "HELP command shows its parameters. The commands are:");
            replies.numeric_words(RPL_HELPTXT, &[b"*"], names);
            return replies.standard(RPL_ENDOFHELP, &[b"*"]);
        };
        let command = Command::from_word(subject);
        let Some(parameters) = parameters(command) else {
            return replies.standard(ERR_HELPNOTFOUND, &[subject]);
        };
        let name = command.name();
        replies.numeric(RPL_HELPSTART, &[name.as_bytes()], format!("{name} {parameters}").trim_end());
        replies.standard(RPL_ENDOFHELP, &[name.as_bytes()]);
    }
}

/// Returns the parameters that clients may send, or `None` for an unknown word.
fn parameters(command: Command) -> Option<&'static str> {
    Some(match command {
        Command::Privmsg | Command::Notice => "target[,target...] :text",
        Command::Ping | Command::Pong => "token",
        Command::Join => "#channel[,#channel...] [key[,key...]], or 0 to leave all",
        Command::Part => "#channel[,#channel...] [:reason]",
        Command::Nick => "nick",
        Command::User => "name 0 * :real name",
        Command::Cap => "LS [302] | LIST | REQ :capabilities | END",
        Command::Pass => "password",
        Command::Quit => "[:reason]",
        Command::Mode => "#channel [modes [parameters]], or your nick [modes]",
        Command::Who => "[#channel | mask] [o]",
        Command::Whois => "nick",
        Command::Names => "#channel[,#channel...]",
        Command::Topic => "#channel [:topic]",
        Command::List => "[#channel | mask | >members | <members][,...]",
        Command::Oper => "name password",
        Command::Motd
        | Command::Lusers
        | Command::Version
        | Command::Time
        | Command::Info
        | Command::Rehash => "",
        Command::Kick => "#channel nick[,nick...] [:reason]",
        Command::Invite => "nick #channel",
        Command::Away => "[:reason]",
        Command::Userhost | Command::Ison => "nick [nick...]",
        Command::Whowas => "nick [number]",
        Command::Setname => ":real name",
        Command::Help | Command::Helpop => "[command]",
        Command::Kill => "nick [:reason]",
        Command::Authenticate => "mechanism | message | + | *",
        Command::Register => "account * password; the account `*` is your nick",
        Command::History => "#channel [number of lines]",
        Command::Chathistory => {
            "LATEST | BEFORE | AFTER | AROUND | BETWEEN #channel position [position] limit, or TARGETS position \
             position limit"
        }
        Command::Tagmsg => "target[,target...], with tags in front",
        Command::Unknown => return None,
    })
}
