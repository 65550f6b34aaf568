use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;
use crate::evidence::{LockHolders, TimeSplit};
use crate::os;
use crate::outbox::Outbox;
use crate::process::Process;
use crate::record::kinds::KindId;
use crate::record::recorder::Recorder;
use crate::record::runtimes::WorkerLabel;
use crate::self_metrics::SelfMetrics;
use crate::settings::Signals;
use crate::token_bucket::TokenBucket;
use crate::watchdog::inspector::Unwinder;
use crate::watchdog::procfs::ProcReader;
use crate::watchdog::sample::{ThreadActivity, ThreadTimes};
use crate::watchdog::worker_monitor::tracked_poll::{count_wakes, has_just_woken};

const TICK: Duration = Duration::from_micros(2_500);

/// A thread that hangs in a poll until it is released.
struct HungThread {
    worker: Arc<Worker>,
    release: Sender<()>,
    thread: JoinHandle<()>,
}

impl HungThread {
    fn new(recorder: &Recorder) -> Self {
        let label = WorkerLabel { runtime: String::new(), worker: "0".to_owned() };
        let worker = Arc::new(Worker::new(0, label, None, 0));
        let (release, released) = mpsc::channel();
        let (its_worker, now) = (Arc::clone(&worker), recorder.clock.ticks());
        let thread = thread::spawn(move || {
            its_worker.set_thread(os::current_thread());
            its_worker.slot.set_awake();
            its_worker.slot.begin(now, 7, KindId::OTHER);
            let _ = released.recv();
        });
        let hung = Self { worker, release, thread };
        hung.wait_until_hung(&recorder.clock);
        hung
    }

    /// Waits until the thread is in the call that it hangs in. On its way there
    /// it may wait for a lock of the C library, which are other futex calls.
    fn wait_until_hung(&self, clock: &crate::record::clock::Clock) {
        let is_hung = |sample: ThreadSample| match sample.activity {
            ThreadActivity::InSyscall(call) => {
                let hang = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
                call.number == libc::SYS_futex && call.arguments[1] == hang as u64
            }
            // The kernel does not show the call.
            activity => activity == ThreadActivity::Unknown && sample.state == b'S',
        };
        while self.worker.active().is_none() || !self.sample(clock).is_some_and(is_hung) {
            thread::yield_now();
        }
    }

    fn sample(&self, clock: &crate::record::clock::Clock) -> Option<ThreadSample> {
        ProcReader::new(Process::Own, self.worker.thread()?.tid).sample(clock)
    }

    /// Waits until the thread waits. While the thread runs, for example to
    /// handle a signal, mocked time would count as a wait for a CPU.
    fn wait_until_blocked(&self, clock: &crate::record::clock::Clock) {
        while self.sample(clock).unwrap().state != b'S' {
            thread::yield_now();
        }
    }
}

/// A monitor of one hung thread. Only [`Self::pass`] advances the mocked time.
struct HangFixture {
    recorder: Recorder,
    time: Arc<quanta::Mock>,
    hung: HungThread,
    monitor: WorkerMonitor,
    self_metrics: SelfMetrics,
    unwinder: Unwinder,
    capture_budget: TokenBucket,
    process_clock: ProcessClock,
    outbox: Outbox,
}

impl HangFixture {
    fn new() -> Self {
        let mut recorder = Recorder::new(Duration::from_millis(10));
        let (clock, time) = crate::record::clock::Clock::mock();
        recorder.clock = clock;
        let hung = HungThread::new(&recorder);
        Self {
            monitor: WorkerMonitor::new(0, Arc::clone(&hung.worker), recorder.threshold_nanos),
            // With this tick, mocked time is never a pause of the process.
            process_clock: ProcessClock::new(recorder.clock.clone(), 0, u64::MAX / 2),
            self_metrics: SelfMetrics::default(),
            unwinder: Unwinder::new(Process::Own),
            capture_budget: TokenBucket::new(100, 10.0, Instant::now()),
            recorder,
            time,
            hung,
            outbox: Outbox::default(),
        }
    }

