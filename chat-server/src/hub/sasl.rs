//! AUTHENTICATE: logs a client in to an account.
//!
//! The hub only collects the message. The session verifies the password and
//! sends the result with [`Request::LoginChecked`](super::request::Request).

use super::client::Client;
use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::account_policy::SaslUse;
use crate::irc::message::Message;
use crate::irc::numeric::{
    ERR_SASLABORTED, ERR_SASLALREADY, ERR_SASLFAIL, ERR_SASLTOOLONG, RPL_LOGGEDIN, RPL_SASLMECHS,
    RPL_SASLSUCCESS,
};
use crate::irc::reply::Replies;
use crate::irc::sasl::{Chunk, SaslMessage};
use crate::metrics::LoginResult;

/// The mechanisms that the server offers.
pub(super) const MECHANISMS: &str = "PLAIN";

impl HubState {
    /// Returns whether the client may log in to accounts.
    pub(super) fn offers_sasl(&self, client: &Client) -> bool {
        let policy = self.identity.account_policy;
        policy.sasl != SaslUse::Off && (client.transport.is_confidential() || policy.allows_plain_text)
    }

    /// `AUTHENTICATE mechanism`, then the message in chunks, `+` or `*`
    pub(super) fn authenticate(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        let Some(data) = message.param(0) else {
            replies.need_more_params("AUTHENTICATE");
            return CommandOutcome::Done;
        };
        if !client.capabilities.sasl {
            replies.standard(ERR_SASLFAIL.with_text("Request the capability sasl first"), &[]);
            return CommandOutcome::Done;
        }
        let exchange = client.sasl.take();
        if data == b"*" {
            self.delivery.count_login(LoginResult::Aborted);
            replies.standard(ERR_SASLABORTED, &[]);
            return CommandOutcome::Done;
        }
        let Some(mut exchange) = exchange else {
            // Only clients that know CAP version 302 expect a second login.
            if client.account.is_some() && !client.knows_cap_302 {
                replies.standard(ERR_SASLALREADY, &[]);
            } else if data.eq_ignore_ascii_case(MECHANISMS.as_bytes()) {
                client.sasl = Some(SaslMessage::default());
                replies.line(&[b"AUTHENTICATE +"]);
            } else {
                replies.standard(RPL_SASLMECHS, &[MECHANISMS.as_bytes()]);
                replies.standard(ERR_SASLFAIL, &[]);
            }
            return CommandOutcome::Done;
        };
        let error = match exchange.push(data) {
            Chunk::Partial => {
                client.sasl = Some(exchange);
                return CommandOutcome::Done;
            }
            Chunk::Last(credentials) => return CommandOutcome::LogIn(credentials),
            Chunk::TooLong => ERR_SASLTOOLONG,
            Chunk::Malformed => ERR_SASLFAIL,
        };
        self.delivery.count_login(LoginResult::Malformed);
        replies.standard(error, &[]);
        CommandOutcome::Done
    }

    /// Logs the client in to the account whose password was verified.
    pub(super) async fn end_login(
        &mut self,
        id: ClientId,
        account: Option<Box<[u8]>>,
        replies: &mut Replies,
    ) {
        match account {
            Some(account) => {
                self.set_account(id, account, replies).await;
                replies.standard(RPL_SASLSUCCESS, &[]);
            }
            None => replies.standard(ERR_SASLFAIL, &[]),
        }
    }

    /// Sets the account of a client, and tells those who want to know.
    pub(super) async fn set_account(&mut self, id: ClientId, account: Box<[u8]>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let text = [b"You are now logged in as ", &account[..]].concat();
        replies.numeric(RPL_LOGGEDIN, &[&client.prefix(), &account], text);
        if client.account.as_ref() == Some(&account) {
            return;
        }
        let line = client.line(&[b" ACCOUNT ", &account]);
        client.account = Some(account);
        if client.is_registered {
            if client.capabilities.account_notify {
                replies.push_copy(&line);
            }
            self.tell_peers(id, |capabilities| capabilities.account_notify, &line).await;
        }
    }
}
