//! The commands that the server knows.

macro_rules! commands {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A command. The hub dispatches on it, and metrics use it as a label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Command { $($variant,)+ /// Any other word.
            Unknown }

        impl Command {
            /// All commands.
            pub(crate) const ALL: &[Command] = &[$(Command::$variant,)+ Command::Unknown];

            /// Returns the command of that name. The case does not matter.
            pub(crate) fn from_word(word: &[u8]) -> Self {
                $(if word.eq_ignore_ascii_case($name.as_bytes()) { return Command::$variant; })+
                Command::Unknown
            }

            /// Returns the name of the command in the protocol.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Command::$variant => $name,)+ Command::Unknown => "unknown" }
            }
        }
    };
}

// The most frequent commands come first, because the look-up is linear.
commands! {
    Privmsg = "PRIVMSG", Ping = "PING", Pong = "PONG", Join = "JOIN", Part = "PART", Notice = "NOTICE",
    Nick = "NICK", User = "USER", Cap = "CAP", Pass = "PASS", Quit = "QUIT", Mode = "MODE", Who = "WHO",
    Whois = "WHOIS", Names = "NAMES", Topic = "TOPIC", List = "LIST", Oper = "OPER", Motd = "MOTD",
    Lusers = "LUSERS", Version = "VERSION", Time = "TIME", Kick = "KICK", Invite = "INVITE", Away = "AWAY",
    Userhost = "USERHOST", Ison = "ISON", Whowas = "WHOWAS", Info = "INFO", Setname = "SETNAME",
    Help = "HELP", Helpop = "HELPOP", Tagmsg = "TAGMSG", Chathistory = "CHATHISTORY",
    Authenticate = "AUTHENTICATE", Register = "REGISTER", Kill = "KILL", Rehash = "REHASH", History = "HISTORY",
}

impl Command {
    /// Returns whether a client may send the command before registration.
    pub(crate) fn is_allowed_before_registration(self) -> bool {
        use Command::{Authenticate, Cap, Nick, Pass, Ping, Pong, Quit, Register, User};
        matches!(self, Authenticate | Cap | Nick | Pass | Ping | Pong | Quit | Register | User)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_command() {
        for &command in Command::ALL {
            assert_eq!(Command::from_word(command.name().to_lowercase().as_bytes()), command);
        }
    }
}
