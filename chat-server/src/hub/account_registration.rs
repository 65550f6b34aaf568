//! REGISTER: adds an account.
//!
//! The hub only checks the request. The session adds the account and sends the
//! result with [`Request::AccountRegistered`](super::request::Request).

use super::client::Client;
use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::names::NameKey;
use crate::irc::reply::Replies;
use crate::irc::sasl::Credentials;
use crate::services::accounts::{InvalidAccount, MIN_PASSWORD_BYTES, Registration, check_new};

impl HubState {
    /// Returns whether the client may register accounts.
    pub(super) fn offers_registration(&self, client: &Client) -> bool {
        self.identity.account_policy.registrations_per_hour.is_some() && self.offers_sasl(client)
    }

    /// Returns the value of the capability. Without the server's password,
    /// nobody may register an account.
    pub(super) fn account_registration_value(&self) -> &'static str {
        if self.identity.needs_password {
            "custom-account-name"
        } else {
            "before-connect,custom-account-name"
        }
    }

    /// `REGISTER account email password`. The account `*` is the nick. The
    /// server does not use the email address.
    pub(super) fn register_account(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(client) = self.clients.get(&id) else { return CommandOutcome::Done };
        let (Some(name), Some(_), Some(password)) = (message.param(0), message.param(1), message.param(2))
        else {
            replies.need_more_params("REGISTER");
            return CommandOutcome::Done;
        };
        let is_named_by_nick = name == b"*";
        let name = if is_named_by_nick { client.nick_or_star() } else { name };
        let nick_owner = self.nicks.get(&NameKey::new(name));
        let refusal: (&str, &[u8], String) = if !self.offers_registration(client) {
            // A client cannot know whether it will be possible later.
            let text = "This server does not accept registrations of accounts here";
            ("TEMPORARILY_UNAVAILABLE", name, text.into())
        } else if !client.is_admitted {
            ("COMPLETE_CONNECTION_REQUIRED", name, "Register after the welcome".into())
        } else if client.account.is_some() {
            ("ALREADY_AUTHENTICATED", name, "You are logged in already".into())
        } else if client.nick.is_none() {
            ("NEED_NICK", b"*", "Send NICK first".into())
        } else if nick_owner.is_some_and(|&owner| owner != id) {
            ("ACCOUNT_EXISTS", name, "Another client has that nick".into())
        } else if let Err(invalid) = check_new(name, password, MIN_PASSWORD_BYTES) {
            let code = match invalid {
                InvalidAccount::Name => "BAD_ACCOUNT_NAME",
                InvalidAccount::ShortPassword { .. } => "WEAK_PASSWORD",
                InvalidAccount::Password => "UNACCEPTABLE_PASSWORD",
            };
            (code, name, invalid.needed())
        } else {
            return CommandOutcome::RegisterAccount(Credentials {
                account: name.into(),
                password: password.into(),
            });
        };
        let (code, name, text) = refusal;
        fail(code, name, &text, replies);
        CommandOutcome::Done
    }

    /// Tells the client the result, and logs it in.
    pub(super) async fn end_account_registration(
        &mut self,
        id: ClientId,
        name: Box<[u8]>,
        registration: Registration,
        replies: &mut Replies,
    ) {
        match registration {
            Registration::Created(account) => {
                replies.server_line(&[b"REGISTER SUCCESS ", &account, b" :The account is registered"]);
                self.set_account(id, account, replies).await;
            }
            Registration::Exists => fail("ACCOUNT_EXISTS", &name, "The name is taken", replies),
            Registration::Limited => {
                let text = "Your address has registered too many accounts, try again later";
                fail("TEMPORARILY_UNAVAILABLE", &name, text, replies);
            }
            Registration::Failed => {
                let text = "The server cannot store the account now, try again later";
                fail("TEMPORARILY_UNAVAILABLE", &name, text, replies);
            }
        }
    }
}

fn fail(code: &str, name: &[u8], text: &str, replies: &mut Replies) {
    replies.server_line(&[b"FAIL REGISTER ", code.as_bytes(), b" ", as_word(name), b" :", text.as_bytes()]);
}

/// Returns a name that the client chose in a form that is valid as a parameter.
fn as_word(name: &[u8]) -> &[u8] {
    let is_valid = !name.is_empty() && !name.starts_with(b":") && !name.contains(&b' ') && name.len() <= 200;
    if is_valid { name } else { b"*" }
}