    fn with_context(&mut self, f: impl FnOnce(&mut WorkerMonitor, &mut MonitorContext<'_>)) {
        let mut context = MonitorContext {
            recorder: &self.recorder,
            self_metrics: &self.self_metrics,
            unwinder: &mut self.unwinder,
            capture_budget: &mut self.capture_budget,
            outbox: &self.outbox,
            // A thread that loses its CPU while it answers a signal seems to
            // have made another call.
            signals: Signals::Never,
            process_clock: &mut self.process_clock,
            pass: 0,
            workers: 1,
            position: 0,
        };
        f(&mut self.monitor, &mut context);
    }

    /// Advances the mocked time by `elapsed`, then makes one pass. Returns the
    /// reports.
    fn pass(&mut self, elapsed: Duration) -> Vec<StallEvidence> {
        self.hung.wait_until_blocked(&self.recorder.clock);
        self.time.increment(elapsed);
        self.with_context(WorkerMonitor::sample);
        let stall = |message| match message {
            Message::Stall(stall) => Some(stall),
            _ => None,
        };
        std::iter::from_fn(|| self.outbox.try_receive()).filter_map(stall).collect()
    }

    /// Samples the tracked poll's thread, as a pass does after it has read the
    /// slot.
    fn sample_tracked_poll(&mut self) {
        self.with_context(WorkerMonitor::sample_tracked_poll);
    }

    /// Ends the poll that the monitor tracks, `elapsed` after its last sample.
    /// Returns the reports.
    fn end_unseen(&mut self, elapsed: Duration) -> Vec<StallEvidence> {
        self.time.increment(elapsed);
        self.process_clock.measure_sleep(elapsed);
        let ActivePoll { seq, start, is_untimed, task, kind, .. } = self.hung.worker.slot.end();
        let end = self.recorder.clock.ticks();
        self.hung.worker.events.push(LongEvent::Poll { seq, start, is_untimed, end, task, kind });
        self.pass(TICK)
    }

    fn phases(&mut self, elapsed: Duration) -> Vec<Phase> {
        self.pass(elapsed).iter().map(|stall| stall.phase).collect()
    }

    /// Makes passes, one tick apart, until the stall is reported.
    fn pass_until_reported(&mut self) -> Vec<StallEvidence> {
        loop {
            let reports = self.pass(TICK);
            if !reports.is_empty() {
                return reports;
            }
            thread::yield_now();
        }
    }

    /// Makes a pass after `elapsed`. Returns whether the worker's poll is
    /// unsettled.
    fn is_unsettled_after(&mut self, elapsed: Duration) -> bool {
        self.time.increment(elapsed);
        self.with_context(WorkerMonitor::sample);
        self.monitor.is_unsettled(Ticks::MAX, &self.process_clock)
    }

    fn end(self) {
        self.hung.release.send(()).unwrap();
        self.hung.thread.join().unwrap();
    }
}

#[test]
fn a_hang_is_reported_again_after_a_second_a_minute_ten_minutes_and_an_hour() {
    let mut fixture = HangFixture::new();
    let phases: Vec<_> = fixture.pass_until_reported().iter().map(|stall| stall.phase).collect();
    assert_eq!(phases, [Phase::Began]);
    assert_eq!(fixture.phases(TICK), []);
    for seconds in [1, 60, 600, 3600] {
        assert_eq!(fixture.phases(Duration::from_secs(seconds)), [Phase::Lasts], "after {seconds} s");
        assert_eq!(fixture.phases(Duration::from_millis(500)), []);
    }
    assert_eq!(fixture.phases(Duration::from_secs(7200)), [], "no report after an hour");
    fixture.end();
}

/// No end event follows a poll shorter than the threshold, so nothing would end
/// its stall.
#[test]
fn a_poll_that_ends_before_its_sample_starts_no_stall() {
    let mut fixture = HangFixture::new();
    fixture.capture_budget = TokenBucket::new(0, 0.0, Instant::now());
    assert!(fixture.pass(Duration::from_millis(1)).is_empty());
    fixture.hung.worker.slot.end();
    // The watchdog waits for a CPU between reading the slot and sampling.
    fixture.hung.wait_until_blocked(&fixture.recorder.clock);
    fixture.time.increment(Duration::from_secs(60));
    fixture.sample_tracked_poll();
    assert!(fixture.outbox.try_receive().is_none());
    fixture.end();
}

/// On a busy machine there may be no second sample before the poll ends.
#[test]
fn a_stall_that_the_first_sample_proves_is_captured_at_once() {
    let mut scene = HangFixture::new();
    // The thread may have waited for a CPU in real time. This wait is
    // subtracted from the mocked time, so the mocked time must be much longer.
    let reports = scene.pass(Duration::from_secs(60));
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].captures.len(), 1);
    assert!(reports[0].times.off_cpu > 0, "{:?}", reports[0].times);
    scene.end();
}

