//! MODE of users.

use super::mode_change::ModeChanges;
use super::request::ClientId;
use super::state::HubState;
use crate::irc::names::NameKey;
use crate::irc::numeric::{ERR_UMODEUNKNOWNFLAG, ERR_USERSDONTMATCH, RPL_UMODEIS};
use crate::irc::reply::Replies;

impl HubState {
    pub(super) fn user_mode(
        &mut self,
        id: ClientId,
        target: &[u8],
        letters: Option<&[u8]>,
        replies: &mut Replies,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if NameKey::new(target) != NameKey::new(client.nick_or_star()) {
            return if self.registered_client(target).is_some() {
                replies.standard(ERR_USERSDONTMATCH, &[]);
            } else {
                replies.no_such_nick(target);
            };
        }
        let Some(letters) = letters else {
            return replies.numeric_params(RPL_UMODEIS, &[client.modes().as_bytes()]);
        };
        let (mut changes, mut on, mut has_unknown) = (ModeChanges::default(), true, false);
        for (index, &letter) in letters.iter().enumerate() {
            let (flag, value) = match (letter, on) {
                (b'+' | b'-', _) => {
                    on = letter == b'+';
                    continue;
                }
                // Only the last occurrence of a flag counts. Otherwise the line
                // that announces the changes could get too long.
                (b'i' | b'o', _) if letters[index + 1..].contains(&letter) => continue,
                (b'i', _) => (&mut client.is_invisible, on),
                (b'o', false) => (&mut client.is_operator, false),
                // Only OPER makes operators, and only TLS makes a connection
                // secure.
                (b'o', true) | (b'z', _) => continue,
                _ => {
                    has_unknown = true;
                    continue;
                }
            };
            if std::mem::replace(flag, value) != value {
                changes.add(value, letter, None);
                match (letter, value) {
                    (b'o', _) => self.operator_count -= 1,
                    (_, true) => self.invisible_count += 1,
                    (_, false) => self.invisible_count -= 1,
                }
            }
        }
        if has_unknown {
            replies.standard(ERR_UMODEUNKNOWNFLAG, &[]);
        }
        if !changes.letters.is_empty() {
            let nick = client.nick_or_star();
            replies.line(&[b":", nick, b" MODE ", nick, b" :", &changes.letters]);
        }
    }
}
