use std::{
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::*;
use crate::{
    os,
    record::{KindId, worker::Label},
    watchdog::probe::Probe,
};

const TICK: Duration = Duration::from_micros(2_500);

/// A thread that hangs in a poll until it is let go.
struct Hung {
    worker: Arc<Worker>,
    let_go: Sender<()>,
    thread: JoinHandle<()>,
}

impl Hung {
    fn new(recorder: &Recorder) -> Self {
        let worker = Arc::new(Worker::new(Label { runtime: String::new(), worker: "0".to_owned() }));
        let (let_go, wait) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let (its, now) = (Arc::clone(&worker), recorder.clock.ticks());
        let thread = thread::spawn(move || {
            its.set_thread(os::current_thread());
            its.slot.begin(now, 7, KindId::OTHER);
            tell.send(()).unwrap();
            let _ = wait.recv();
        });
        told.recv().unwrap();
        Self { worker, let_go, thread }
    }

    /// Returns once it waits: on its way there, or back from a signal, mocked
    /// time would seem to be a wait for a CPU.
    fn until_it_waits(&self, clock: &crate::record::clock::Clock) {
        let probe = Probe::new(self.worker.thread().unwrap().tid);
        while probe.sample(clock).unwrap().state != b'S' {
            thread::yield_now();
        }
    }
}

#[test]
fn a_hang_is_told_again_after_a_second_a_minute_ten_and_an_hour() {
    let mut recorder = Recorder::new(Duration::from_millis(10));
    let (clock, time) = crate::record::clock::Clock::mock();
    recorder.clock = clock;
    let (outbox, messages) = Outbox::new();
    let hung = Hung::new(&recorder);
    let mut watch = Watch::new(0, Arc::clone(&hung.worker));
    let (meter, mut unwinder) = (Meter::default(), Unwinder::new());
    let mut captures = Budget::new(100, 10.0, Instant::now());
    let standstill = Standstill::new(0, 0, &recorder.clock);
    let mut pass = |time_passes: Duration| {
        hung.until_it_waits(&recorder.clock);
        time.increment(time_passes);
        watch.look(&mut Context {
            recorder: &recorder,
            meter: &meter,
            unwinder: &mut unwinder,
            captures: &mut captures,
            outbox: &outbox,
            signals: Signals::Safe,
            standstill: &standstill,
        });
        phases(&messages)
    };
    // Up to the threshold.
    let mut told = Vec::new();
    while told.is_empty() {
        told = pass(TICK);
        thread::yield_now();
    }
    assert_eq!(told, [Phase::Began]);
    assert_eq!(pass(TICK), []);
    for seconds in [1, 60, 600, 3600] {
        assert_eq!(pass(Duration::from_secs(seconds)), [Phase::Lasts], "after {seconds} s");
        assert_eq!(pass(Duration::from_millis(500)), []);
    }
    assert_eq!(pass(Duration::from_secs(7200)), [], "enough is enough");
    hung.let_go.send(()).unwrap();
    hung.thread.join().unwrap();
}

fn phases(messages: &Receiver<Message>) -> Vec<Phase> {
    let phase = |message| match message {
        Message::Stall(stall) => Some(stall.phase),
        _ => None,
    };
    messages.try_iter().filter_map(phase).collect()
}
