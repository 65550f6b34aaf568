use super::*;
use crate::watchdog::sample::{InSyscall, ThreadActivity};

const MS: u64 = 1_000_000;

/// What a sample of a thread shows, in milliseconds. The letters are those
/// of proc(5), except that `C` is a thread on a CPU, and `R` is one that is
/// runnable and not on a CPU.
#[derive(Clone, Copy)]
struct At {
    age: u64,
    cpu: u64,
    queue: u64,
    slices: u64,
    state: u8,
}

fn at(age: u64, cpu: u64, queue: u64, state: u8) -> At {
    // Each sample is in a slice of its own.
    At { age, cpu, queue, slices: 100 + age, state }
}

fn in_slice(slices: u64, age: u64, cpu: u64, queue: u64, state: u8) -> At {
    At { slices, ..at(age, cpu, queue, state) }
}

fn times(at: At) -> ThreadTimes {
    let At { cpu, queue, slices, .. } = at;
    ThreadTimes { at: 0, cpu_nanos: cpu * MS, run_queue_nanos: Some(queue * MS), slices }
}

fn sample(at: At) -> ThreadSample {
    let waiting = ThreadActivity::InSyscall(InSyscall { number: 230, arguments: [0; 6], sp: 0, pc: 0 });
    let is_runnable = matches!(at.state, b'C' | b'R');
    ThreadSample {
        times: times(at),
        is_on_cpu: at.state == b'C',
        state: if is_runnable { b'R' } else { at.state },
        activity: if is_runnable { ThreadActivity::Running } else { waiting },
    }
}

/// Adds samples to a poll that began `gap` after a reading of zeros.
fn splitter(gap: u64, samples: &[At]) -> TimeSplitter {
    let mut splitter = TimeSplitter::new(ThreadTimes::default(), gap * MS);
    for now in samples {
        splitter.add(sample(*now), now.age * MS, 0);
    }
    splitter
}

fn in_ms(split: TimeSplit) -> [u64; 4] {
    let TimeSplit { on_cpu, run_queue, off_cpu, unknown } = split;
    [on_cpu, run_queue, off_cpu, unknown].map(|nanos| (nanos + MS / 2) / MS)
}

/// Returns on-CPU, run queue, off-CPU and unknown time at the last sample.
fn split(gap: u64, samples: &[At]) -> [u64; 4] {
    in_ms(splitter(gap, samples).split(samples.last().unwrap().age * MS))
}

/// Returns the split of a poll that ended at `age`. Its thread was read
/// `late` after that, with these CPU times.
fn split_at_end(gap: u64, samples: &[At], age: u64, after: At, late: u64) -> [u64; 4] {
    in_ms(splitter(gap, samples).split_at_end(age * MS, Some(times(after)), late * MS, 0))
}

#[test]
fn a_sleeper_is_off_cpu() {
    assert_eq!(split(0, &[at(5, 0, 0, b'S'), at(100, 1, 0, b'S')]), [1, 0, 99, 0]);
    assert_eq!(split(0, &[at(5, 0, 0, b'S'), at(100, 1, 20, b'S')]), [1, 20, 79, 0]);
}

#[test]
fn a_spinner_is_on_cpu() {
    assert_eq!(split(0, &[at(5, 5, 0, b'C'), at(50, 50, 0, b'C'), at(100, 99, 1, b'C')]), [99, 1, 0, 0]);
}

/// On a busy machine the watchdog may take the CPU of the thread that it
/// samples, each time.
#[test]
fn a_computation_is_own_time_although_every_sample_finds_it_waiting_for_a_cpu() {
    const UNKNOWN_GAP: u64 = u64::MAX / MS;
    let samples = [at(157, 4, 193, b'R'), at(450, 25, 424, b'R'), at(950, 79, 800, b'R')];
    assert_eq!(split(UNKNOWN_GAP, &samples)[0], 75);
    assert_eq!(split_at_end(UNKNOWN_GAP, &samples, 960, at(0, 85, 940, b'C'), 4)[0], 77);
    assert_eq!(split(1, &samples)[0], 78, "the thread may have run in the gap");
}