/// The host of a virtual machine may take a CPU away from any thread, and the
/// thread's times do not show it. Those of the watchdog do.
#[test]
fn a_poll_that_no_capture_shows_is_no_stall_if_the_watchdog_was_late_for_no_known_reason() {
    const DELAY: Duration = Duration::from_secs(60);
    for is_disturbed in [false, true] {
        let mut fixture = HangFixture::new();
        if is_disturbed {
            let tid = os::current_thread().map_or(0, |thread| thread.tid);
            // With this tick, the delay is no pause of the process.
            let tick = DELAY.as_nanos() as u64 * 2;
            fixture.process_clock = ProcessClock::new(fixture.recorder.clock.clone(), tid, tick);
            fixture.time.increment(DELAY);
            fixture.process_clock.measure_sleep(Duration::ZERO);
        }
        assert!(fixture.pass(Duration::from_millis(1)).is_empty(), "{is_disturbed}");
        let reports = fixture.end_unseen(DELAY);
        assert_eq!(reports.len(), usize::from(!is_disturbed), "{is_disturbed}: {reports:?}");
        assert_eq!(fixture.self_metrics.starved_polls(), u64::from(is_disturbed));
        fixture.end();
    }
}

/// The first pass may come after the hook and before the named future is
/// polled.
#[test]
fn a_name_that_is_given_after_the_first_pass_counts() {
    let mut fixture = HangFixture::new();
    fixture.pass(TICK);
    fixture.hung.worker.slot.set_named_kind(KindId::from_u32(5));
    assert_eq!(fixture.pass_until_reported()[0].kind, KindId::from_u32(5));
    // The thread may have waited for a CPU in real time. This wait is
    // subtracted from the mocked time, so the mocked time must be much longer.
    assert_eq!(fixture.pass(Duration::from_secs(60))[0].kind, KindId::from_u32(5));
    fixture.hung.worker.slot.end();
    let ActivePoll { seq, start, is_untimed, task, .. } = fixture.monitor.tracked.as_ref().unwrap().poll;
    let (end, kind) = (fixture.recorder.clock.ticks(), KindId::from_u32(6));
    fixture.hung.worker.events.push(LongEvent::Poll { seq, start, is_untimed, end, task, kind });
    let ended = fixture.pass(TICK);
    assert_eq!((ended[0].phase, ended[0].kind), (Phase::Ended, kind));
    fixture.end();
}

/// The poll ends before the pass that would report the holder, and its end
/// event is lost.
#[test]
fn a_stall_whose_holder_was_found_is_reported_again_and_ends_without_an_event() {
    let mut fixture = HangFixture::new();
    let holders = LockHolders { workers: vec![3], has_read_all: true, ..LockHolders::default() };
    fixture.pass_until_reported();
    fixture.monitor.set_holders(64, &holders);
    assert_eq!(fixture.phases(TICK), [Phase::Began]);
    assert_eq!(fixture.phases(TICK), []);
    fixture.monitor.set_holders(64, &holders);
    fixture.hung.worker.slot.end();
    assert_eq!(fixture.phases(TICK), [], "the end event may follow");
    fixture.hung.worker.slot.begin(fixture.recorder.clock.ticks(), 8, KindId::OTHER);
    assert_eq!(fixture.phases(TICK), []);
    fixture.hung.worker.slot.end();
    assert_eq!(fixture.phases(TICK), [Phase::Ended]);
    fixture.end();
}

#[test]
fn a_long_poll_that_is_over_is_unsettled_until_its_event_arrives() {
    let mut fixture = HangFixture::new();
    assert!(!fixture.is_unsettled_after(Duration::from_millis(1)), "it is short");
    let poll = fixture.hung.worker.slot.end();
    assert!(fixture.is_unsettled_after(Duration::from_millis(20)));
    assert!(!fixture.monitor.is_unsettled(poll.start, &fixture.process_clock), "it began after the flush");
    assert!(fixture.is_unsettled_after(TICK));
    let (end, ActivePoll { seq, start, is_untimed, task, kind, .. }) = (fixture.recorder.clock.ticks(), poll);
    fixture.hung.worker.events.push(LongEvent::Poll { seq, start, is_untimed, end, task, kind });
    assert!(!fixture.is_unsettled_after(TICK));
    assert!(!fixture.is_unsettled_after(Duration::from_secs(1)));
    fixture.end();
}

#[test]
fn a_poll_that_may_have_been_short_is_unsettled_for_a_limited_time() {
    let mut fixture = HangFixture::new();
    fixture.hung.worker.slot.end();
    assert!(fixture.is_unsettled_after(Duration::from_millis(20)));
    assert!(fixture.is_unsettled_after(Duration::from_millis(190)));
    assert!(!fixture.is_unsettled_after(Duration::from_millis(10)));
    fixture.end();
}

