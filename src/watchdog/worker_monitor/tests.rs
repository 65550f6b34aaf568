use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;
use crate::os;
use crate::record::kinds::KindId;
use crate::record::runtimes::WorkerLabel;
use crate::watchdog::procfs::ProcReader;

const TICK: Duration = Duration::from_micros(2_500);

/// A thread that hangs in a poll until it is let go.
struct Hung {
    worker: Arc<Worker>,
    let_go: Sender<()>,
    thread: JoinHandle<()>,
}

impl Hung {
    fn new(recorder: &Recorder) -> Self {
        let worker = Arc::new(Worker::new(WorkerLabel { runtime: String::new(), worker: "0".to_owned() }));
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
        let probe = ProcReader::new(self.worker.thread().unwrap().tid);
        while probe.sample(clock).unwrap().state != b'S' {
            thread::yield_now();
        }
    }
}

/// A watch over one hung thread, in time that stands still between passes.
struct Scene {
    recorder: Recorder,
    time: Arc<quanta::Mock>,
    hung: Hung,
    monitor: WorkerMonitor,
    self_metrics: SelfMetrics,
    unwinder: Unwinder,
    captures: TokenBucket,
    pauses: ProcessPauses,
    outbox: Outbox,
    messages: Receiver<Message>,
}

impl Scene {
    fn new() -> Self {
        let mut recorder = Recorder::new(Duration::from_millis(10));
        let (clock, time) = crate::record::clock::Clock::mock();
        recorder.clock = clock;
        let (outbox, messages) = Outbox::new();
        let hung = Hung::new(&recorder);
        Self {
            monitor: WorkerMonitor::new(0, Arc::clone(&hung.worker)),
            // Made-up time is none that was lost to everybody.
            pauses: ProcessPauses::new(0, u64::MAX / 2, &recorder.clock),
            self_metrics: SelfMetrics::default(),
            unwinder: Unwinder::new(),
            captures: TokenBucket::new(100, 10.0, Instant::now()),
            recorder,
            time,
            hung,
            outbox,
            messages,
        }
    }

    /// What is told at the look after so long.
    fn pass(&mut self, time_passes: Duration) -> Vec<StallEvidence> {
        self.hung.until_it_waits(&self.recorder.clock);
        self.time.increment(time_passes);
        self.monitor.look(&mut MonitorContext {
            recorder: &self.recorder,
            self_metrics: &self.self_metrics,
            unwinder: &mut self.unwinder,
            captures: &mut self.captures,
            outbox: &self.outbox,
            signals: Signals::Safe,
            pauses: &mut self.pauses,
        });
        let stall = |message| match message {
            Message::Stall(stall) => Some(stall),
            _ => None,
        };
        self.messages.try_iter().filter_map(stall).collect()
    }

    fn phases(&mut self, time_passes: Duration) -> Vec<Phase> {
        self.pass(time_passes).iter().map(|stall| stall.phase).collect()
    }

    /// Looks until the stall is told of, past the threshold.
    fn until_told(&mut self) -> Vec<StallEvidence> {
        loop {
            let told = self.pass(TICK);
            if !told.is_empty() {
                return told;
            }
            thread::yield_now();
        }
    }

    fn end(self) {
        self.hung.let_go.send(()).unwrap();
        self.hung.thread.join().unwrap();
    }
}

#[test]
fn a_hang_is_told_again_after_a_second_a_minute_ten_and_an_hour() {
    let mut scene = Scene::new();
    let told: Vec<_> = scene.until_told().iter().map(|stall| stall.phase).collect();
    assert_eq!(told, [Phase::Began]);
    assert_eq!(scene.phases(TICK), []);
    for seconds in [1, 60, 600, 3600] {
        assert_eq!(scene.phases(Duration::from_secs(seconds)), [Phase::Lasts], "after {seconds} s");
        assert_eq!(scene.phases(Duration::from_millis(500)), []);
    }
    assert_eq!(scene.phases(Duration::from_secs(7200)), [], "enough is enough");
    scene.end();
}

/// The first look may come between the hook and the future that has the name.
#[test]
fn a_name_that_is_given_after_the_first_look_counts() {
    let mut scene = Scene::new();
    scene.pass(TICK);
    scene.hung.worker.slot.set_named_kind(KindId::from_u32(5));
    assert_eq!(scene.until_told()[0].kind, KindId::from_u32(5));
    // More than the thread may really have waited for a CPU, which is the machine's.
    assert_eq!(scene.pass(Duration::from_secs(60))[0].kind, KindId::from_u32(5));
    scene.hung.worker.slot.end();
    let ActivePoll { seq, start, task, .. } = scene.monitor.tracked.as_ref().unwrap().poll;
    let (end, kind) = (scene.recorder.clock.ticks(), KindId::from_u32(6));
    scene.hung.worker.events.push(LongEvent::Poll { seq, start, end, task, kind });
    let ended = scene.pass(TICK);
    assert_eq!((ended[0].phase, ended[0].kind), (Phase::Ended, kind));
    scene.end();
}

#[test]
fn who_runs_after_a_long_wait_has_just_woken() {
    let sample =
        |activity| ThreadSample { at: 0, cpu_nanos: 0, run_queue_nanos: 0, slices: 0, state: b'R', activity };
    let times = |on_cpu, off_cpu| TimeSplit { on_cpu, run_queue: 100, off_cpu };
    let [runs, unknown] = [ThreadActivity::Running, ThreadActivity::Unknown].map(sample);
    assert!(has_just_woken(&runs, times(1, 9)));
    assert!(!has_just_woken(&runs, times(3, 9)));
    assert!(!has_just_woken(&unknown, times(1, 9)));
    assert!(!has_just_woken(&runs, times(10, 0)));
}
