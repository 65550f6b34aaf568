//! Registration: PASS, NICK and USER, in any order.

use std::collections::hash_map::Entry;

use super::client::User;
use super::isupport;
use super::limits::{MAX_REAL_NAME_BYTES, MAX_USER_BYTES, VERSION};
use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::account_policy::SaslUse;
use crate::irc::message::Message;
use crate::irc::names::{NameKey, is_nick};
use crate::irc::numeric::{
    ERR_ALREADYREGISTERED, ERR_ERRONEUSNICKNAME, ERR_NICKNAMEINUSE, ERR_NONICKNAMEGIVEN, ERR_PASSWDMISMATCH,
    ERR_SASLABORTED, RPL_CREATED, RPL_ISUPPORT, RPL_MYINFO, RPL_WELCOME, RPL_YOURHOST,
};
use crate::irc::reply::{OutputLine, Replies};
use crate::irc::truncate::truncate;
use crate::metrics::{LoginResult, Rejection};

impl HubState {
    pub(super) fn pass(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.is_registered {
            return replies.standard(ERR_ALREADYREGISTERED, &[]);
        }
        match message.param(0) {
            None => replies.need_more_params("PASS"),
            Some(password) if !client.is_admitted => client.password = Some(password.into()),
            Some(_) => {}
        }
    }

    /// Registers the client whose password was verified, or disconnects it.
    pub(super) fn admit(&mut self, id: ClientId, is_right: bool, replies: &mut Replies) -> CommandOutcome {
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        if !is_right {
            return self.refuse(replies);
        }
        client.is_admitted = true;
        self.register(id, replies)
    }

    fn refuse(&self, replies: &mut Replies) -> CommandOutcome {
        replies.standard(ERR_PASSWDMISMATCH, &[]);
        self.delivery.count_rejected(Rejection::Password);
        CommandOutcome::Disconnect(b"Bad password".to_vec())
    }

    pub(super) fn user(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        if client.is_registered {
            replies.standard(ERR_ALREADYREGISTERED, &[]);
            return CommandOutcome::Done;
        }
        let (Some(name), Some(real)) = (message.param(0), message.param(3)) else {
            replies.need_more_params("USER");
            return CommandOutcome::Done;
        };
        client.user = Some(User { name: user_name(name), real: truncate(real, MAX_REAL_NAME_BYTES).into() });
        self.register(id, replies)
    }

    pub(super) async fn nick(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(nick) = message.param(0) else {
            replies.standard(ERR_NONICKNAMEGIVEN, &[]);
            return CommandOutcome::Done;
        };
        if !is_nick(nick) {
            replies.standard(ERR_ERRONEUSNICKNAME, &[nick]);
            return CommandOutcome::Done;
        }
        let key = NameKey::new(nick);
        if self.nicks.get(&key).is_some_and(|&owner| owner != id) {
            replies.standard(ERR_NICKNAMEINUSE, &[nick]);
            return CommandOutcome::Done;
        }
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        if client.nick.as_deref() == Some(nick) {
            return CommandOutcome::Done;
        }
        replies.retarget(nick);
        if !client.is_registered {
            client.nick = Some(nick.into());
            return self.register(id, replies);
        }
        if !self.nicks.contains_key(&key) {
            self.former_clients.add(client);
        }
        let old_prefix = client.prefix();
        if let Some(old) = client.nick.replace(nick.into()) {
            self.nicks.remove(&NameKey::new(&old));
        }
        self.nicks.insert(key, id);
        let line =
            OutputLine::new(&[b":", &old_prefix, b" NICK :", nick]).with_account(client.account.as_deref());
        replies.push_copy(&line);
        self.tell_peers(id, |_| true, &line).await;
        CommandOutcome::Done
    }

    /// Registers the client if nothing is missing.
    pub(super) fn register(&mut self, id: ClientId, replies: &mut Replies) -> CommandOutcome {
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        if client.is_registered || client.is_negotiating || client.nick.is_none() || client.user.is_none() {
            return CommandOutcome::Done;
        }
        if !client.is_admitted {
            return match client.password.take() {
                Some(password) => CommandOutcome::CheckPassword(password),
                None => self.refuse(replies),
            };
        }
        if client.account.is_none() && self.identity.account_policy.sasl == SaslUse::Required {
            let hint = if client.transport.is_confidential() || self.identity.account_policy.allows_plain_text
            {
                "Log in to an account with SASL"
            } else {
                "Log in to an account with SASL, over TLS"
            };
            replies.server_line(&[b"FAIL * ACCOUNT_REQUIRED :", hint.as_bytes()]);
            self.delivery.count_rejected(Rejection::Account);
            return CommandOutcome::Disconnect(hint.into());
        }
        if client.sasl.take().is_some() {
            self.delivery.count_login(LoginResult::Aborted);
            replies.standard(ERR_SASLABORTED, &[]);
        }
        // Before, the client does not own its nick. Otherwise a client without
        // the password could hold it.
        let Some(nick) = &client.nick else { return CommandOutcome::Done };
        match self.nicks.entry(NameKey::new(nick)) {
            Entry::Vacant(entry) => drop(entry.insert(id)),
            Entry::Occupied(_) => {
                let nick = client.nick.take().unwrap_or_default();
                replies.retarget(b"*");
                replies.standard(ERR_NICKNAMEINUSE, &[&nick]);
                return CommandOutcome::Done;
            }
        }
        client.is_registered = true;
        self.registered_count += 1;
        self.max_registered = self.max_registered.max(self.registered_count);
        let prefix = client.prefix();
        self.welcome(&prefix, replies);
        self.lusers(replies);
        self.motd(replies);
        CommandOutcome::Done
    }

    fn welcome(&self, prefix: &[u8], replies: &mut Replies) {
        let name = &self.identity.name;
        let created = humantime::format_rfc3339_seconds(self.identity.started_at);
        replies.numeric(RPL_WELCOME, &[], [b"Welcome to the network, ", prefix].concat());
        replies.numeric(RPL_YOURHOST, &[], format!("Your host is {name}, running {VERSION}"));
        replies.numeric(RPL_CREATED, &[], format!("This server was started {created}"));
        replies.numeric_params(
            RPL_MYINFO,
            &[name.as_bytes(), VERSION.as_bytes(), b"ioz", b"biklmnostv", b"bklov"],
        );
        for tokens in isupport::lines(name) {
            let tokens: Vec<&[u8]> = tokens.split(' ').map(str::as_bytes).collect();
            replies.standard(RPL_ISUPPORT, &tokens);
        }
    }
}

/// Returns `~` and those bytes of the name that are valid in a prefix.
fn user_name(name: &[u8]) -> Box<[u8]> {
    let plain = name.iter().copied().filter(|&byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    std::iter::once(b'~').chain(plain).take(MAX_USER_BYTES).collect()
}
