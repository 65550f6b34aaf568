use std::time::Duration;

use super::*;
use crate::diagnose::stall_part::PartOfStall;
use crate::evidence;
use crate::finding::{Detail, Evidence, Frame, FrameKind};
use crate::record::clock::ClockReading;

fn stall(phase: Phase, seq: u64, start_ms: u64, ms: u64) -> StallEvidence {
    let times = TimeSplit { off_cpu: ms * 1_000_000, ..TimeSplit::default() };
    StallEvidence {
        phase,
        key: (0, seq),
        tid: 1_000,
        start_nanos: start_ms * 1_000_000,
        ..StallEvidence::ended(times, vec![evidence::Capture::without_stack(0, false, None)])
    }
}

fn wait(start: u64, end: u64, task: u64) -> TaskWait {
    TaskWait { nanos: start..end, task, runtime: Arc::from("main"), is_long: true }
}

fn diagnosis(id: &str) -> Diagnosis {
    Diagnosis {
        id: id.to_owned(),
        cause: Cause::Sleep,
        primitive: None,
        site: None,
        advice: String::new(),
        evidence: Evidence::None,
        stack: Vec::new(),
        lines_missing: None,
        detail: Detail::default(),
        lock_holder: None,
    }
}

fn frame() -> Frame {
    let kind = FrameKind::Application;
    Frame { function: "f".to_owned(), file: None, line: None, column: None, kind, recovered: false }
}

fn task() -> TaskInfo {
    TaskInfo { kind: "t".to_owned(), spawned_at: None }
}

/// Returns the polls in progress of worker 0, ten seconds after the start of
/// the recorder's clock.
fn polls(seqs: &[u64]) -> PollsInProgress {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    PollsInProgress {
        at: ClockReading { wall, nanos: 10_000_000_000 },
        keys: seqs.iter().map(|seq| (0, *seq)).collect(),
    }
}

/// Adds a stall that has one part.
fn add_one(
    findings: &Findings,
    stall: &StallEvidence,
    task: TaskInfo,
    diagnosis: Diagnosis,
) -> Result<AddedStall, TooManyFindings> {
    let part = PartOfStall {
        times: stall.times,
        age_nanos: 0..stall.duration_nanos,
        has_no_stack: stall.has_no_stack(),
        is_lower_bound: stall.is_lower_bound,
        is_sampled_once: stall.rests_on_one_early_sample(),
    };
    findings.add_stall(stall, task, vec![StallPart { diagnosis, part }]).pop().unwrap()
}

/// Adds a stall and returns its finding, with no poll in progress.
fn add(findings: &Findings, stall: &StallEvidence, diagnosis: Diagnosis) -> Finding {
    let added = add_one(findings, stall, task(), diagnosis).unwrap();
    get(findings, &added.finding, &polls(&[]))
}

