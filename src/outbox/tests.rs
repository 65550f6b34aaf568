use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::evidence::{Phase, StallEvidence, StallKey, TaskWait, TimeSplit};
use crate::record::hook_status::Hook;

const FOREVER: Duration = Duration::from_secs(60);

fn stall(phase: Phase, key: StallKey) -> Message {
    Message::Stall(StallEvidence {
        phase,
        key,
        worker: key.0.to_string(),
        start_nanos: key.1,
        duration_nanos: 1,
        ..StallEvidence::ended(TimeSplit::default(), Vec::new())
    })
}

fn progress(key: StallKey) -> Message {
    Message::Progress { key, duration_nanos: 7, times: TimeSplit::default() }
}

fn wait(task: u64) -> Message {
    Message::Wait(TaskWait { nanos: 0..1, task, runtime: Arc::from("main"), is_long: true })
}

fn dropped(self_metrics: &SelfMetrics) -> u64 {
    self_metrics.drops().iter().map(|(_, n)| n).sum()
}

/// Waits for the next message. Returns `None` if the queue is closed.
fn receive(outbox: &Outbox) -> Option<Message> {
    match outbox.receive(None) {
        Received::Message(message) => Some(message),
        Received::Nothing => panic!("there is no deadline"),
        Received::Closed => None,
    }
}

#[test]
fn a_receiver_waits_until_its_deadline_and_a_message_comes_first() {
    let (outbox, self_metrics) = (Outbox::default(), SelfMetrics::default());
    let begin = Instant::now();
    let deadline = begin + Duration::from_millis(20);
    assert!(matches!(outbox.receive(Some(deadline)), Received::Nothing));
    assert!(begin.elapsed() >= Duration::from_millis(20));
    outbox.send(wait(1), &self_metrics);
    assert!(matches!(outbox.receive(Some(deadline)), Received::Message(_)));
    assert_eq!(outbox.pending(), 1, "it is being handled");
    assert!(matches!(outbox.receive(Some(deadline)), Received::Nothing));
    assert_eq!(outbox.pending(), 0);
}

#[test]
fn no_number_of_waits_displaces_the_end_of_a_stall() {
    let (outbox, self_metrics) = (Outbox::default(), SelfMetrics::default());
    outbox.send(stall(Phase::Began, (0, 1)), &self_metrics);
    assert!(outbox.try_receive().is_some());
    for task in 0..5_000 {
        outbox.send(wait(task), &self_metrics);
    }
    outbox.send(stall(Phase::Ended, (0, 1)), &self_metrics);
    let received: Vec<_> = std::iter::from_fn(|| outbox.try_receive()).collect();
    assert_eq!(received.iter().filter(|message| message.is_end()).count(), 1);
    assert_eq!(received.len() as u64 + dropped(&self_metrics), 5_001, "the lost waits are counted");
}

#[test]
fn progress_updates_the_pending_message_about_its_stall() {
    let (outbox, self_metrics) = (Outbox::default(), SelfMetrics::default());
    outbox.send(stall(Phase::Began, (0, 1)), &self_metrics);
    outbox.send(progress((0, 1)), &self_metrics);
    assert_eq!(outbox.pending(), 1);
    match outbox.try_receive() {
        Some(Message::Stall(stall)) => assert_eq!((stall.phase, stall.duration_nanos), (Phase::Began, 7)),
        other => panic!("{other:?}"),
    }
    for _ in 0..3 {
        outbox.send(progress((0, 1)), &self_metrics);
    }
    assert_eq!(outbox.pending(), 1);
    outbox.send(progress((0, 9)), &self_metrics);
    assert_eq!(outbox.pending(), 1, "the receiver does not know this stall");
}

#[test]
fn a_retracted_stall_that_the_receiver_does_not_know_leaves_no_message() {
    let (outbox, self_metrics) = (Outbox::default(), SelfMetrics::default());
    outbox.send(stall(Phase::Ended, (0, 3)), &self_metrics);
    outbox.send(stall(Phase::Began, (0, 3)), &self_metrics);
    outbox.send(stall(Phase::Lasts, (0, 3)), &self_metrics);
    outbox.send(Message::NoStall((0, 3)), &self_metrics);
    assert_eq!(outbox.pending(), 1, "the end of the earlier stall remains");
    assert!(outbox.try_receive().unwrap().is_end());
}

#[test]
fn the_ends_of_many_stalls_replace_their_beginnings() {
    let (outbox, self_metrics) = (Outbox::default(), SelfMetrics::default());
    for seq in 0..1_000 {
        outbox.send(stall(Phase::Began, (0, seq)), &self_metrics);
        outbox.send(stall(Phase::Ended, (0, seq)), &self_metrics);
    }
    let received: Vec<_> = std::iter::from_fn(|| outbox.try_receive()).collect();
    assert_eq!(received.iter().filter(|message| message.is_end()).count(), 1_000);
    assert!(received.len() < 1_010, "{}", received.len());
}

