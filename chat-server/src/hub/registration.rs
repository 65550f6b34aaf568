//! Becoming known: PASS, NICK, USER, in any order.

use super::client::User;
use super::{Checks, ClientId, Next, World, isupport};
use crate::irc::message::Message;
use crate::irc::names::{Key, is_nick};
use crate::irc::reply::{Line, Replies};
use crate::metrics::Rejection;

/// The most bytes of a user name, its `~` included.
pub(super) const USER_LENGTH: usize = 16;
/// The most bytes of a topic: a line of LIST shows all of it, with the longest names of all concerned.
pub(super) const TOPIC_LENGTH: usize = 350;
/// The most channels of one client.
pub(super) const CHANNELS_EACH: usize = 100;

/// Name and version as clients see them.
pub(super) const VERSION: &str = concat!("chat-server-", env!("CARGO_PKG_VERSION"));

impl World {
    pub(super) fn pass(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        checks: Checks,
        replies: &mut Replies,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.registered {
            replies.numeric(462, &[], "You may not reregister");
        } else if message.param(0).is_none() {
            replies.numeric(461, &[b"PASS"], "Not enough parameters");
        } else {
            client.admitted = checks.password;
        }
    }

    pub(super) fn user(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) -> Next {
        let Some(client) = self.clients.get_mut(&id) else { return Next::Done };
        if client.registered {
            replies.numeric(462, &[], "You may not reregister");
            return Next::Done;
        }
        let (Some(name), Some(&real)) = (message.param(0), message.params().get(3)) else {
            replies.numeric(461, &[b"USER"], "Not enough parameters");
            return Next::Done;
        };
        client.user = Some(User { name: user_name(name), real: real.into() });
        self.register(id, replies)
    }

    pub(super) async fn nick(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) -> Next {
        let Some(wish) = message.param(0) else {
            replies.numeric(431, &[], "No nickname given");
            return Next::Done;
        };
        if !is_nick(wish) {
            replies.numeric(432, &[wish], "Erroneous nickname");
            return Next::Done;
        }
        let key = Key::new(wish);
        if self.nicks.get(&key).is_some_and(|&owner| owner != id) {
            replies.numeric(433, &[wish], "Nickname is already in use");
            return Next::Done;
        }
        let Some(client) = self.clients.get_mut(&id) else { return Next::Done };
        if client.nick.as_deref() == Some(wish) {
            return Next::Done;
        }
        if !self.nicks.contains_key(&key) {
            self.gone.note(client);
        }
        let before = client.prefix();
        if let Some(old) = client.nick.replace(wish.into()) {
            self.nicks.remove(&Key::new(&old));
        }
        self.nicks.insert(key, id);
        replies.retarget(wish);
        if !client.registered {
            return self.register(id, replies);
        }
        let line = Line::new(&[b":", &before, b" NICK :", wish]);
        replies.copy(&line);
        let peers = self.clients.get(&id).map(|client| self.peers(client)).unwrap_or_default();
        self.post.deliver(peers.iter().map(|(&id, outbox)| (id, outbox)), &line).await;
        Next::Done
    }

    /// Registers the client if nothing is missing any more.
    pub(super) fn register(&mut self, id: ClientId, replies: &mut Replies) -> Next {
        let Some(client) = self.clients.get_mut(&id) else { return Next::Done };
        if client.registered || client.negotiating || client.nick.is_none() || client.user.is_none() {
            return Next::Done;
        }
        if !client.admitted {
            replies.numeric(464, &[], "Password incorrect");
            self.post.rejected(Rejection::Password);
            return Next::Close(b"Bad password".to_vec());
        }
        client.registered = true;
        self.registered += 1;
        self.most = self.most.max(self.registered);
        let prefix = client.prefix();
        self.welcome(&prefix, replies);
        self.lusers(replies);
        self.motd(replies);
        Next::Done
    }

    fn welcome(&self, prefix: &[u8], replies: &mut Replies) {
        let name = &self.identity.name;
        let created = humantime::format_rfc3339_seconds(self.identity.created);
        replies.numeric(1, &[], [b"Welcome to the network, ", prefix].concat());
        replies.numeric(2, &[], format!("Your host is {name}, running {VERSION}"));
        replies.numeric(3, &[], format!("This server was started {created}"));
        replies.numeric_params(4, &[name.as_bytes(), VERSION.as_bytes(), b"io", b"biklmnostv", b"bklov"]);
        for tokens in isupport::lines(name) {
            let tokens: Vec<&[u8]> = tokens.split(' ').map(str::as_bytes).collect();
            replies.numeric(5, &tokens, "are supported by this server");
        }
    }
}

/// `~` and what of the name can stand in a prefix.
fn user_name(name: &[u8]) -> Box<[u8]> {
    let plain = name.iter().copied().filter(|&byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    std::iter::once(b'~').chain(plain).take(USER_LENGTH).collect()
}
