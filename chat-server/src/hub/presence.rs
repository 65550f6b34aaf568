//! What peers learn about a user: AWAY, SETNAME, and the line of any other
//! change.

use std::collections::BTreeMap;

use super::capabilities::Capabilities;
use super::client::Client;
use super::limits::{MAX_AWAY_REASON_BYTES, MAX_REAL_NAME_BYTES};
use super::request::ClientId;
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::numeric::{RPL_NOWAWAY, RPL_UNAWAY};
use crate::irc::reply::{OutputLine, Replies};
use crate::irc::truncate::truncate;

/// How many peers the hub looks up in one step.
const PEERS_PER_STEP: usize = 4;

impl HubState {
    /// `AWAY [reason]`
    pub(super) async fn away(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let reason: Option<Box<[u8]>> =
            message.param(0).map(|reason| truncate(reason, MAX_AWAY_REASON_BYTES).into());
        replies.standard(if reason.is_some() { RPL_NOWAWAY } else { RPL_UNAWAY }, &[]);
        if client.away_reason == reason {
            return;
        }
        client.away_reason = reason;
        let line = client.away_line();
        self.tell_peers(id, |capabilities| capabilities.away_notify, &line).await;
    }

    /// `SETNAME :real name`
    pub(super) async fn set_name(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(real_name) = message.param(0) else { return replies.need_more_params("SETNAME") };
        let wants_reply = client.capabilities.setname;
        if real_name.len() > MAX_REAL_NAME_BYTES {
            // Without the capability, a client does not know this reply.
            if wants_reply {
                replies.server_line(&[b"FAIL SETNAME INVALID_REALNAME :The real name is too long"]);
            }
            return;
        }
        if let Some(user) = &mut client.user {
            user.real = real_name.into();
        }
        let line = client.line(&[b" SETNAME :", real_name]);
        if wants_reply {
            replies.push_copy(&line);
        }
        self.tell_peers(id, |capabilities| capabilities.setname, &line).await;
    }

    /// Sends `line` once to each client in a common channel whose capabilities
    /// fit. Looking for them yields too: a client can share 100 channels with
    /// thousands of others.
    pub(super) async fn tell_peers(
        &mut self,
        id: ClientId,
        wants: impl Fn(&Capabilities) -> bool,
        line: &OutputLine,
    ) {
        let Some(client) = self.clients.get(&id) else { return };
        let mut receivers = BTreeMap::new();
        for channel in client.channels.iter().filter_map(|key| self.channels.get(key)) {
            for (number, (peer, outbox)) in channel.other_members(id).enumerate() {
                if self.clients.get(&peer).is_some_and(|it| wants(&it.capabilities)) {
                    receivers.insert(peer, outbox);
                }
                if number % PEERS_PER_STEP == 0 {
                    self.delivery.add_steps(1).await;
                }
            }
        }
        self.delivery.deliver(receivers.into_iter(), line).await;
    }
}

impl Client {
    /// Returns what clients with `away-notify` receive.
    pub(super) fn away_line(&self) -> OutputLine {
        let (colon, reason) = self.away_reason.as_deref().map_or((&b""[..], &b""[..]), |it| (b" :", it));
        self.line(&[b" AWAY", colon, reason])
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{HubEvent, Request};
    use super::*;
    use crate::services::line_checks::LineChecks;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Returns in how many polls client 0 executes a line. All clients are in
    /// each channel.
    fn polls_of(line: &str, channel_count: usize, member_count: u64) -> usize {
        let (mut state, _queues) = HubState::with_clients(member_count);
        (0..channel_count).for_each(|number| state.add_channel(&format!("#{number}"), member_count));
        let (outcome, _outcome) = tokio::sync::oneshot::channel();
        let request = Request::Line(line.as_bytes().into(), LineChecks::default());
        let event = HubEvent::Request { id: ClientId(0), request, outcome };
        let mut handled = pin!(state.handle_event(event));
        let mut context = Context::from_waker(Waker::noop());
        (1..).find(|_| matches!(handled.as_mut().poll(&mut context), Poll::Ready(()))).expect("an end")
    }

    #[test]
    fn looking_for_peers_yields() {
        assert_eq!(polls_of("AWAY :lunch", 1, 100), 1);
        // Nobody has requested the capability.
        assert!(polls_of("AWAY :lunch", 1, 5_000) > 1);
        // So few peers receive the line without a yield.
        for line in ["AWAY :lunch", "NICK n", "QUIT :bye"] {
            assert_eq!(polls_of(line, 1, 200), 1, "{line}");
            assert!(polls_of(line, 100, 200) > 5, "{line}");
        }
    }

    #[test]
    fn a_long_mask_of_who_yields() {
        assert_eq!(polls_of("WHO nobody*", 0, 200), 1);
        assert!(polls_of(&format!("WHO {}", "x*".repeat(200)), 0, 200) > 5);
    }
}
