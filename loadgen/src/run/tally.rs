//! The reckoning: every planned delivery either came or is lost.

use std::collections::HashMap;

use crate::irc::Member;
use crate::plan::Action;
use crate::record::{Inbox, Recorder, Shared};

/// What should have been delivered, and what was not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Deliveries that the planned messages should have had.
    pub(crate) expected: u64,
    /// Those that never came.
    pub(crate) lost: u64,
}

/// Walks the schedule's first `planned` commands again, asks every receiver's
/// inbox, and puts what never came into `received`'s latencies as a censored
/// sample: the time that it was waited for until `end_ns`, and no less than
/// the drain time, so that no loss can better a percentile.
pub(crate) fn reckon(
    shared: &Shared,
    members: &[Member],
    inboxes: &[Inbox],
    planned: u64,
    end_ns: u64,
    received: &mut Recorder,
) -> Tally {
    let drain_ns = u64::try_from(shared.plan.drain.as_nanos()).unwrap_or(u64::MAX);
    let waited = |due_ns: u64| end_ns.saturating_sub(due_ns).max(drain_ns);
    let mut rooms: HashMap<&str, Vec<usize>> = HashMap::new();
    for member in members {
        rooms.entry(&member.room).or_default().push(member.id);
    }

    let mut tally = Tally::default();
    let schedule = shared.plan.schedule(members.len());
    let planned = usize::try_from(planned).unwrap_or(usize::MAX);
    for due in schedule.take(planned).filter(|due| due.action == Action::Privmsg) {
        let sender = &members[due.sender];
        let place = shared.place(sender.id);
        let receivers = rooms[sender.room.as_str()].iter().filter(|&&receiver| receiver != sender.id);
        let (mut expected, mut missing) = (0, 0);
        for &receiver in receivers {
            expected += 1;
            missing += u64::from(inboxes[receiver].is_missing(place, due.sequence));
        }
        tally.expected += expected;
        tally.lost += missing;
        // Recording nothing would still raise the histogram's maximum.
        if missing > 0 {
            received.latency.saturating_record_n(waited(due.at_ns), missing);
        }
    }
    for given_up in received.given_up.iter_recorded() {
        let count = given_up.count_at_value();
        tally.lost += count;
        received.latency.saturating_record_n(waited(given_up.value_iterated_to()), count);
    }
    tally
}
