//! The slices of one thread: polls, and stalls in them. No two of them overlap
//! in part.

use std::cmp::Reverse;

use crate::snapshot::{FlightPoll, FlightStall};

/// A part of a thread's time. Times are nanoseconds of the recorder's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'r> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) content: Content<'r>,
}

/// What a slice shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'r> {
    Poll(&'r FlightPoll),
    /// The poll of a stall that the flight recorder does not have, or all polls
    /// of a task that held the worker over many polls.
    PollOf(&'r FlightStall),
    Stall(&'r FlightStall),
}

impl<'r> Slice<'r> {
    fn order(&self) -> (u64, Reverse<u64>, u8) {
        let rank = match self.content {
            Content::PollOf(stall) if stall.is_of_many_polls() => 0,
            Content::Stall(stall) if stall.is_of_many_polls() => 1,
            Content::Poll(_) | Content::PollOf(_) => 2,
            Content::Stall(_) => 3,
        };
        (self.start, Reverse(self.end), rank)
    }

    fn of_poll(poll: &'r FlightPoll, now: u64) -> Self {
        let end = poll.end_nanos.unwrap_or(now);
        Self { start: poll.start_nanos, end, content: Content::Poll(poll) }
    }
}

impl FlightStall {
    /// Returns whether a task held the worker over many polls.
    pub(super) fn is_of_many_polls(&self) -> bool {
        self.polls > 1
    }
}

/// Returns the slices of a thread in the order of their starts, each poll
/// before its stalls. Each stall is inside of a poll. `now` is the end of what
/// is in progress, and `kinds` has the names of task kinds.
pub(super) fn of_thread<'r>(
    polls: &[&'r FlightPoll],
    stalls: &[&'r FlightStall],
    now: u64,
    kinds: &[String],
) -> Vec<Slice<'r>> {
    let (of_many_polls, mut stalls): (Vec<_>, Vec<_>) =
        stalls.iter().copied().partition(|stall| stall.is_of_many_polls());
    stalls.sort_by_key(|stall| (stall.poll, stall.start_nanos));
    let mut slices: Vec<_> = polls.iter().map(|poll| Slice::of_poll(poll, now)).collect();
    slices.sort_by_key(Slice::order);
    let parts_of_polls: Vec<_> = stalls.chunk_by(|a, b| a.poll == b.poll).collect();
    let missing: Vec<_> = parts_of_polls
        .iter()
        .filter(|parts| !has_poll(&slices, parts[0], kinds))
        .map(|parts| poll_of(parts, now))
        .collect();
    slices.extend(missing);
    slices.sort_by_key(Slice::order);
    // While a poll is in a stall, no other poll begins on its thread. The
    // watchdog may have noticed the end later.
    let starts: Vec<_> = slices.iter().map(|slice| slice.start).collect();
    let next_start =
        |at: u64| starts.get(starts.partition_point(|start| *start <= at)).copied().unwrap_or(u64::MAX);
    for slice in &mut slices {
        if matches!(slice.content, Content::PollOf(_)) {
            slice.end = slice.end.min(next_start(slice.start));
        }
    }
    let mut of_stalls = Vec::new();
    for parts in parts_of_polls {
        let Some(poll) = holder(&slices, parts[0].start_nanos) else { continue };
        let mut begin = poll.start;
        for part in parts {
            let start = part.start_nanos.max(begin).min(poll.end);
            let end = part.end_nanos.unwrap_or(now).min(poll.end).min(next_start(start)).max(start);
            of_stalls.push(Slice { start, end, content: Content::Stall(part) });
            begin = end;
        }
    }
    for stall in of_many_polls {
        let start = stall.start_nanos;
        let end = end_before_cut_poll(&slices, start, stall.end_nanos.unwrap_or(now));
        of_stalls.extend([Content::PollOf, Content::Stall].map(|content| Slice {
            start,
            end,
            content: content(stall),
        }));
    }
    slices.extend(of_stalls);
    nest(&mut slices);
    slices
}

/// Returns the innermost poll at a time. `slices` are in order.
fn holder<'r>(slices: &[Slice<'r>], at: u64) -> Option<Slice<'r>> {
    let begun = &slices[..slices.partition_point(|slice| slice.start <= at)];
    begun.iter().rev().find(|slice| slice.end > at).copied()
}

