//! The messages that wait for the reporting thread.
//!
//! The end of a stall must not be lost: the stall would be in progress for
//! ever. So messages about stalls do not share their room with waits, of which
//! there may be thousands for each stall. If many are pending, messages about
//! one stall replace each other. Their number is then bounded by the number of
//! workers plus a few limits.

use std::collections::{HashSet, VecDeque};

use crate::evidence::{Message, Phase, StallEvidence, StallKey};

/// How many waits may be pending.
const MAX_WAITS: usize = 1024;
/// How many stalls that have ended may be pending.
const MAX_ENDED_STALLS: usize = 4096;
/// If more messages than this are pending, messages about one stall replace
/// each other. Otherwise the receiver gets all of them in their order. It then
/// knows which stalls are in progress at the same time, and so how many workers
/// wait for a lock and what the lock's holder does.
const MAX_UNMERGED: usize = if cfg!(test) { 8 } else { 256 };

/// Messages, each with a number. Later messages have higher numbers. A message
/// that replaces another one takes over its number.
#[derive(Debug, Default)]
pub(super) struct PendingMessages {
    waits: VecDeque<(u64, Message)>,
    /// All other messages.
    messages: VecDeque<(u64, Message)>,
    /// How many of `messages` are stalls that have ended.
    ended_stalls: usize,
    /// The stalls in progress that were taken and whose ends were not.
    taken: HashSet<StallKey>,
    next_number: u64,
}

impl PendingMessages {
    /// Adds a message. Returns `false` if an observation was lost, because
    /// there is no room for it.
    pub(super) fn add(&mut self, message: Message) -> bool {
        match message {
            Message::Wait(_) => return self.add_wait(message),
            Message::Stall(stall) if stall.phase == Phase::Ended => return self.add_ended(stall),
            Message::Stall(stall) => self.push_or_replace(stall),
            Message::Progress { key, duration_nanos, times } => {
                match self.position_in_progress(key).map(|index| &mut self.messages[index].1) {
                    Some(Message::Stall(stall)) => {
                        (stall.duration_nanos, stall.times) = (duration_nanos, times)
                    }
                    Some(progress) => *progress = message,
                    None if self.taken.contains(&key) => self.push(message),
                    None => (),
                }
            }
            Message::NoStall(key) => self.retract(key),
            Message::Replaced(_) | Message::SignalTaken { .. } => self.push(message),
        }
        true
    }

    fn add_wait(&mut self, wait: Message) -> bool {
        let has_room = self.waits.len() < MAX_WAITS;
        if has_room {
            let number = self.take_number();
            self.waits.push_back((number, wait));
        }
        has_room
    }

    fn add_ended(&mut self, stall: StallEvidence) -> bool {
        let has_room = self.ended_stalls < MAX_ENDED_STALLS;
        if !has_room {
            // The stall is not counted, but it does not stay in progress.
            self.retract(stall.key);
            return false;
        }
        self.ended_stalls += 1;
        self.push_or_replace(stall);
        true
    }

    /// Adds a stall. If many messages are pending, the stall replaces the last
    /// message about it.
    fn push_or_replace(&mut self, stall: StallEvidence) {
        match self.position_in_progress(stall.key) {
            Some(index) if self.messages.len() > MAX_UNMERGED => {
                self.messages[index].1 = Message::Stall(stall)
            }
            _ => self.push(Message::Stall(stall)),
        }
    }

    /// Removes the pending messages about a stall in progress. If the receiver
    /// knows the stall, adds a message that retracts it.
    fn retract(&mut self, key: StallKey) {
        while let Some(index) = self.position_in_progress(key) {
            self.messages.remove(index);
        }
        if self.taken.contains(&key) {
            self.push(Message::NoStall(key));
        }
    }

    /// Returns the position of the last message about a stall, unless it says
    /// that the stall is over. Then another stall has the same key.
    fn position_in_progress(&self, key: StallKey) -> Option<usize> {
        let index = self.messages.iter().rposition(|(_, message)| message.stall_key() == Some(key))?;
        (!self.messages[index].1.is_end()).then_some(index)
    }

    fn push(&mut self, message: Message) {
        let number = self.take_number();
        self.messages.push_back((number, message));
    }

    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Removes and returns the message with the lowest number.
    pub(super) fn take(&mut self) -> Option<(u64, Message)> {
        let number = |queue: &VecDeque<(u64, Message)>| queue.front().map_or(u64::MAX, |(number, _)| *number);
        if number(&self.waits) < number(&self.messages) {
            return self.waits.pop_front();
        }
        let (number, message) = self.messages.pop_front()?;
        match &message {
            Message::Stall(stall) if stall.phase == Phase::Ended => {
                self.ended_stalls -= 1;
                self.taken.remove(&stall.key);
            }
            Message::Stall(stall) => drop(self.taken.insert(stall.key)),
            Message::NoStall(key) => drop(self.taken.remove(key)),
            Message::Progress { .. }
            | Message::Wait(_)
            | Message::Replaced(_)
            | Message::SignalTaken { .. } => (),
        }
        Some((number, message))
    }

    /// Returns the number of the message that [`Self::take`] returns next.
    pub(super) fn first_number(&self) -> Option<u64> {
        let fronts = self.waits.front().into_iter().chain(self.messages.front());
        fronts.map(|(number, _)| *number).min()
    }

    /// Returns the number that the next new message gets.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    pub(super) fn len(&self) -> usize {
        self.waits.len() + self.messages.len()
    }
}
