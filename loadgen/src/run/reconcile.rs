//! Reconciles plan and arrivals: every planned delivery has arrived or is lost.

use std::collections::HashMap;

use crate::plan::{Action, nanoseconds};
use crate::record::{Inbox, Recorder, RunState};

/// Walks over the first `planned` commands of the schedule again and looks each
/// delivery up in the inbox of its receiver. A delivery that never arrived
/// becomes a censored sample in the latencies of `received`: the time from its
/// due time to `end_ns`, but at least the drain time. So a loss cannot improve
/// a percentile.
///
/// `members` has the numbers of the connections that have joined. A receiver
/// without an inbox did not report: what it received is unknown, so none of its
/// deliveries is lost.
pub(super) fn reconcile(
    state: &RunState,
    members: &[usize],
    inboxes: &[Option<Inbox>],
    planned: u64,
    end_ns: u64,
    received: &mut Recorder,
) {
    let drain_ns = nanoseconds(state.plan.drain);
    let waited = |due_ns: u64| end_ns.saturating_sub(due_ns).max(drain_ns);
    let mut channels: HashMap<usize, Vec<usize>> = HashMap::new();
    for &member in members {
        channels.entry(state.channel(member)).or_default().push(member);
    }

    let schedule = state.plan.schedule(members.len());
    let planned = usize::try_from(planned).unwrap_or(usize::MAX);
    for due in schedule.take(planned).filter(|due| due.action == Action::Privmsg) {
        let sender = members[due.sender];
        let (channel, index) = (state.channel(sender), state.index_in_channel(sender));
        let receivers = channels[&channel].iter().filter(|&&receiver| receiver != sender);
        let (mut expected, mut missing) = (0, 0);
        for &receiver in receivers {
            expected += 1;
            let is_missing = |inbox: &Inbox| inbox.is_missing(index, due.sequence);
            missing += u64::from(inboxes[receiver].as_ref().is_some_and(is_missing));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::record::{Arrival, Receipt};

    /// An hour is the longest latency, but not the latest due time.
    #[test]
    fn given_up_deliveries_are_censored_in_their_stage_however_long_the_run_is() {
        let flags = ["--connections", "2", "--rooms", "1", "--stages", "1:2h,1:2h"];
        let state = RunState::new(Plan::from_flags(&flags));
        let due_ns = 3 * 3_600_000_000_000;
        let mut part = state.received();
        let arrival = Arrival::First { late: false, given_up: 5 };
        let stage = state.plan.stages.index_at(due_ns);
        part.record(&Receipt { arrival, channel: 0, stage, due_ns, sent_ns: due_ns, now_ns: due_ns + 1000 });
        let mut received = state.received();
        received.add(&part);
        reconcile(&state, &[0, 1], &[None, None], 0, 2 * due_ns, &mut received);
        let samples = |stage: usize| received.stages[stage].latency.len();
        assert_eq!((samples(0), samples(1)), (0, 6));
        let slices: Vec<_> = received.slices.latency().iter().map(hdrhistogram::Histogram::len).collect();
        assert_eq!((slices[24], slices.iter().sum()), (6, 6), "three of four hours are 24 of 32 slices");
    }

    #[test]
    fn only_deliveries_to_clients_that_reported_are_lost() {
        let flags =
            ["--connections", "3", "--rooms", "1", "--rate", "30", "--duration", "1s", "--mix", "privmsg"];
        let state = RunState::new(Plan::from_flags(&flags));
        let lost = |inboxes: &[Option<Inbox>]| {
            let mut received = state.received();
            reconcile(&state, &[0, 1, 2], inboxes, 30, 2_000_000_000, &mut received);
            assert_eq!(received.counts().expected, 60);
            received.counts().lost
        };
        let empty = || Some(Inbox::new(3));
        assert_eq!(lost(&[empty(), empty(), empty()]), 60);
        let from_second = state.plan.schedule(3).filter(|due| due.sender == 1).count() as u64;
        assert_eq!(
            lost(&[empty(), None, empty()]),
            30 + from_second,
            "all of them but those to the second one"
        );
        assert_eq!(lost(&[None, None, None]), 0);
    }
}
