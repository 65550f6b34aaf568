//! A program with tasks of known kinds and states. It prints what they are as
//! one line of JSON and then waits until its standard input ends.
//!
//! `run.py` writes the manifest, so that it builds with several versions of
//! Tokio. Nothing here depends on a newer one than 1.32.

use std::fmt::{self, Write};
use std::future::{Future, ready};
use std::io::Read;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, oneshot};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::sleep;
use tracing::Instrument;

const HOUR: Duration = Duration::from_secs(3600);
/// Every task has reached its await after this time.
const SETTLE_TIME: Duration = Duration::from_millis(300);
const WORKERS: usize = 2;
const BLOCKING_THREADS: usize = 2;

/// The awaits of one task, outermost first: function and line.
#[derive(Clone, Default)]
struct Awaits(Arc<Mutex<Vec<(&'static str, u32)>>>);

impl Awaits {
    fn mark(&self, function: &'static str, line: u32) {
        self.0.lock().unwrap().push((function, line));
    }
}

/// What is true of one task.
struct Truth {
    id: u64,
    /// A part of the name of its future.
    name: &'static str,
    state: &'static str,
    scheduler: &'static str,
    leaf: &'static str,
    spawn_line: u32,
    awaits: Awaits,
}

#[derive(Default)]
struct Truths(Vec<Truth>);

impl Truths {
    fn add(&mut self, handle: &impl fmt::Debug, truth: Truth) {
        self.0.push(Truth { id: task_id(handle), ..truth });
    }

    fn json(&self) -> String {
        let pid = std::process::id();
        let mut json = format!("{{\"pid\":{pid},\"workers\":{WORKERS},\"tasks\":[");
        for (index, truth) in self.0.iter().enumerate() {
            let Truth { id, name, state, scheduler, leaf, spawn_line, awaits } = truth;
            let awaits = awaits.0.lock().unwrap();
            let awaits: Vec<_> = awaits.iter().map(|(f, line)| format!("[\"{f}\",{line}]")).collect();
            let comma = if index == 0 { "" } else { "," };
            write!(json, "{comma}{{\"id\":{id},\"name\":\"{name}\",\"state\":\"{state}\",").unwrap();
            write!(json, "\"scheduler\":\"{scheduler}\",\"leaf\":\"{leaf}\",").unwrap();
            write!(json, "\"spawn_line\":{spawn_line},\"awaits\":[{}]}}", awaits.join(",")).unwrap();
        }
        json + "]}"
    }
}

/// Takes the id from the debug text, because Tokio 1.32 has no other way
/// without `tokio_unstable`.
fn task_id(handle: &impl fmt::Debug) -> u64 {
    let text = format!("{handle:?}");
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("the debug text of a handle has the task's id")
}

/// A future that forgets its waker.
struct Forgets;

impl Future for Forgets {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

// Each await is on the line that is marked.
#[rustfmt::skip]
mod waits {
    use super::*;

    pub async fn on_sleep(at: Awaits) {
        at.mark("on_sleep", line!()); sleep(HOUR).await;
    }
    pub async fn on_channel(at: Awaits, mut messages: tokio::sync::mpsc::Receiver<u8>) {
        at.mark("on_channel", line!()); messages.recv().await;
    }
    pub async fn on_full_channel(at: Awaits, messages: tokio::sync::mpsc::Sender<u8>) {
        at.mark("on_full_channel", line!()); messages.send(1).await.ok();
    }
    pub async fn on_oneshot(at: Awaits, answer: oneshot::Receiver<u8>) {
        at.mark("on_oneshot", line!()); answer.await.ok();
    }
    pub async fn holds_mutex(at: Awaits, mutex: Arc<AsyncMutex<u8>>) {
        let _guard = mutex.lock().await;
        at.mark("holds_mutex", line!()); sleep(HOUR).await;
    }
    pub async fn on_mutex(at: Awaits, mutex: Arc<AsyncMutex<u8>>) {
        sleep(SETTLE_TIME / 4).await;
        at.mark("on_mutex", line!()); let mut guard = mutex.lock().await; *guard += 1;
    }
    pub async fn on_semaphore(at: Awaits, semaphore: Arc<Semaphore>) {
        at.mark("on_semaphore", line!()); semaphore.acquire().await.unwrap().forget();
    }
    pub async fn on_join_handle(at: Awaits, task: JoinHandle<()>) {
        at.mark("on_join_handle", line!()); task.await.ok();
    }
    pub async fn on_notify(at: Awaits, notify: Arc<Notify>) {
        at.mark("on_notify", line!()); notify.notified().await;
    }
    pub async fn on_accept(at: Awaits, listener: TcpListener) {
        at.mark("on_accept", line!()); listener.accept().await.ok();
    }
    pub async fn on_read(at: Awaits, mut stream: TcpStream) {
        let mut bytes = [0; 16];
        at.mark("on_read", line!()); stream.read(&mut bytes).await.ok();
    }
    pub async fn on_lost_waker(at: Awaits) {
        at.mark("on_lost_waker", line!()); Forgets.await;
    }
    pub async fn outer(at: Awaits) {
        let kept = [1_u8; 100];
        at.mark("outer", line!()); middle(at.clone()).await;
        std::hint::black_box(&kept);
    }
    async fn middle(at: Awaits) {
        at.mark("middle", line!()); inner(at.clone(), 7).await;
    }
    async fn inner(at: Awaits, number: u64) -> u64 {
        at.mark("inner", line!()); sleep(HOUR).await;
        number
    }
    pub async fn on_select(at: Awaits, notify: Arc<Notify>) {
        at.mark("on_select", line!()); tokio::select! { () = sleep(HOUR) => {} () = notify.notified() => {} }
    }
    pub async fn on_join(at: Awaits, notify: Arc<Notify>) {
        at.mark("on_join", line!()); tokio::join!(sleep(HOUR), notify.notified());
    }
    pub async fn on_unordered(at: Awaits) {
        let mut sleeps: FuturesUnordered<_> = (0..5).map(|_| sleep(HOUR)).collect();
        at.mark("on_unordered", line!()); sleeps.next().await;
    }
    pub async fn on_boxed(at: Awaits) {
        let future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(on_sleep_last(at.clone()));
        at.mark("on_boxed", line!()); future.await;
    }
    async fn on_sleep_last(at: Awaits) {
        at.mark("on_sleep_last", line!()); sleep(HOUR).await;
    }
    pub async fn on_big(at: Awaits) {
        let bytes = [1_u8; 8000];
        at.mark("on_big", line!()); sleep(HOUR).await;
        std::hint::black_box(&bytes);
    }
    pub async fn on_aligned(at: Awaits) {
        let bytes = Aligned([1; 512]);
        at.mark("on_aligned", line!()); sleep(HOUR).await;
        std::hint::black_box(&bytes.0);
    }
    pub fn on_instrumented(at: Awaits) -> impl Future<Output = ()> {
        on_sleep(at).instrument(tracing::info_span!("instrumented"))
    }
    pub async fn on_local(at: Awaits, text: std::rc::Rc<String>) {
        at.mark("on_local", line!()); sleep(HOUR).await;
        std::hint::black_box(&text);
    }
}

fn sleeps() {
    std::thread::sleep(HOUR);
}

async fn blocks() {
    std::thread::sleep(HOUR);
}

#[repr(align(256))]
struct Aligned([u8; 512]);

/// Spawns `waits::$name` and writes down what is true of the task.
macro_rules! spawn {
    ($truths:expr, $runtime:expr, $name:ident($($argument:expr),*), $leaf:expr) => {{
        let awaits = Awaits::default();
        let task = $runtime.spawn(waits::$name(awaits.clone(), $($argument),*));
        $truths.add(&task, Truth {
            id: 0,
            name: stringify!($name),
            state: "idle",
            scheduler: "runtime",
            leaf: $leaf,
            spawn_line: line!(),
            awaits,
        });
        task
    }};
}

/// Spawns something else than one of the async functions.
macro_rules! spawn_other {
    ($truths:expr, $task:expr, $name:expr, $scheduler:expr, $state:expr) => {{
        let task = $task;
        $truths.add(
            &task,
            Truth {
                id: 0,
                name: $name,
                state: $state,
                scheduler: $scheduler,
                leaf: "none",
                spawn_line: line!(),
                awaits: Awaits::default(),
            },
        );
        task
    }};
}

fn spawn_all(truths: &mut Truths, runtime: &Runtime) -> Vec<Box<dyn std::any::Any>> {
    let _entered = runtime.enter();
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
    let mutex = Arc::new(AsyncMutex::new(0));
    let semaphore = Arc::new(Semaphore::new(0));
    let notify = Arc::new(Notify::new());
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let (full_sender, full_receiver) = tokio::sync::mpsc::channel(1);
    full_sender.try_send(0).unwrap();
    let (answer, answered) = oneshot::channel();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let client = runtime.block_on(TcpStream::connect(address)).unwrap();
    let (peer, _) = runtime.block_on(listener.accept()).unwrap();

    let awaited = spawn!(truths, runtime, on_sleep(), "sleep");
    kept.push(Box::new(spawn!(truths, runtime, on_join_handle(awaited), "join")));
    for _ in 0..3 {
        // Without a `JoinHandle`.
        spawn!(truths, runtime, on_sleep(), "sleep");
    }
    kept.push(Box::new(spawn!(truths, runtime, on_channel(receiver), "channel")));
    kept.push(Box::new(spawn!(truths, runtime, on_full_channel(full_sender), "semaphore")));
    kept.push(Box::new(spawn!(truths, runtime, on_oneshot(answered), "channel")));
    kept.push(Box::new(spawn!(truths, runtime, holds_mutex(mutex.clone()), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_mutex(mutex), "semaphore")));
    kept.push(Box::new(spawn!(truths, runtime, on_semaphore(semaphore), "semaphore")));
    kept.push(Box::new(spawn!(truths, runtime, on_notify(notify.clone()), "notify")));
    kept.push(Box::new(spawn!(truths, runtime, on_accept(listener), "io")));
    kept.push(Box::new(spawn!(truths, runtime, on_read(peer), "io")));
    kept.push(Box::new(spawn!(truths, runtime, on_lost_waker(), "other")));
    kept.push(Box::new(spawn!(truths, runtime, outer(), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_select(notify.clone()), "several")));
    kept.push(Box::new(spawn!(truths, runtime, on_join(notify), "several")));
    kept.push(Box::new(spawn!(truths, runtime, on_unordered(), "several")));
    kept.push(Box::new(spawn!(truths, runtime, on_boxed(), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_big(), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_aligned(), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_instrumented(), "sleep")));

    kept.push(Box::new(spawn_other!(truths, runtime.spawn(ready(5)), "Ready", "runtime", "complete")));
    for _ in 0..BLOCKING_THREADS {
        let job = spawn_other!(truths, runtime.spawn_blocking(sleeps), "sleeps", "blocking", "running");
        kept.push(Box::new(job));
    }
    for _ in 0..2 {
        let queued = spawn_other!(truths, runtime.spawn_blocking(sleeps), "sleeps", "blocking", "notified");
        kept.push(Box::new(queued));
    }
    kept.push(Box::new((sender, full_receiver, answer, client)));
    kept
}

/// Runs a current-thread runtime with a `LocalSet` for ever.
fn run_local(truths: &mpsc::Sender<Truths>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut known = Truths::default();
    spawn!(known, runtime, on_sleep(), "sleep");
    spawn!(known, runtime, outer(), "sleep");
    let local = LocalSet::new();
    let awaits = Awaits::default();
    let text = std::rc::Rc::new("local".to_owned());
    let (task, spawn_line) = (local.spawn_local(waits::on_local(awaits.clone(), text)), line!());
    let (name, state, scheduler, leaf) = ("on_local", "idle", "local_set", "sleep");
    known.add(&task, Truth { id: 0, name, state, scheduler, leaf, spawn_line, awaits });
    truths.send(known).unwrap();
    local.block_on(&runtime, async { sleep(HOUR).await });
}

fn main() {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(WORKERS).max_blocking_threads(BLOCKING_THREADS);
    let runtime = builder.enable_all().build().unwrap();
    let mut truths = Truths::default();
    let kept = spawn_all(&mut truths, &runtime);
    if std::env::args().any(|argument| argument == "--block-worker") {
        spawn_other!(truths, runtime.spawn(blocks()), "blocks", "runtime", "running");
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || run_local(&sender));
    truths.0.append(&mut receiver.recv().unwrap().0);
    std::thread::sleep(SETTLE_TIME);
    println!("{}", truths.json());
    std::io::stdin().read_to_end(&mut Vec::new()).ok();
    drop(kept);
    std::process::exit(0);
}