/// Without Tokio's hooks, all stalls between an unpark and a park have one key.
#[test]
fn a_later_stall_with_the_same_key_does_not_replace_the_end_of_the_earlier_one() {
    let (outbox, self_metrics) = (Outbox::default(), SelfMetrics::default());
    for _ in 0..3 {
        outbox.send(stall(Phase::Began, (0, 1)), &self_metrics);
        outbox.send(stall(Phase::Ended, (0, 1)), &self_metrics);
    }
    let received = std::iter::from_fn(|| outbox.try_receive());
    assert_eq!(received.filter(Message::is_end).count(), 3);
}

#[test]
fn a_stall_whose_end_has_no_room_is_retracted_and_counted() {
    let (outbox, self_metrics) = (Outbox::default(), SelfMetrics::default());
    outbox.send(stall(Phase::Began, (0, 1)), &self_metrics);
    assert!(outbox.try_receive().is_some());
    let mut sent = 0;
    while dropped(&self_metrics) == 0 {
        sent += 1;
        outbox.send(stall(Phase::Ended, (1, 2 * sent + 1)), &self_metrics);
        assert!(sent < 100_000, "the queue has no bound");
    }
    outbox.send(stall(Phase::Ended, (0, 1)), &self_metrics);
    let last = std::iter::from_fn(|| outbox.try_receive()).last();
    assert!(matches!(last, Some(Message::NoStall((0, 1)))), "{last:?}");
    assert_eq!(dropped(&self_metrics), 2);
}

/// What the watchdog may do in the model.
#[derive(Debug, Clone)]
enum Action {
    /// The worker begins a stall, or the present one goes on.
    Stall(usize),
    Progress(usize),
    End(usize),
    Retract(usize),
    Waits(u64),
    Hook,
    /// The reporting thread takes this many messages.
    Receive(usize),
}

const WORKERS: usize = 3;

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (0..WORKERS).prop_map(Action::Stall),
        2 => (0..WORKERS).prop_map(Action::Progress),
        3 => (0..WORKERS).prop_map(Action::End),
        1 => (0..WORKERS).prop_map(Action::Retract),
        1 => (0..2_000_u64).prop_map(Action::Waits),
        1 => Just(Action::Hook),
        3 => (0..6_usize).prop_map(Action::Receive),
    ]
}

/// The receiver's view: the stalls in progress, and how many have ended.
#[derive(Debug, Default)]
struct ReceiverModel {
    in_progress: HashMap<StallKey, Phase>,
    ended: u64,
    waits: u64,
    hooks: u64,
}

impl ReceiverModel {
    fn receive(&mut self, message: Message) {
        match message {
            Message::Stall(stall) if stall.phase == Phase::Ended => {
                self.in_progress.remove(&stall.key);
                self.ended += 1;
            }
            Message::Stall(stall) => drop(self.in_progress.insert(stall.key, stall.phase)),
            Message::Progress { key, .. } => {
                assert!(self.in_progress.contains_key(&key), "progress of an unknown stall");
            }
            Message::NoStall(key) => {
                assert!(self.in_progress.remove(&key).is_some(), "an unknown stall is retracted");
            }
            Message::Wait(_) => self.waits += 1,
            Message::Replaced(_) | Message::SignalTaken { .. } => self.hooks += 1,
        }
    }
}

proptest! {
    #[test]
    fn every_end_arrives_whatever_else_is_sent(actions in vec(action(), 1..120)) {
        let (outbox, self_metrics) = (Outbox::default(), SelfMetrics::default());
        let mut model = ReceiverModel::default();
        let mut present: [Option<StallKey>; WORKERS] = Default::default();
        let (mut seq, mut ended, mut waits, mut hooks) = (1, 0, 0, 0);
        for action in actions {
            match action {
                Action::Stall(worker) => {
                    let phase = if present[worker].is_some() { Phase::Lasts } else { Phase::Began };
                    let key = *present[worker].get_or_insert((worker, seq));
                    seq += 2;
                    outbox.send(stall(phase, key), &self_metrics);
                }
                Action::Progress(worker) => {
                    if let Some(key) = present[worker] {
                        outbox.send(progress(key), &self_metrics);
                    }
                }
                Action::End(worker) => {
                    if let Some(key) = present[worker].take() {
                        ended += 1;
                        outbox.send(stall(Phase::Ended, key), &self_metrics);
                    }
                }
                Action::Retract(worker) => {
                    if let Some(key) = present[worker].take() {
                        outbox.send(Message::NoStall(key), &self_metrics);
                    }
                }
                Action::Waits(n) => {
                    waits += n;
                    (0..n).for_each(|task| outbox.send(wait(task), &self_metrics));
                }
                Action::Hook => {
                    hooks += 1;
                    outbox.send(Message::Replaced(Hook::ThreadPark), &self_metrics);
                }
                Action::Receive(n) => {
                    std::iter::from_fn(|| outbox.try_receive()).take(n).for_each(|m| model.receive(m));
                }
            }
        }
        std::iter::from_fn(|| outbox.try_receive()).for_each(|message| model.receive(message));
        prop_assert_eq!(model.ended, ended);
        prop_assert_eq!(model.hooks, hooks);
        prop_assert_eq!(model.waits + dropped(&self_metrics), waits);
        let mut in_progress: Vec<_> = model.in_progress.into_keys().collect();
        in_progress.sort_unstable();
        prop_assert_eq!(in_progress, present.into_iter().flatten().collect::<Vec<_>>());
    }
}