#[test]
fn no_event_of_a_parked_thread_is_on_its_way() {
    let mut fixture = HangFixture::new();
    fixture.hung.worker.slot.end();
    assert!(fixture.is_unsettled_after(Duration::from_millis(20)));
    fixture.hung.worker.slot.set_idle();
    assert!(!fixture.is_unsettled_after(TICK));
    fixture.end();
}

#[test]
fn a_long_poll_in_progress_is_unsettled_until_it_is_reported() {
    let mut fixture = HangFixture::new();
    let thread = fixture.hung.worker.thread();
    // Nothing can sample the poll.
    fixture.hung.worker.set_thread(None);
    assert!(!fixture.is_unsettled_after(TICK));
    assert!(fixture.is_unsettled_after(Duration::from_millis(20)));
    fixture.hung.worker.set_thread(thread);
    fixture.pass_until_reported();
    assert!(!fixture.is_unsettled_after(TICK));
    fixture.end();
}

#[test]
fn a_thread_that_runs_after_a_long_wait_has_just_woken() {
    let sample =
        |(state, activity)| ThreadSample { times: ThreadTimes::default(), is_on_cpu: false, state, activity };
    let times = |on_cpu, off_cpu| TimeSplit { on_cpu, run_queue: 100, off_cpu, unknown: 100 };
    let [running, runs_in_unknown_call, unknown] =
        [(b'R', ThreadActivity::Running), (b'R', ThreadActivity::Unknown), (b'?', ThreadActivity::Unknown)]
            .map(sample);
    assert!(has_just_woken(&running, times(1, 9)));
    assert!(!has_just_woken(&running, times(3, 9)));
    assert!(has_just_woken(&runs_in_unknown_call, times(1, 9)));
    assert!(!has_just_woken(&unknown, times(1, 9)));
    assert!(!has_just_woken(&running, times(10, 0)));
}

#[test]
fn a_thread_that_waits_for_a_cpu_after_a_wake_counts_as_woken_once() {
    let sample = |cpu_nanos, slices, activity| ThreadSample {
        times: ThreadTimes { cpu_nanos, slices, ..ThreadTimes::default() },
        is_on_cpu: false,
        state: b'R',
        activity,
    };
    let running = |cpu_nanos, slices| sample(cpu_nanos, slices, ThreadActivity::Running);
    let times = TimeSplit { on_cpu: 1, run_queue: 100, off_cpu: 9, unknown: 0 };
    let waiting = running(70, 3);
    let wakes = (0..20).fold(0, |wakes, _| count_wakes(wakes, &waiting, Some(&waiting), times));
    assert_eq!(wakes, 1);
    assert_eq!(count_wakes(1, &running(71, 3), Some(&waiting), times), 2, "it has run since");
    assert_eq!(count_wakes(1, &running(70, 4), Some(&waiting), times), 2, "it has had a CPU since");
    assert_eq!(count_wakes(5, &waiting, None, times), 6, "there is no earlier sample of this thread");
    let unknown = ThreadSample { state: b'?', ..sample(70, 3, ThreadActivity::Unknown) };
    assert_eq!(count_wakes(5, &unknown, Some(&waiting), times), 0);
}

#[test]
fn the_watchdog_comes_early_only_for_the_first_capture_and_a_few_times() {
    const THRESHOLD_NANOS: u64 = 10_000_000;
    let poll = ActivePoll { seq: 1, ..ActivePoll::default() };
    let splitter = TimeSplitter::new(ThreadTimes::default(), 0);
    let mut tracked = TrackedPoll::new(poll, splitter, 0, THRESHOLD_NANOS);
    let sample = ThreadSample {
        times: ThreadTimes::default(),
        is_on_cpu: true,
        state: b'R',
        activity: ThreadActivity::Running,
    };
    let mut early = |on_cpu, is_deferred| {
        tracked.plan_pass(&sample, TimeSplit { on_cpu, ..TimeSplit::default() }, is_deferred);
        tracked.nanos_to_capture
    };
    assert_eq!(early(7_500_000, false), None, "the next regular pass is in time");
    assert_eq!(early(9_900_000, false), Some(100_000));
    assert_eq!(early(10_100_000, false), None, "it is due");
    assert_eq!(early(10_100_000, true), Some(0), "as soon as possible");
    assert_eq!(early(9_900_000, false), Some(100_000));
    assert_eq!(early(9_900_000, false), None, "the thread has no CPU");
    tracked.early_passes = 0;
    tracked.captures.push(Capture::without_stack(1, true, None));
    tracked.plan_pass(&sample, TimeSplit { on_cpu: 9_900_000, ..TimeSplit::default() }, false);
    assert_eq!(tracked.nanos_to_capture, None, "it has a capture");
}
