//! What `ps_own` says of tasks that this program runs.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::future::poll_fn;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant};

use loopscope::attach::{PsDocument, PsLeaf, PsTask, PsTaskState, PsVerdictKind, ps_own};
use tokio::runtime::Builder;

const MAX_WAIT: Duration = Duration::from_secs(30);
static OUTER_LINE: AtomicU32 = AtomicU32::new(0);
static INNER_LINE: AtomicU32 = AtomicU32::new(0);

async fn outer() {
    OUTER_LINE.store(line!() + 1, Relaxed);
    inner().await;
}

async fn inner() {
    INNER_LINE.store(line!() + 1, Relaxed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

async fn forgotten() {
    poll_fn::<(), _>(|_| Poll::Pending).await;
}

fn task<'d>(document: &'d PsDocument, function: &str) -> Option<&'d PsTask> {
    let mut tasks = document.tasks.iter();
    tasks.find(|task| task.kind.ends_with(function) && task.state == PsTaskState::Idle)
}

#[test]
fn the_awaits_and_verdicts_of_this_process_are_known() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("it starts");
    runtime.spawn(outer());
    runtime.spawn(forgotten());
    let begin = Instant::now();
    let document = loop {
        let document = ps_own().expect("it can be read");
        if task(&document, "outer").is_some() && task(&document, "forgotten").is_some() {
            break document;
        }
        assert!(begin.elapsed() < MAX_WAIT, "{document:?}");
    };
    let waiting = task(&document, "outer").expect("it was found above");
    let steps: Vec<_> = waiting.chain.iter().map(|step| (step.function.as_str(), step.line)).collect();
    let line = |line: &AtomicU32| Some(line.load(Relaxed));
    assert_eq!(steps, [("own::outer", line(&OUTER_LINE)), ("own::inner", line(&INNER_LINE))], "{waiting:?}");
    assert!(matches!(waiting.leaf, Some(PsLeaf::Sleep { seconds_left: Some(_) })), "{waiting:?}");

    let lost = task(&document, "forgotten").expect("it was found above").address;
    let verdict = document.verdicts.iter().find(|verdict| verdict.kind == PsVerdictKind::NeverWoken);
    assert_eq!(verdict.map(|verdict| (&verdict.tasks[..], verdict.is_certain)), Some((&[lost][..], true)));
    // The same code reads this process by its id.
    let pid = i32::try_from(std::process::id()).expect("it is an id");
    let by_id = loopscope::attach::ps(pid).expect("it can be read");
    assert_eq!(task(&by_id, "outer").map(|task| task.address), Some(waiting.address));
}