/// Returns whether the poll of a stall is among the slices. If not, another
/// poll may be around it.
fn has_poll(slices: &[Slice<'_>], stall: &FlightStall, kinds: &[String]) -> bool {
    holder(slices, stall.start_nanos).is_some_and(|holder| match holder.content {
        Content::Poll(poll) => holder.start == stall.start_nanos || kinds.get(poll.kind) == Some(&stall.task),
        Content::PollOf(_) | Content::Stall(_) => false,
    })
}

/// Returns a poll of the length of its stall, of which `parts` are known.
fn poll_of<'r>(parts: &[&'r FlightStall], now: u64) -> Slice<'r> {
    let start = parts[0].start_nanos;
    let end = parts.iter().map(|part| part.end_nanos.unwrap_or(now)).max().unwrap_or(start);
    // An empty slice holds no stall.
    Slice { start, end: end.max(start + 1), content: Content::PollOf(parts[0]) }
}

/// Returns the end of a time over many polls. A pass of the watchdog has found
/// it, so it may be in a later poll, which is no part of that time.
fn end_before_cut_poll(slices: &[Slice<'_>], start: u64, end: u64) -> u64 {
    let is_cut = |slice: &&Slice<'_>| slice.start > start && slice.start < end && slice.end > end;
    slices.iter().filter(is_cut).map(|slice| slice.start).min().unwrap_or(end)
}

/// Brings slices in order, and cuts those that overlap others in part. Times of
/// one thread nest by themselves, except where the counters of two CPUs differ.
fn nest(slices: &mut [Slice<'_>]) {
    slices.sort_by_key(Slice::order);
    let mut ends: Vec<u64> = Vec::new();
    let mut latest = 0;
    for slice in slices {
        slice.start = slice.start.max(latest);
        slice.end = slice.end.max(slice.start);
        while let Some(end) = ends.last().copied() {
            if end > slice.start {
                if end >= slice.end {
                    break;
                }
                // The longer part remains.
                if end - slice.start > slice.end - end {
                    slice.end = end;
                    break;
                }
                slice.start = end;
            }
            ends.pop();
        }
        latest = slice.start;
        ends.push(slice.end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::FlightThread;

    /// What ends now is in progress.
    const NOW: u64 = 1_000;

    fn poll(start_nanos: u64, end: u64) -> FlightPoll {
        FlightPoll { tid: 7, kind: 0, start_nanos, end_nanos: (end < NOW).then_some(end) }
    }

    fn stall(poll: u64, start_nanos: u64, end: u64) -> FlightStall {
        FlightStall {
            thread: FlightThread { tid: 7, label: "0".to_owned() },
            poll: (1, poll),
            polls: 1,
            task: "t".to_owned(),
            finding: "f".to_owned(),
            start_nanos,
            end_nanos: (end < NOW).then_some(end),
        }
    }

    /// Returns the slices as text: `p` is a poll, `q` a poll that is known from
    /// its stall, `s` a stall.
    fn shown(polls: &[FlightPoll], stalls: &[FlightStall]) -> String {
        let (polls, stalls): (Vec<_>, Vec<_>) = (polls.iter().collect(), stalls.iter().collect());
        let slices = of_thread(&polls, &stalls, NOW, &["t".to_owned()]);
        let text = |slice: &Slice<'_>| {
            let content = match slice.content {
                Content::Poll(_) => 'p',
                Content::PollOf(_) => 'q',
                Content::Stall(_) => 's',
            };
            format!("{content}{}-{}", slice.start, slice.end)
        };
        slices.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_stall_is_in_its_poll() {
        assert_eq!(shown(&[poll(10, 90)], &[stall(1, 10, 90)]), "p10-90 s10-90");
        assert_eq!(shown(&[poll(10, 90), poll(90, 95)], &[stall(1, 10, 80)]), "p10-90 s10-80 p90-95");
        assert_eq!(shown(&[poll(10, 90)], &[stall(1, 10, 93)]), "p10-90 s10-90", "its end is the poll's");
    }

    #[test]
    fn a_stall_in_progress_is_in_its_poll() {
        assert_eq!(shown(&[poll(10, NOW)], &[stall(1, 10, NOW)]), "p10-1000 s10-1000");
        assert_eq!(shown(&[poll(10, NOW)], &[stall(1, 10, 700)]), "p10-1000 s10-700", "what is proven");
    }

    #[test]
    fn parts_follow_one_another() {
        let parts = [stall(1, 50, 90), stall(1, 10, 51), stall(1, 91, 99)];
        assert_eq!(shown(&[poll(10, 95)], &parts), "p10-95 s10-51 s51-90 s91-95");
        assert_eq!(shown(&[], &parts), "q10-99 s10-51 s51-90 s91-99");
    }

    #[test]
    fn a_stall_without_its_poll_has_one_of_its_own() {
        assert_eq!(shown(&[poll(200, 300)], &[stall(1, 10, 90)]), "q10-90 s10-90 p200-300");
        assert_eq!(shown(&[], &[stall(1, 10, NOW)]), "q10-1000 s10-1000");
        // Its end was noticed when the next poll had begun.
        assert_eq!(shown(&[poll(80, 300)], &[stall(1, 10, 90)]), "q10-80 s10-80 p80-300");
        let two = [stall(1, 10, 90), stall(3, 80, 120)];
        assert_eq!(shown(&[], &two), "q10-80 s10-80 q80-120 s80-120");
    }

    #[test]
    fn a_stall_of_an_outer_poll_is_beside_the_inner_polls() {
        let polls = [poll(40, 60), poll(10, 100)];
        let stalls = [stall(1, 10, 40), stall(3, 40, 60), stall(5, 60, 100)];
        assert_eq!(shown(&polls, &stalls), "p10-100 s10-40 p40-60 s40-60 s60-100");
    }

    #[test]
    fn a_stall_is_not_in_the_poll_of_another_task() {
        // The inner poll ended before the outer one, so it was displaced first.
        let displaced = FlightStall { task: "u".to_owned(), ..stall(3, 40, 60) };
        assert_eq!(shown(&[poll(10, 100)], &[displaced]), "p10-100 q40-60 s40-60");
        // The inner poll was so short that it was not kept.
        assert_eq!(shown(&[poll(10, 100)], &[stall(5, 60, 100)]), "p10-100 s60-100");
        let renamed = FlightStall { task: "u".to_owned(), ..stall(1, 10, 60) };
        assert_eq!(shown(&[poll(10, 100)], &[renamed]), "p10-100 s10-60");
    }

    #[test]
    fn many_polls_of_one_task_are_inside_of_their_stall() {
        let hog = FlightStall { polls: 4, ..stall(2, 10, 75) };
        let polls = [poll(10, 20), poll(21, 40), poll(41, 70), poll(72, 200)];
        assert_eq!(shown(&polls, &[hog]), "q10-72 s10-72 p10-20 p21-40 p41-70 p72-200");
    }

    #[test]
    fn of_two_slices_that_overlap_in_part_the_longer_parts_remain() {
        assert_eq!(shown(&[poll(10, 51), poll(50, 90)], &[]), "p10-51 p51-90");
        assert_eq!(shown(&[poll(10, 50), poll(12, 51)], &[]), "p10-50 p12-50");
        let stalls = [stall(1, 50, 90)];
        assert_eq!(shown(&[poll(10, 51), poll(50, 90)], &stalls), "p10-51 p51-90 s51-90");
    }

    proptest! {
        /// Whatever the times are.
        #[test]
        fn slices_nest_and_are_in_order(
            polls in vec((0..900_u64, 0..100_u64), 0..30),
            stalls in vec((0..10_u64, 1..3_u64, 0..900_u64, 0..100_u64), 0..20),
        ) {
            let polls: Vec<_> = polls.into_iter().map(|(start, length)| poll(start, start + length)).collect();
            let stalls: Vec<_> = stalls
                .into_iter()
                .map(|(seq, polls, start, length)| {
                    // Polls have odd numbers, and runs of polls have even ones.
                    FlightStall { polls, ..stall(seq * 2 + polls % 2, start, start + length) }
                })
                .collect();
            let (polls, stalls): (Vec<_>, Vec<_>) = (polls.iter().collect(), stalls.iter().collect());
            let slices = of_thread(&polls, &stalls, NOW, &["t".to_owned()]);
            let is_stall = |slice: &&Slice<'_>| matches!(slice.content, Content::Stall(_));
            prop_assert_eq!(slices.iter().filter(is_stall).count(), stalls.len());
            let mut open: Vec<Slice<'_>> = Vec::new();
            let mut latest = 0;
            for slice in &slices {
                prop_assert!(latest <= slice.start && slice.start <= slice.end && slice.end <= NOW);
                latest = slice.start;
                while open.last().is_some_and(|outer| outer.end <= slice.start) {
                    open.pop();
                }
                prop_assert!(open.last().is_none_or(|outer| slice.end <= outer.end), "{:?}", slices);
                open.push(*slice);
            }
        }
    }
}