#[test]
fn a_pause_of_the_process_has_no_time_in_which_the_thread_ran() {
    let computing = splitter(1, &[at(10, 11, 0, b'R')]);
    let now = times(at(0, 91, 0, b'R'));
    assert_eq!(computing.age(&now, 100 * MS, 90 * MS, 0), 90 * MS);
    assert_eq!(computing.age(&now, 100 * MS, 90 * MS, 30 * MS), 60 * MS, "it may have run after the poll");
    assert_eq!(computing.age(&now, 100 * MS, 5 * MS, 0), 95 * MS);
    assert_eq!(computing.age(&now, 80 * MS, 0, 0), 80 * MS);
    let slept = splitter(0, &[at(40, 0, 0, b'S')]);
    assert_eq!(slept.age(&times(at(0, 0, 0, b'S')), 100 * MS, 90 * MS, 0), 40 * MS, "it was seen asleep");
}

#[test]
fn a_wait_for_a_cpu_counts_once_and_before_the_kernel_adds_it() {
    let waiting = |age| in_slice(7, age, 0, 0, b'R');
    let samples = [waiting(5), waiting(30), waiting(60)];
    assert_eq!(split(0, &samples), [0, 55, 0, 5], "before the first sample, nothing is known");
    let [first, second, third] = samples;
    let credited = [first, second, third, at(70, 5, 65, b'C')];
    assert_eq!(split(0, &credited), [5, 65, 0, 0]);
}

#[test]
fn a_throttled_poll_that_is_first_sampled_late_has_no_more_than_its_cpu_time() {
    // The poll of 3 ms was throttled for 70 ms, the watchdog too.
    assert_eq!(split(1, &[at(73, 4, 70, b'C')]), [3, 70, 0, 0]);
    assert_eq!(split(1, &[at(73, 3, 0, b'R')]), [2, 0, 0, 71], "it still waits for a CPU");
    assert_eq!(split(1, &[at(73, 3, 0, b'S')]), [3, 0, 70, 0], "it slept all the time");
}

#[test]
fn a_poll_that_no_sample_saw_has_what_the_cpu_times_leave_over() {
    assert_eq!(split_at_end(2, &[], 73, at(0, 4, 70, b'C'), 1), [3, 70, 0, 0], "throttled");
    assert_eq!(split_at_end(2, &[], 12, at(0, 13, 0, b'C'), 1), [12, 0, 0, 0], "a computation");
    assert_eq!(split_at_end(2, &[], 12, at(0, 2, 0, b'C'), 1), [2, 0, 10, 0], "a sleep");
    assert_eq!(
        split_at_end(40, &[], 60, at(0, 10, 80, b'C'), 40),
        [0, 60, 0, 0],
        "the waits may all have been in the poll"
    );
}

#[test]
fn a_reading_soon_after_the_start_leaves_out_what_was_before() {
    // Until 2 ms before the poll, the thread waited 30 ms for a CPU.
    let mut narrowed = splitter(40, &[]);
    narrowed.narrow(&times(at(0, 10, 30, b'R')), MS);
    narrowed.add(sample(at(20, 10, 30, b'S')), 20 * MS, 0);
    assert_eq!(in_ms(narrowed.split(20 * MS)), [1, 1, 18, 0]);
    assert_eq!(split(40, &[at(20, 10, 30, b'S')]), [0, 20, 0, 0], "without it");
    let mut computing = splitter(40, &[]);
    computing.narrow(&times(at(0, 10, 30, b'R')), MS);
    computing.add(sample(at(20, 25, 30, b'R')), 20 * MS, 0);
    assert_eq!(in_ms(computing.split(20 * MS)), [15, 1, 0, 4]);
}

#[test]
fn without_a_reading_after_the_end_the_rest_is_unknown() {
    let polled = splitter(0, &[at(5, 0, 0, b'S'), at(10, 0, 0, b'S')]);
    assert_eq!(in_ms(polled.split_at_end(80 * MS, None, 0, 0)), [0, 0, 10, 70]);
}

#[test]
fn a_wait_for_a_cpu_after_the_end_takes_nothing_from_the_samples() {
    let sleeps = [at(5, 0, 0, b'S'), at(58, 0, 0, b'S')];
    assert_eq!(split_at_end(0, &sleeps, 60, at(0, 1, 70, b'C'), 75), [1, 2, 57, 0]);
    assert_eq!(split_at_end(0, &sleeps, 60, at(0, 1, 0, b'R'), 75), [1, 0, 59, 0]);
}

