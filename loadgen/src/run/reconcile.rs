//! Reconciles plan and arrivals: every planned delivery has arrived or is lost.

use std::collections::HashMap;

use crate::irc::Member;
use crate::plan::{Action, nanoseconds};
use crate::record::{Inbox, Recorder, RunState};

/// Walks over the first `planned` commands of the schedule again and looks each
/// delivery up in the inbox of its receiver. A delivery that never arrived
/// becomes a censored sample in the latencies of `received`: the time from its
/// due time to `end_ns`, but at least the drain time. So a loss cannot improve
/// a percentile.
pub(crate) fn reconcile(
    state: &RunState,
    members: &[Member],
    inboxes: &[Inbox],
    planned: u64,
    end_ns: u64,
    received: &mut Recorder,
) {
    let drain_ns = nanoseconds(state.plan.drain);
    let waited = |due_ns: u64| end_ns.saturating_sub(due_ns).max(drain_ns);
    let mut channels: HashMap<usize, Vec<usize>> = HashMap::new();
    for member in members {
        channels.entry(state.channel(member.id)).or_default().push(member.id);
    }

    let schedule = state.plan.schedule(members.len());
    let planned = usize::try_from(planned).unwrap_or(usize::MAX);
    for due in schedule.take(planned).filter(|due| due.action == Action::Privmsg) {
        let sender = &members[due.sender];
        let (channel, index) = (state.channel(sender.id), state.index_in_channel(sender.id));
        let receivers = channels[&channel].iter().filter(|&&receiver| receiver != sender.id);
        let (mut expected, mut missing) = (0, 0);
        for &receiver in receivers {
            expected += 1;
            missing += u64::from(inboxes[receiver].is_missing(index, due.sequence));
        }
        let stage = state.plan.stages.index_at(due.at_ns);
        received.expect(channel, stage, expected);
        received.lose(channel, stage, due.at_ns, waited(due.at_ns), missing);
    }
    // Deliveries that were given up are counted as lost already. Their censored
    // samples are still missing.
    let given_up: Vec<_> = received
        .given_up
        .iter_recorded()
        .map(|given_up| (given_up.value_iterated_to(), given_up.count_at_value()))
        .collect();
    for (due_ns, count) in given_up {
        received.censor(state.plan.stages.index_at(due_ns), due_ns, waited(due_ns), count);
    }
}
