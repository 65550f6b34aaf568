//! Information about users: WHOIS, WHOWAS, USERHOST and ISON.

use super::client::{Client, unix_seconds};
use super::limits::{MAX_USERHOST_NICKS, VERSION};
use super::request::ClientId;
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::names::NameKey;
use crate::irc::numeric::{
    ERR_NONICKNAMEGIVEN, ERR_WASNOSUCHNICK, RPL_AWAY, RPL_ENDOFWHOIS, RPL_ENDOFWHOWAS, RPL_ISON,
    RPL_USERHOST, RPL_WHOISACCOUNT, RPL_WHOISCHANNELS, RPL_WHOISIDLE, RPL_WHOISOPERATOR, RPL_WHOISSECURE,
    RPL_WHOISSERVER, RPL_WHOISUSER, RPL_WHOWASUSER,
};
use crate::irc::reply::Replies;
use crate::transport::Transport;

impl HubState {
    pub(super) fn whois(&self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        // With two parameters, the first one names a server.
        let Some(wanted) = message.param(1).or(message.param(0)) else {
            return replies.standard(ERR_NONICKNAMEGIVEN, &[]);
        };
        match self.registered_client(wanted) {
            None => replies.no_such_nick(wanted),
            Some(client) => self.send_whois(client, id, replies),
        }
        replies.standard(RPL_ENDOFWHOIS, &[wanted]);
    }

    fn send_whois(&self, client: &Client, asker: ClientId, replies: &mut Replies) {
        let nick = client.nick_or_star();
        let all_sigils = self.clients.get(&asker).is_some_and(|asker| asker.capabilities.multi_prefix);
        let channels = client.channels.iter().filter_map(|key| self.channels.get(key));
        let names: Vec<Vec<u8>> = channels
            .filter(|channel| channel.is_visible_to(asker))
            .map(|channel| {
                let sigils = channel.members.get(&client.id).map_or(&b""[..], |it| it.sigils(all_sigils));
                [sigils, &channel.name].concat()
            })
            .collect();
        replies.numeric(RPL_WHOISUSER, &[nick, client.user_name(), &client.host, b"*"], client.real_name());
        replies.numeric_words(RPL_WHOISCHANNELS, &[nick], &names);
        replies.numeric(RPL_WHOISSERVER, &[nick, self.identity.name.as_bytes()], VERSION);
        if let Some(reason) = &client.away_reason {
            replies.numeric(RPL_AWAY, &[nick], reason);
        }
        if client.is_operator {
            replies.standard(RPL_WHOISOPERATOR, &[nick]);
        }
        if client.transport == Transport::Tls {
            replies.standard(RPL_WHOISSECURE, &[nick]);
        }
        if let Some(account) = &client.account {
            replies.standard(RPL_WHOISACCOUNT, &[nick, account]);
        }
        let idle = client.last_message_at.elapsed().as_secs().to_string();
        let since = unix_seconds(client.connected_at).to_string();
        replies.standard(RPL_WHOISIDLE, &[nick, idle.as_bytes(), since.as_bytes()]);
    }

    pub(super) fn whowas(&self, message: &Message<'_>, replies: &mut Replies) {
        let Some(wanted) = message.param(0) else {
            return replies.standard(ERR_NONICKNAMEGIVEN, &[]);
        };
        let key = NameKey::new(wanted);
        let max_records = message.param(1).and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
        let max_records = max_records.filter(|&max_records| max_records > 0).unwrap_or(usize::MAX);
        let mut found = self.former_clients.with_nick(&key).take(max_records).peekable();
        if found.peek().is_none() {
            replies.standard(ERR_WASNOSUCHNICK, &[wanted]);
        }
        for former in found {
            replies.numeric(
                RPL_WHOWASUSER,
                &[&former.nick, &former.user_name, &former.host, b"*"],
                &former.real_name,
            );
        }
        replies.standard(RPL_ENDOFWHOWAS, &[wanted]);
    }

    pub(super) fn userhost(&self, message: &Message<'_>, replies: &mut Replies) {
        if message.param(0).is_none() {
            return replies.need_more_params("USERHOST");
        }
        let about = |client: &Client| {
            let (star, sign) = (
                if client.is_operator { "*" } else { "" },
                if client.away_reason.is_some() { "-" } else { "+" },
            );
            let flags = format!("{star}={sign}");
            [client.nick_or_star(), flags.as_bytes(), client.user_name(), b"@", &client.host].concat()
        };
        let nicks = message.params().iter().take(MAX_USERHOST_NICKS);
        let found: Vec<_> = nicks.filter_map(|nick| self.registered_client(nick)).map(about).collect();
        replies.numeric(RPL_USERHOST, &[], found.join(&b' '));
    }

    pub(super) fn ison(&self, message: &Message<'_>, replies: &mut Replies) {
        if message.param(0).is_none() {
            return replies.need_more_params("ISON");
        }
        let nicks = message.params().iter().flat_map(|param| param.split(|&byte| byte == b' '));
        let online: Vec<_> =
            nicks.filter_map(|nick| self.registered_client(nick)).map(Client::nick_or_star).collect();
        replies.numeric(RPL_ISON, &[], online.join(&b' '));
    }
}