#[test]
fn a_flush_waits_for_two_passes_and_for_all_messages_of_them() {
    let (outbox, self_metrics) = (Arc::new(Outbox::default()), SelfMetrics::default());
    let flush = || {
        let outbox = Arc::clone(&outbox);
        let (woken, is_woken) = std::sync::mpsc::channel();
        let flush = thread::spawn(move || outbox.flush(FOREVER, || woken.send(()).unwrap()));
        is_woken.recv().unwrap();
        flush
    };
    let flushed = flush();
    for n in 0..2 {
        assert!(outbox.is_pass_requested(), "pass {n}");
        outbox.begin_pass();
        outbox.send(stall(Phase::Ended, (0, 2 * n + 1)), &self_metrics);
        outbox.end_pass(true);
    }
    assert!(!outbox.is_pass_requested());
    assert!(receive(&outbox).is_some());
    assert!(receive(&outbox).is_some());
    assert!(!flushed.is_finished(), "the second message is not handled yet");
    outbox.close();
    assert!(receive(&outbox).is_none());
    assert!(flushed.join().is_ok());
}

#[test]
fn a_pass_that_is_not_settled_does_not_count_for_a_flush() {
    let outbox = Arc::new(Outbox::default());
    let (woken, is_woken) = std::sync::mpsc::channel();
    let its_outbox = Arc::clone(&outbox);
    let flush = thread::spawn(move || its_outbox.flush(FOREVER, || woken.send(()).unwrap()));
    is_woken.recv().unwrap();
    for is_settled in [false, false, true, false, true] {
        assert!(outbox.is_pass_requested());
        assert_eq!(outbox.begin_pass(), 1);
        outbox.end_pass(is_settled);
    }
    assert!(!outbox.is_pass_requested());
    assert!(flush.join().unwrap());
}

#[test]
fn a_flush_ends_once_everything_is_handled() {
    let (outbox, self_metrics) = (Arc::new(Outbox::default()), SelfMetrics::default());
    let receiver = {
        let outbox = Arc::clone(&outbox);
        thread::spawn(move || std::iter::from_fn(|| receive(&outbox)).count())
    };
    let is_flushed = Arc::new(AtomicBool::new(false));
    let watchdog = {
        let (outbox, is_flushed) = (Arc::clone(&outbox), Arc::clone(&is_flushed));
        thread::spawn(move || {
            let mut passes = 0;
            while !is_flushed.load(Relaxed) {
                outbox.begin_pass();
                outbox.send(stall(Phase::Ended, (0, passes)), &self_metrics);
                outbox.end_pass(true);
                passes += 1;
                thread::sleep(Duration::from_millis(1));
            }
            passes as usize
        })
    };
    let is_done = outbox.flush(FOREVER, || ());
    is_flushed.store(true, Relaxed);
    let passes = watchdog.join().unwrap();
    assert!(is_done && passes >= 2, "{passes} passes");
    outbox.close();
    assert_eq!(receiver.join().unwrap(), passes);
    assert_eq!(outbox.pending(), 0);
}

#[test]
fn a_flush_gives_up_at_its_timeout() {
    let outbox = Outbox::default();
    assert!(!outbox.flush(Duration::from_millis(20), || ()), "there is no watchdog");
    outbox.begin_pass();
    outbox.end_pass(true);
    assert!(!outbox.flush(Duration::ZERO, || ()));
    outbox.close();
    assert!(!outbox.flush(Duration::MAX, || ()), "the watchdog has ended");
}

#[test]
fn the_queue_is_closed_if_the_watchdog_does_not_start_or_panics() {
    let watchdogs: [fn(SendingEnd); 2] = [drop, |_end| panic!("a panic of the watchdog")];
    for watchdog in watchdogs {
        let outbox = Arc::<Outbox>::default();
        let end = SendingEnd(Arc::clone(&outbox));
        let thread = thread::spawn(move || watchdog(end));
        assert!(!outbox.flush(Duration::MAX, || ()), "nothing handles the messages");
        assert!(receive(&outbox).is_none());
        let _ = thread.join();
    }
}