fn get(findings: &Findings, id: &str, polls: &PollsInProgress) -> Finding {
    findings.for_report(id, polls, |_| true).unwrap()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_stall_counts_once_however_often_it_is_added() {
    let findings = Findings::default();
    add_one(&findings, &stall(Phase::Began, 1, 1000, 10), task(), diagnosis("a")).unwrap();
    let began = get(&findings, "a", &polls(&[1]));
    assert_eq!(began.count, 1, "the stall in progress");
    assert_eq!(began.ongoing, Some(Duration::from_secs(9)));
    add_one(&findings, &stall(Phase::Lasts, 1, 1000, 20), task(), diagnosis("a")).unwrap();
    let added = add_one(&findings, &stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
    assert_eq!(added, AddedStall { finding: "a".to_owned(), ended_stalls: 1 });
    let ended = get(&findings, "a", &polls(&[1]));
    assert_eq!((ended.count, ended.ongoing, ended.total), (1, None, 30 * MS));
    assert_eq!(findings.stalls(SystemTime::UNIX_EPOCH, &polls(&[])).len(), 1);
}

/// The end of a stall may wait in the queue for seconds.
#[test]
fn a_stall_that_is_over_is_not_in_progress_and_counts_with_what_is_proven() {
    let findings = Findings::default();
    add_one(&findings, &stall(Phase::Began, 1, 1000, 10), task(), diagnosis("a")).unwrap();
    add_one(&findings, &stall(Phase::Began, 3, 1100, 10), task(), diagnosis("a")).unwrap();
    let times = TimeSplit { off_cpu: 40_000_000, run_queue: 8_000_000, ..TimeSplit::default() };
    findings.add_progress((0, 1), 48_000_000, times);
    let finding = get(&findings, "a", &polls(&[]));
    assert_eq!((finding.count, finding.total, finding.max), (2, 50 * MS, 40 * MS));
    assert_eq!(finding.ongoing, None);
    let mut soon = polls(&[]);
    soon.at.nanos = 1_200_000_000;
    assert_eq!(findings.all(&soon)[0].ongoing, Some(48 * MS), "its end is near");
    assert_eq!(findings.all(&polls(&[]))[0].ongoing, None, "messages are processed late");
    let [first, second] = &findings.stalls(SystemTime::UNIX_EPOCH, &polls(&[3]))[..] else { panic!() };
    let length = |stall: &Stall| stall.end.map(|end| end.duration_since(stall.start).unwrap());
    assert_eq!((length(first), length(second)), (Some(48 * MS), None));
    assert_eq!(get(&findings, "a", &polls(&[3])).ongoing, Some(Duration::from_millis(8_900)));
    assert_eq!(findings.all(&polls(&[3]))[0].ongoing, Some(Duration::from_millis(8_900)));
}

#[test]
fn a_report_leaves_out_the_stalls_that_are_not_included() {
    let findings = Findings::default();
    for (phase, seq) in [(Phase::Ended, 1), (Phase::Began, 3), (Phase::Lasts, 5)] {
        add_one(&findings, &stall(phase, seq, 1000, 10), task(), diagnosis("a")).unwrap();
    }
    let report = |keys: &[StallKey]| {
        let finding = findings.for_report("a", &polls(&[3, 5]), |key| keys.contains(&key)).unwrap();
        (finding.count, finding.total, finding.ongoing.is_some())
    };
    assert_eq!(report(&[]), (1, 10 * MS, false));
    assert_eq!(report(&[(0, 5)]), (2, 20 * MS, true));
}

#[test]
fn ended_findings_do_not_count_stalls_in_progress() {
    let findings = Findings::default();
    for (phase, seq, id) in [(Phase::Ended, 1, "a"), (Phase::Began, 3, "a"), (Phase::Began, 5, "b")] {
        add_one(&findings, &stall(phase, seq, 1000, 10), task(), diagnosis(id)).unwrap();
    }
    let ended = || {
        let ended = findings.ended().into_iter();
        ended.map(|finding| (finding.id, finding.count, finding.total)).collect::<Vec<_>>()
    };
    assert_eq!(ended(), [("a".to_owned(), 1, 10 * MS)]);
    // The diagnosis of one stall moves, and the other one is retracted.
    add_one(&findings, &stall(Phase::Lasts, 3, 1000, 20), task(), diagnosis("b")).unwrap();
    findings.retract_stall((0, 5));
    assert_eq!(ended(), [("a".to_owned(), 1, 10 * MS)]);
}

#[test]
fn totals_never_decrease_while_a_stall_lasts_and_ends() {
    let findings = Findings::default();
    let mut last = Duration::ZERO;
    let mut check = |shown: &str| {
        let total = get(&findings, "a", &polls(&[1])).total;
        assert!(total >= last, "{shown}: {total:?} after {last:?}");
        last = total;
    };
    for (phase, ms) in [(Phase::Began, 10), (Phase::Lasts, 1_000), (Phase::Ended, 1_010)] {
        add_one(&findings, &stall(phase, 1, 1000, ms), task(), diagnosis("a")).unwrap();
        check("a message");
        // The split of an earlier sample may show less time.
        findings.add_progress((0, 1), ms * 1_000_000, TimeSplit { on_cpu: 5, ..TimeSplit::default() });
        check("less proven time");
    }
    assert_eq!(last, 1_010 * MS);
}

#[test]
fn setting_the_wall_clock_moves_all_stalls_alike() {
    let findings = Findings::default();
    add_one(&findings, &stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
    add_one(&findings, &stall(Phase::Began, 3, 2000, 10), task(), diagnosis("a")).unwrap();
    let mut now = polls(&[3]);
    let read = |polls: &PollsInProgress| {
        let stalls = findings.stalls(SystemTime::UNIX_EPOCH, polls);
        let before_now = |stall: &Stall| polls.at.wall.duration_since(stall.start).unwrap();
        (before_now(&stalls[0]), before_now(&stalls[1]), findings.all(polls)[0].ongoing)
    };
    let before = read(&now);
    assert_eq!(before, (Duration::from_secs(9), Duration::from_secs(8), Some(Duration::from_secs(8))));
    now.at.wall += Duration::from_secs(3600);
    assert_eq!(read(&now), before);
    now.at.wall -= Duration::from_secs(7200);
    assert_eq!(read(&now), before);
}

#[test]
fn a_finding_has_all_its_kinds_with_their_shares() {
    let findings = Findings::default();
    let task = |kind: &str| TaskInfo { kind: kind.to_owned(), spawned_at: None };
    add_one(&findings, &stall(Phase::Ended, 1, 1000, 30), task("b"), diagnosis("a")).unwrap();
    add_one(&findings, &stall(Phase::Ended, 3, 1100, 40), task("c"), diagnosis("a")).unwrap();
    add_one(&findings, &stall(Phase::Ended, 5, 1200, 20), task("b"), diagnosis("a")).unwrap();
    add_one(&findings, &stall(Phase::Began, 7, 1300, 10), task("d"), diagnosis("a")).unwrap();
    let finding = get(&findings, "a", &polls(&[7]));
    let shares: Vec<_> = finding.tasks.iter().map(|t| (&*t.kind, t.count, t.total)).collect();
    assert_eq!(shares, [("b", 2, 50 * MS), ("c", 1, 40 * MS), ("d", 1, 10 * MS)]);
    assert_eq!(finding.task.kind, "d");
    assert_eq!((finding.count, finding.total), (4, 100 * MS));
}

/// Stalls beyond the capture budget have no stack.
#[test]
fn a_stall_without_a_stack_counts_for_the_only_finding_of_any_kind_that_it_has_had() {
    let findings = Findings::default();
    let task = |kind: &str| TaskInfo { kind: kind.to_owned(), spawned_at: None };
    let with_stack = |id: &str| Diagnosis { stack: vec![frame()], ..diagnosis(id) };
    let without_stack = diagnosis("no line");
    let mut seq = 1;
    let mut add = |kind: &str, diagnosis: Diagnosis| {
        seq += 2;
        add_one(&findings, &stall(Phase::Ended, seq, seq, 10), task(kind), diagnosis).unwrap().finding
    };
    for kind in ["s0", "s1", "s2", "s3"] {
        add(kind, with_stack("line"));
    }
    for kind in ["s0", "s1", "s2", "s3"] {
        assert_eq!(add(kind, without_stack.clone()), "line", "{kind}");
    }
    assert_eq!(add("s4", without_stack.clone()), "no line", "no stall of this kind had a stack");
    add("s1", with_stack("another line"));
    assert_eq!(add("s1", without_stack.clone()), "no line", "either of the two lines may be right");
    assert_eq!(add("s2", without_stack), "line");
}

#[test]
fn a_stall_without_a_stack_counts_for_no_finding_that_its_time_contradicts() {
    let findings = Findings::default();
    let mut seq = 1;
    let mut add = |kind: &str, cause, id: &str, has_stack: bool| {
        seq += 2;
        let stack = if has_stack { vec![frame()] } else { Vec::new() };
        let diagnosis = Diagnosis { cause, stack, ..diagnosis(id) };
        let task = TaskInfo { kind: kind.to_owned(), spawned_at: None };
        add_one(&findings, &stall(Phase::Ended, seq, seq, 10), task, diagnosis).unwrap().finding
    };
    add("sleeps", Cause::Sleep, "sleep", true);
    assert_eq!(add("sleeps", Cause::Cpu, "no line", false), "no line", "a sleep does not compute");
    add("reads", Cause::File, "read", true);
    assert_eq!(add("reads", Cause::Cpu, "no line", false), "read", "a call may run in the kernel");
    add("computes", Cause::Cpu, "cpu", true);
    assert_eq!(add("computes", Cause::Other, "no call", false), "no call", "a computation does not wait");
}

#[test]
fn the_machines_time_is_not_in_the_totals() {
    let findings = Findings::default();
    let times =
        TimeSplit { on_cpu: 1_000_000, run_queue: 40_000_000, off_cpu: 29_000_000, unknown: 10_000_000 };
    let slow = StallEvidence { times, ..stall(Phase::Ended, 1, 1000, 100) };
    let finding = add(&findings, &slow, diagnosis("a"));
    let ms = Duration::from_millis;
    assert_eq!((finding.total, finding.max, finding.split.own()), (ms(30), ms(30), ms(30)));
    assert_eq!((finding.split.paused, finding.split.not_own()), (ms(20), ms(70)));
    let sleep = findings.causes().into_iter().find(|cause| cause.cause == Cause::Sleep).unwrap();
    assert_eq!((sleep.durations.count, sleep.durations.sum), (1, ms(30)));
}

#[test]
fn a_wrong_first_diagnosis_leaves_no_finding() {
    let findings = Findings::default();
    add_one(&findings, &stall(Phase::Began, 1, 1000, 10), task(), diagnosis("guess")).unwrap();
    add_one(&findings, &stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("truth")).unwrap();
    let ids: Vec<_> = findings.all(&polls(&[])).into_iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["truth"]);
}

#[test]
fn waits_count_whether_added_before_or_after_the_stall() {
    let findings = Findings::default();
    findings.add_wait(wait(1_005_000_000, 1_020_000_000, 7));
    add_one(&findings, &stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
    findings.add_wait(wait(1_020_000_000, 1_040_000_000, 8));
    findings.add_wait(wait(2_000_000_000, 2_040_000_000, 9));
    let victims = findings.all(&polls(&[]))[0].victims;
    assert_eq!((victims.tasks, victims.waits), (2, 2));
    assert_eq!(victims.delay, Duration::from_millis(25));
}

#[test]
fn each_task_and_each_wait_counts_once() {
    let findings = Findings::default();
    let ms = |ms: u64| ms * 1_000_000;
    // One task waits twice for one stall, another once for two stalls.
    findings.add_wait(wait(ms(1000), ms(1011), 7));
    add_one(&findings, &stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
    findings.add_wait(wait(ms(1015), ms(1030), 7));
    findings.add_wait(wait(ms(1020), ms(1050), 8));
    add_one(&findings, &stall(Phase::Ended, 2, 1035, 30), task(), diagnosis("a")).unwrap();
    let victims = findings.all(&polls(&[]))[0].victims;
    assert_eq!((victims.tasks, victims.waits), (2, 3));
    assert_eq!(victims.delay, Duration::from_millis(11 + 15 + 10 + 15));
}

#[test]
fn an_estimate_of_tasks_never_exceeds_the_waits() {
    let findings = Findings::default();
    add_one(&findings, &stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
    for task in 0..2_000 {
        findings.add_wait(wait(1_005_000_000, 1_010_000_000, task));
    }
    let victims = findings.all(&polls(&[]))[0].victims;
    assert_eq!(victims.waits, 2_000);
    assert!((1_800..=2_000).contains(&victims.tasks), "{victims:?}");
    assert!(victims.is_estimate());
}

#[test]
fn the_best_evidence_and_then_the_most_frequent_line_is_shown() {
    let findings = Findings::default();
    let at = |line: Option<u32>, evidence| Diagnosis {
        site: Some(crate::finding::Site {
            function: "f".to_owned(),
            file: None,
            line,
            column: None,
            recovered: false,
        }),
        evidence,
        ..diagnosis("a")
    };
    let line_after = |seq, diagnosis| {
        let finding = add(&findings, &stall(Phase::Ended, seq, seq, 10), diagnosis);
        finding.site.unwrap().line
    };
    assert_eq!(line_after(1, at(Some(7), Evidence::Leaf)), Some(7));
    assert_eq!(line_after(2, at(Some(8), Evidence::Stack)), Some(8), "better evidence");
    assert_eq!(line_after(3, at(Some(7), Evidence::Leaf)), Some(8));
    assert_eq!(line_after(4, at(Some(9), Evidence::Stack)), Some(9));
    assert_eq!(line_after(5, at(Some(9), Evidence::Stack)), Some(9));
    assert_eq!(line_after(6, at(Some(8), Evidence::Stack)), Some(8), "equally frequent, and more recent");
    assert_eq!(
        line_after(7, at(None, Evidence::Stack)),
        Some(8),
        "a diagnosis without a line does not replace one with a line"
    );
}

#[test]
fn a_stall_that_shows_less_does_not_shorten_the_advice() {
    let findings = Findings::default();
    let advice_after = |seq, line, advice: &str| {
        let site = crate::finding::Site {
            function: "f".to_owned(),
            file: None,
            line,
            column: None,
            recovered: false,
        };
        let diagnosis = Diagnosis {
            site: Some(site),
            evidence: Evidence::Stack,
            advice: advice.to_owned(),
            ..diagnosis("a")
        };
        add(&findings, &stall(Phase::Ended, seq, seq, 10), diagnosis).advice
    };
    assert_eq!(advice_after(1, None, "move it; add line tables"), "move it; add line tables");
    assert_eq!(advice_after(2, Some(1), "move it"), "move it", "there are lines now");
    assert_eq!(advice_after(3, Some(1), "move it; it awaits an interval"), "move it; it awaits an interval");
    assert_eq!(advice_after(4, Some(1), "move it"), "move it; it awaits an interval");
    assert_eq!(advice_after(5, Some(1), "use another call"), "use another call");
}

#[test]
fn the_number_of_findings_is_bounded() {
    let findings = Findings::default();
    for n in 0..MAX_FINDINGS as u64 {
        add_one(&findings, &stall(Phase::Ended, n, n, 10), task(), diagnosis(&n.to_string())).unwrap();
    }
    assert!(add_one(&findings, &stall(Phase::Ended, 9999, 1, 10), task(), diagnosis("more")).is_err());
    assert!(add_one(&findings, &stall(Phase::Ended, 9998, 1, 10), task(), diagnosis("7")).is_ok());
}

fn part(id: &str, own_ms: u64, ages_ms: std::ops::Range<u64>) -> StallPart {
    let part = PartOfStall {
        times: TimeSplit { off_cpu: own_ms * 1_000_000, ..TimeSplit::default() },
        age_nanos: ages_ms.start * 1_000_000..ages_ms.end * 1_000_000,
        ..PartOfStall::default()
    };
    StallPart { diagnosis: diagnosis(id), part }
}

#[test]
fn each_part_of_a_stall_counts_once_with_its_own_time() {
    let findings = Findings::default();
    findings.add_wait(wait(1_010_000_000, 1_030_000_000, 7));
    let parts = vec![part("b", 80, 20..100), part("a", 20, 0..20)];
    let added = findings.add_stall(&stall(Phase::Ended, 1, 1000, 100), task(), parts);
    let ids: Vec<_> = added.into_iter().map(|added| added.unwrap().finding).collect();
    assert_eq!(ids, ["b", "a"]);
    let all = findings.all(&polls(&[]));
    let counted: Vec<_> = all.iter().map(|f| (&*f.id, f.count, f.total, f.split.off_cpu)).collect();
    assert_eq!(counted, [("b", 1, 80 * MS, 80 * MS), ("a", 1, 20 * MS, 20 * MS)]);
    assert_eq!((all[0].victims.delay, all[1].victims.delay), (10 * MS, 10 * MS), "no moment counts twice");
    let causes = findings.causes();
    let sleep = causes.iter().find(|cause| cause.cause == Cause::Sleep).unwrap();
    assert_eq!((sleep.durations.count, sleep.durations.sum), (2, 100 * MS));
    let stalls = findings.stalls(SystemTime::UNIX_EPOCH, &polls(&[]));
    let length = |stall: &Stall| stall.end.unwrap().duration_since(stall.start).unwrap();
    let shown: Vec<_> = stalls.iter().map(|s| (s.finding.as_deref().unwrap(), length(s))).collect();
    assert_eq!(shown, [("a", 20 * MS), ("b", 80 * MS)]);
    assert_eq!(stalls[0].end, Some(stalls[1].start));
}

#[test]
fn the_parts_of_a_stall_in_progress_add_up_to_it() {
    let findings = Findings::default();
    findings.add_stall(
        &stall(Phase::Began, 1, 1000, 100),
        task(),
        vec![part("b", 80, 20..100), part("a", 20, 0..20)],
    );
    let times = TimeSplit { off_cpu: 500_000_000, ..TimeSplit::default() };
    findings.add_progress((0, 1), 500_000_000, times);
    let now = polls(&[1]);
    let [b, a] = &findings.all(&now)[..] else { panic!() };
    assert_eq!((b.total, a.total), (480 * MS, 20 * MS));
    assert_eq!((b.ongoing.is_some(), a.ongoing), (true, None));
    findings.retract_stall((0, 1));
    assert_eq!(findings.all(&now), []);
}

#[test]
fn a_reported_finding_keeps_what_it_has_shown_if_the_line_changes() {
    let findings = Findings::default();
    findings.add_stall(&stall(Phase::Lasts, 1, 1000, 1_000), task(), vec![part("a", 1_000, 0..1_000)]);
    assert_eq!(get(&findings, "a", &polls(&[1])).total, 1_000 * MS);
    findings.add_stall(&stall(Phase::Lasts, 1, 1000, 1_300), task(), vec![part("b", 1_300, 0..1_300)]);
    let total = |id| get(&findings, id, &polls(&[1])).total;
    assert_eq!((total("a"), total("b")), (1_000 * MS, 300 * MS));
    let parts = vec![part("b", 1_800, 900..2_700), part("a", 900, 0..900)];
    findings.add_stall(&stall(Phase::Ended, 1, 1000, 2_700), task(), parts);
    let ended = |id| {
        let finding = get(&findings, id, &polls(&[]));
        (finding.count, finding.total, finding.split.own())
    };
    assert_eq!(ended("a"), (1, 1_000 * MS, 1_000 * MS));
    assert_eq!(ended("b"), (1, 1_700 * MS, 1_700 * MS));
}

#[test]
fn a_flight_recording_has_stalls_by_the_clock_of_its_polls() {
    let findings = Findings::default();
    add_one(&findings, &stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
    add_one(&findings, &stall(Phase::Began, 3, 2000, 10), task(), diagnosis("a")).unwrap();
    let times = |since_ms: u64, in_progress: &[u64]| {
        let stalls = findings.flight_stalls(since_ms * 1_000_000, &polls(in_progress));
        let ms = |nanos: u64| nanos / 1_000_000;
        let times = stalls.iter().map(|s| (s.poll, s.thread.tid, ms(s.start_nanos), s.end_nanos.map(ms)));
        times.collect::<Vec<_>>()
    };
    assert_eq!(times(1030, &[3]), [((0, 1), 1_000, 1000, Some(1030)), ((0, 3), 1_000, 2000, None)]);
    assert_eq!(times(1031, &[]), [((0, 3), 1_000, 2000, Some(2010))], "what its message has proven");
    assert_eq!(times(2011, &[]), [], "its poll is not in the recording either");
}