#[test]
fn the_own_time_never_decreases() {
    let mut splitter = splitter(0, &[at(5, 0, 0, b'S'), at(50, 0, 0, b'S')]);
    let mut before = splitter.split(50 * MS).own();
    for now in [at(60, 0, 0, b'R'), at(70, 1, 19, b'C'), at(80, 1, 19, b'R'), at(90, 2, 60, b'S')] {
        splitter.add(sample(now), now.age * MS, 0);
        let own = splitter.split(now.age * MS).own();
        assert!(own >= before, "{own} after {before} at {} ms", now.age);
        before = own;
    }
    assert_eq!(before / MS, 52);
}

#[test]
fn short_waits_between_runs_are_not_starvation() {
    // The thread is runnable at each sample, but sleeps in between, for
    // example on a fast disk.
    let samples = [at(5, 0, 0, b'R'), at(10, 2, 0, b'R'), at(20, 4, 0, b'R'), at(30, 6, 0, b'R')];
    assert_eq!(split(0, &samples), [6, 0, 16, 8], "the last 8 ms may be a wait for a CPU");
    let [first, second, third, fourth] = samples;
    assert_eq!(split(0, &[first, second, third, fourth, at(40, 8, 0, b'S')]), [8, 0, 32, 0]);
}

#[test]
fn a_virtual_cpu_taken_away_by_its_host_counts_as_run_queue_time() {
    let on = |age, cpu, state| in_slice(7, age, cpu, 0, state);
    let samples = [on(0, 0, b'C'), on(10, 1, b'R'), on(20, 1, b'R'), on(30, 2, b'C')];
    assert_eq!(split(0, &samples), [2, 28, 0, 0]);
}

#[test]
fn a_wait_that_began_after_work_counts_once() {
    let samples = [
        in_slice(1, 5, 0, 0, b'S'),
        in_slice(1, 100, 0, 0, b'S'),
        in_slice(2, 110, 4, 0, b'C'),
        // The thread is taken off its CPU after 2 ms and waits for 46 ms.
        in_slice(2, 120, 6, 0, b'R'),
        in_slice(2, 150, 6, 0, b'R'),
        in_slice(3, 160, 8, 42, b'C'),
    ];
    assert_eq!(split(0, &samples), [8, 42, 110, 0]);
}

#[test]
fn a_certain_wait_before_the_first_sample_is_credited() {
    assert_eq!(split(9, &[at(70, 2, 5, b'S')]), [2, 5, 63, 0]);
    assert_eq!(split(9, &[at(70, 2, 250, b'D')]), [0, 70, 0, 0], "the thread may have waited for a CPU");
    assert_eq!(split(9, &[at(70, 2, 5, b'R')]), [0, 5, 0, 65], "the thread may wait for a CPU now");
    assert_eq!(split(9, &[at(70, 2, 5, b'T')]), [0, 5, 0, 65], "the thread was stopped");
}

