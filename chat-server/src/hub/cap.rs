//! CAP: capability negotiation.

use super::capabilities::OFFERED;
use super::client::Client;
use super::request::{ClientId, CommandOutcome};
use super::sasl::MECHANISMS;
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::numeric::ERR_INVALIDCAPCMD;
use crate::irc::reply::Replies;

impl HubState {
    pub(super) fn cap(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(client) = self.clients.get(&id) else { return CommandOutcome::Done };
        let (nick, capabilities) = (client.nick_or_star().to_vec(), client.capabilities);
        let offers = self.offers_to(client);
        let Some(subcommand) = message.param(0) else {
            replies.need_more_params("CAP");
            return CommandOutcome::Done;
        };
        let uppercase = subcommand.to_ascii_uppercase();
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        if matches!(&uppercase[..], b"LS" | b"REQ") {
            client.is_negotiating = !client.is_registered;
        }
        if uppercase == b"LS" {
            let version = message.param(1).and_then(|it| std::str::from_utf8(it).ok()?.parse::<u32>().ok());
            client.knows_cap_302 |= version.is_some_and(|version| version >= 302);
        }
        let mut reply = |subcommand: &[u8], rest: &[u8]| {
            replies.server_line(&[b"CAP ", &nick, b" ", subcommand, b" :", rest])
        };
        match &uppercase[..] {
            b"LS" => reply(b"LS", list(&offers, client.knows_cap_302).as_bytes()),
            b"LIST" => reply(b"LIST", capabilities.names().join(" ").as_bytes()),
            b"REQ" => {
                let requested = message.params().get(1).copied().unwrap_or_default();
                let is_offered = |name: &[u8]| offers.iter().any(|offer| offer.name.as_bytes() == name);
                match capabilities.with(requested, is_offered) {
                    Some(granted) => {
                        reply(b"ACK", requested);
                        client.capabilities = granted;
                        client.outbox.set_tag_kinds(granted.tag_kinds());
                        replies.set_kinds(granted.tag_kinds());
                    }
                    None => reply(b"NAK", requested),
                }
            }
            b"END" => {
                client.is_negotiating = false;
                return self.register(id, replies);
            }
            _ => replies.standard(ERR_INVALIDCAPCMD, &[subcommand]),
        }
        CommandOutcome::Done
    }
}

/// A capability that the server offers to a client.
struct Offer {
    name: &'static str,
    /// Shown to clients that know CAP version 302.
    value: Option<&'static str>,
}

impl HubState {
    fn offers_to(&self, client: &Client) -> Vec<Offer> {
        let names = OFFERED.iter().copied();
        let offers = names.map(|name| match name {
            "sasl" => self.offers_sasl(client).then_some(Offer { name, value: Some(MECHANISMS) }),
            "draft/account-registration" => self
                .offers_registration(client)
                .then(|| Offer { name, value: Some(self.account_registration_value()) }),
            _ => Some(Offer { name, value: None }),
        });
        offers.flatten().collect()
    }
}

/// Returns the parameter of CAP LS.
fn list(offers: &[Offer], has_values: bool) -> String {
    let words = offers.iter().map(|offer| match offer.value {
        Some(value) if has_values => format!("{}={value}", offer.name),
        _ => offer.name.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}
