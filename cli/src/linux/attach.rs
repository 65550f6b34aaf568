//! The command `loopscope attach`.

use std::future::pending;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use loopscope::attach::Watch;
use loopscope::report::printable;
use loopscope::{FindingsDocument, Terminal};
use tokio::signal::unix::{SignalKind, signal};

use crate::linux::args::{AttachArgs, WatchArgs};
use crate::linux::{named_process, output, reading};

/// For how long a large program may be read before the first look.
const MAX_BEGIN: Duration = Duration::from_secs(2);
const BEGIN_CHECK_PERIOD: Duration = Duration::from_millis(5);
/// A stall is seen from its third look on, and until one look before its end.
const LOST_LOOKS: u32 = 3;
/// How often it is checked whether the process has ended.
const CHECK_PERIOD: Duration = Duration::from_millis(100);
/// After this time without an event loop, the user learns of it.
const LOOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Watches a process until it ends, the time is over, or a signal comes.
pub(crate) fn attach(args: &AttachArgs) -> anyhow::Result<u8> {
    let pid = named_process::pid(&args.process)?;
    reading::prepare(pid, &args.reading)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watch = begin(pid, &args.watch)?;
    let reason = runtime.block_on(end_of(&watch, args.duration))?;
    let document = finish(watch, reason);
    if args.json {
        output::print(&(serde_json::to_string(&document)? + "\n"))?;
    }
    Ok(0)
}

/// Begins to watch, and says what is watched.
pub(crate) fn begin(pid: i32, args: &WatchArgs) -> anyhow::Result<Watch> {
    let mut builder = Watch::builder(pid).terminal(Terminal::Always).blocking_threshold(args.threshold);
    if let Some(address) = args.telemetry {
        builder = builder.telemetry(address);
    }
    let watch = builder.start()?;
    let started = Instant::now();
    while !watch.has_begun() && !watch.has_ended() && started.elapsed() < MAX_BEGIN {
        thread::sleep(BEGIN_CHECK_PERIOD);
    }
    let program = watch.findings().process.program;
    let telemetry =
        watch.telemetry_address().map_or_else(String::new, |at| format!("; telemetry is at http://{at}/"));
    say(&format!(
        "watches process {pid}, `{}`: looks every {:?} for polls that block their thread for {:?} or longer; all \
         figures are sampled: a duration is too short by up to {LOST_LOOKS} times the time between two looks\
         {telemetry}",
        printable(&program),
        watch.period(),
        args.threshold,
    ));
    if !watch.finds_computations() {
        say("the kernel refuses samples, so only waits are found, and no computations: that needs \
             `kernel.perf_event_paranoid` of 2 or less and, in a container, the system call `perf_event_open`");
    }
    Ok(watch)
}

/// Ends the watch, and says what it has seen. The library has printed the
/// findings.
pub(crate) fn finish(watch: Watch, reason: &str) -> FindingsDocument {
    let loops = watch.loops_seen();
    let longest_pause = watch.longest_pause();
    let document = watch.finish();
    let loops = match loops {
        0 => "no event loop of Tokio was found; `loopscope ps` says what there is".to_owned(),
        1 => "1 thread with an event loop was watched".to_owned(),
        n => format!("{n} threads with an event loop were watched"),
    };
    let found = match document.findings.len() {
        0 => "nothing blocked them",
        _ => "the places that blocked them are listed above",
    };
    say(&if document.findings.is_empty() && loops.starts_with("no ") {
        format!("{reason}; {loops}")
    } else {
        let pause = longest_pause.as_secs_f64() * 1e3;
        format!("{reason}; {loops}; {found}; the longest time between two looks was {pause:.1} ms")
    });
    document
}

fn say(text: &str) {
    // An error of stderr cannot be reported anywhere.
    let _ = writeln!(io::stderr(), "loopscope: {text}");
}

async fn end_of(watch: &Watch, duration: Option<Duration>) -> anyhow::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => pending().await,
        }
    };
    Ok(tokio::select! {
        () = over => "the time is over",
        _ = interrupt.recv() => "stopped",
        _ = terminate.recv() => "stopped",
        () = ended(watch) => "the process has ended",
        () = hint(watch) => "",
    })
}

/// Says after some time if there is no event loop yet. Does not return.
pub(crate) async fn hint(watch: &Watch) {
    tokio::time::sleep(LOOP_TIMEOUT).await;
    if watch.loops_seen() == 0 && !watch.has_ended() {
        say(&format!(
            "no event loop of Tokio has been found in {LOOP_TIMEOUT:?}: the process may not use Tokio, or may have \
             no symbols, or another process of its program is the server"
        ));
    }
    pending().await
}

/// Returns once the process has ended.
async fn ended(watch: &Watch) {
    while !watch.has_ended() {
        tokio::time::sleep(CHECK_PERIOD).await;
    }
}