#[test]
fn a_thread_that_was_stopped_is_not_blamed() {
    let samples = [at(5, 0, 0, b'S'), at(10, 0, 0, b'T'), at(80, 0, 0, b'T'), at(90, 0, 0, b'S')];
    assert_eq!(split(0, &samples), [0, 0, 5, 85]);
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_claimed_of_a_wait_for_a_thread_while_the_watchdog_had_no_cpu() {
    let gap = 50 * MS;
    let futex = InSyscall { number: libc::SYS_futex, arguments: [0; 6], sp: 0, pc: 0 };
    let locked = ThreadSample { activity: ThreadActivity::InSyscall(futex), ..sample(at(73, 1, 0, b'S')) };
    let running = sample(at(73, 1, 0, b'C'));
    for now in [locked, running] {
        let of_gap = |gap| {
            let mut splitter = splitter(0, &[]);
            splitter.add(now, 73 * MS, gap);
            in_ms(splitter.split(73 * MS))
        };
        assert_eq!(of_gap(gap), [1, 0, 22, 50]);
        assert_eq!(of_gap(56 * MS), [1, 0, 0, 72], "the watchdog has hardly looked");
    }
    let mut sleeping = splitter(0, &[]);
    sleeping.add(sample(at(73, 1, 0, b'S')), 73 * MS, gap);
    assert_eq!(in_ms(sleeping.split(73 * MS)), [1, 0, 72, 0], "a sleep waits for no thread");
    let after = times(at(0, 1, 0, b'C'));
    assert_eq!(in_ms(splitter(0, &[]).split_at_end(73 * MS, Some(after), 0, gap)), [1, 0, 22, 50]);
    assert_eq!(in_ms(splitter(0, &[]).split_at_end(73 * MS, Some(after), 0, 56 * MS)), [1, 0, 0, 72]);
    assert_eq!(in_ms(sleeping.split_at_end(80 * MS, Some(after), 0, 5 * MS)), [1, 0, 79, 0]);
}

/// Adds samples whose run-queue time could be read or not.
fn partly_read(before: bool, samples: &[(At, bool)]) -> TimeSplitter {
    let unread = |times, is_read: bool| ThreadTimes {
        run_queue_nanos: if is_read { Some(0) } else { None },
        slices: 0,
        ..times
    };
    let mut splitter = TimeSplitter::new(unread(ThreadTimes::default(), before), 0);
    for (at, is_read) in samples {
        let now = sample(*at);
        let times = if *is_read { now.times } else { unread(now.times, false) };
        splitter.add(ThreadSample { times, ..now }, at.age * MS, 0);
    }
    splitter
}

#[test]
fn without_run_queue_times_only_cpu_time_and_certain_sleep_are_own() {
    let split = |samples: &[At]| {
        let samples: Vec<_> = samples.iter().map(|at| (*at, false)).collect();
        in_ms(partly_read(false, &samples).split(100 * MS))
    };
    assert_eq!(split(&[at(5, 0, 0, b'?'), at(100, 1, 0, b'?')]), [1, 0, 0, 99], "without a state");
    assert_eq!(split(&[at(5, 5, 0, b'C'), at(50, 50, 0, b'R'), at(100, 90, 0, b'R')]), [90, 0, 0, 10]);
    assert_eq!(split(&[at(5, 1, 0, b'S'), at(100, 1, 0, b'D')]), [1, 0, 95, 4], "it did not run in between");
    assert_eq!(split(&[at(5, 1, 0, b'S'), at(100, 2, 0, b'S')]), [2, 0, 0, 98], "it woke in between");
    assert_eq!(split(&[at(5, 1, 0, b'S'), at(100, 1, 0, b'R')]), [1, 0, 0, 99], "it may wait for a CPU");
}

#[test]
fn a_failed_reading_of_the_run_queue_time_is_no_wait_of_zero() {
    let starved = [(at(5, 1, 0, b'C'), true), (at(90, 2, 80, b'C'), false)];
    assert_eq!(in_ms(partly_read(true, &starved).split(90 * MS)), [2, 0, 4, 84], "read, then not");
    let starved = [(at(90, 2, 80, b'C'), true)];
    assert_eq!(in_ms(partly_read(false, &starved).split(90 * MS)), [2, 0, 0, 88], "not at the start");
    let asleep = [(at(5, 1, 0, b'S'), true), (at(50, 1, 0, b'S'), false), (at(90, 1, 3, b'S'), true)];
    assert_eq!(in_ms(partly_read(true, &asleep).split(90 * MS)), [1, 3, 86, 0], "read again");
    let late = [(at(5, 1, 900, b'S'), true), (at(90, 1, 903, b'S'), true)];
    assert_eq!(in_ms(partly_read(false, &late).split(90 * MS)), [1, 3, 82, 4], "the total is no growth");
}

#[test]
fn cpu_time_is_own_without_any_reading_before_the_poll() {
    let mut splitter = TimeSplitter::new(ThreadTimes::default(), u64::MAX);
    for now in [at(5, 105, 0, b'?'), at(90, 190, 0, b'?')] {
        let times = ThreadTimes { run_queue_nanos: None, slices: 0, ..times(now) };
        splitter.add(ThreadSample { times, ..sample(now) }, now.age * MS, 0);
    }
    assert_eq!(in_ms(splitter.split(90 * MS)), [85, 0, 0, 5]);
}
