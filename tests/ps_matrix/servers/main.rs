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
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Mutex as AsyncMutex, Notify, RwLock, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet, LocalSet};
use tokio::time::{interval, sleep, timeout};
use tracing::Instrument;

const HOUR: Duration = Duration::from_secs(3600);
/// So long after its first await, every task has reached its last one.
const SETTLE_TIME: Duration = Duration::from_millis(300);
const WORKERS: usize = 2;
const BLOCKING_THREADS: usize = 2;

/// What one future awaits.
#[derive(Clone, Default)]
struct Awaits(Arc<Mutex<Expected>>);

#[derive(Default)]
struct Expected {
    /// Outermost first: function and line.
    steps: Vec<(&'static str, u32)>,
    /// If the innermost one waits for several: the leaf and the awaits of each.
    branches: Vec<(&'static str, Awaits)>,
    /// The tasks that it waits for.
    tasks: usize,
}

impl Awaits {
    fn mark(&self, function: &'static str, line: u32) {
        self.0.lock().unwrap().steps.push((function, line));
    }

    /// Adds one of several futures.
    fn branch(&self, leaf: &'static str) -> Self {
        let branch = Self::default();
        self.0.lock().unwrap().branches.push((leaf, branch.clone()));
        branch
    }

    fn waits_for_tasks(&self, count: usize) {
        self.0.lock().unwrap().tasks = count;
    }

    fn json(&self) -> String {
        let expected = self.0.lock().unwrap();
        let steps: Vec<_> = expected.steps.iter().map(|(f, line)| format!("[\"{f}\",{line}]")).collect();
        let branch = |(leaf, awaits): &(&str, Self)| {
            format!("{{\"leaf\":\"{leaf}\",\"awaits\":{}}}", awaits.json())
        };
        let branches: Vec<_> = expected.branches.iter().map(branch).collect();
        let (steps, branches) = (steps.join(","), branches.join(","));
        format!("{{\"steps\":[{steps}],\"branches\":[{branches}],\"tasks\":{}}}", expected.tasks)
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

    /// Waits until each task has reached an await.
    fn settle(&self) {
        let is_at_await = |truth: &Truth| truth.leaf == "none" || !truth.awaits.0.lock().unwrap().steps.is_empty();
        while !self.0.iter().all(is_at_await) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(SETTLE_TIME);
    }

    fn json(&self) -> String {
        let pid = std::process::id();
        let mut json = format!("{{\"pid\":{pid},\"workers\":{WORKERS},\"tasks\":[");
        for (index, truth) in self.0.iter().enumerate() {
            let Truth { id, name, state, scheduler, leaf, spawn_line, awaits } = truth;
            let awaits = awaits.json();
            let comma = if index == 0 { "" } else { "," };
            write!(json, "{comma}{{\"id\":{id},\"name\":\"{name}\",\"state\":\"{state}\",").unwrap();
            write!(json, "\"scheduler\":\"{scheduler}\",\"leaf\":\"{leaf}\",").unwrap();
            write!(json, "\"spawn_line\":{spawn_line},\"awaits\":{awaits}}}").unwrap();
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
        for leaf in ["sleep", "notify"] { at.branch(leaf); }
        at.mark("on_select", line!()); tokio::select! { () = sleep(HOUR) => {} () = notify.notified() => {} }
    }
    pub async fn on_select_again(at: Awaits, notify: Arc<Notify>) {
        let (one, other) = (at.branch("sleep"), at.branch("notify"));
        tokio::select! { () = std::future::ready(()) => {} () = notify.notified() => {} }
        sleep(Duration::from_millis(1)).await;
        for turn in 0..2 {
            tokio::select! { () = sleep(Duration::from_millis(1)) => {} () = notify.notified() => {} }
            std::hint::black_box(turn);
        }
        at.mark("on_select_again", line!()); tokio::select! {
            () = on_sleep_last(one) => {}
            () = on_notified(other, &notify) => {}
        }
        tokio::select! { () = sleep(HOUR) => {} () = notify.notified() => {} }
    }
    async fn on_notified(at: Awaits, notify: &Notify) {
        at.mark("on_notified", line!()); notify.notified().await;
    }
    pub async fn on_join(at: Awaits, notify: Arc<Notify>) {
        for leaf in ["sleep", "notify"] { at.branch(leaf); }
        at.mark("on_join", line!()); tokio::join!(sleep(HOUR), notify.notified());
    }
    pub async fn on_try_join(at: Awaits, notify: Arc<Notify>) {
        let (one, other) = (at.branch("sleep"), at.branch("notify"));
        let one = async { one.mark("on_try_join", line!()); on_sleep_last(one.clone()).await; Ok::<_, ()>(()) };
        let other = async { other.mark("on_try_join", line!()); on_notified(other.clone(), &notify).await; Ok(()) };
        at.mark("on_try_join", line!()); tokio::try_join!(one, other).ok();
    }
    pub async fn on_unordered(at: Awaits) {
        let mut sleeps: FuturesUnordered<_> = (0..5).map(|_| sleep(HOUR)).collect();
        (0..5).for_each(|_| drop(at.branch("sleep")));
        at.mark("on_unordered", line!()); sleeps.next().await;
    }
    pub async fn on_unordered_calls(at: Awaits) {
        let mut calls: FuturesUnordered<_> = (0..3).map(|_| on_sleep_last(at.branch("sleep"))).collect();
        at.mark("on_unordered_calls", line!()); calls.next().await;
    }
    pub async fn on_join_set(at: Awaits, mut tasks: JoinSet<()>) {
        at.waits_for_tasks(tasks.len());
        at.mark("on_join_set", line!()); tasks.join_next().await;
    }
    pub async fn on_timeout(at: Awaits) {
        at.mark("on_timeout", line!()); timeout(HOUR, on_sleep_last(at.clone())).await.ok();
    }
    pub async fn on_interval(at: Awaits) {
        let mut ticks = interval(HOUR);
        ticks.tick().await;
        at.mark("on_interval", line!()); ticks.tick().await;
    }
    pub async fn on_watch(at: Awaits, mut changes: tokio::sync::watch::Receiver<u8>) {
        at.mark("on_watch", line!()); changes.changed().await.ok();
    }
    pub async fn on_broadcast(at: Awaits, mut messages: tokio::sync::broadcast::Receiver<u8>) {
        at.mark("on_broadcast", line!()); messages.recv().await.ok();
    }
    pub async fn on_unbounded(at: Awaits, mut messages: tokio::sync::mpsc::UnboundedReceiver<u8>) {
        at.mark("on_unbounded", line!()); messages.recv().await;
    }
    pub async fn on_rw_lock(at: Awaits, lock: Arc<RwLock<u8>>) {
        let _guard = lock.write().await;
        at.mark("on_rw_lock", line!()); drop(lock.read().await);
    }
    pub async fn on_datagram(at: Awaits, socket: UdpSocket) {
        let mut bytes = [0; 16];
        at.mark("on_datagram", line!()); socket.recv(&mut bytes).await.ok();
    }
    pub fn on_block(at: Awaits) -> impl Future<Output = ()> {
        async move {
            at.mark("on_block", line!()); sleep(HOUR).await;
        }
    }
    pub async fn on_generic<T>(at: Awaits, value: T) {
        at.mark("on_generic", line!()); sleep(HOUR).await;
        std::hint::black_box(&value);
    }
    pub async fn on_method(at: Awaits) {
        at.mark("on_method", line!()); Session(7).run(at.clone()).await;
    }
    struct Session(u64);
    impl Session {
        async fn run(&self, at: Awaits) {
            at.mark("run", line!()); sleep(HOUR).await;
            std::hint::black_box(self.0);
        }
    }
    pub async fn on_recursion(at: Awaits, depth: u8) {
        at.mark("on_recursion", line!()); recursion(at.clone(), depth).await;
    }
    fn recursion(at: Awaits, depth: u8) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if depth == 0 {
                at.mark("recursion", line!()); sleep(HOUR).await;
            }
            at.mark("recursion", line!()); recursion(at.clone(), depth - 1).await;
        })
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

/// Spawns `waits::$name` in a set of tasks.
macro_rules! spawn_in_set {
    ($truths:expr, $set:expr, $spawn:ident, $name:ident($($argument:expr),*), $scheduler:expr $(, $on:expr)?) => {{
        let awaits = Awaits::default();
        let (task, spawn_line) = ($set.$spawn(waits::$name(awaits.clone(), $($argument),*) $(, $on)?), line!());
        let (name, state, scheduler, leaf) = (stringify!($name), "idle", $scheduler, "sleep");
        $truths.add(&task, Truth { id: 0, name, state, scheduler, leaf, spawn_line, awaits });
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
    kept.push(Box::new(spawn!(truths, runtime, on_select_again(notify.clone()), "several")));
    kept.push(Box::new(spawn!(truths, runtime, on_join(notify.clone()), "several")));
    kept.push(Box::new(spawn!(truths, runtime, on_try_join(notify), "several")));
    kept.push(Box::new(spawn!(truths, runtime, on_unordered(), "several")));
    kept.push(Box::new(spawn!(truths, runtime, on_unordered_calls(), "several")));
    let mut set = JoinSet::new();
    for _ in 0..3 {
        spawn_in_set!(truths, set, spawn, on_sleep(), "runtime");
    }
    kept.push(Box::new(spawn!(truths, runtime, on_join_set(set), "several")));
    kept.push(Box::new(spawn!(truths, runtime, on_timeout(), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_interval(), "sleep")));
    let (changed, changes) = tokio::sync::watch::channel(0);
    kept.push(Box::new(spawn!(truths, runtime, on_watch(changes), "channel")));
    let (broadcaster, broadcasts) = tokio::sync::broadcast::channel(1);
    kept.push(Box::new(spawn!(truths, runtime, on_broadcast(broadcasts), "channel")));
    let (unbounded_sender, unbounded) = tokio::sync::mpsc::unbounded_channel();
    kept.push(Box::new(spawn!(truths, runtime, on_unbounded(unbounded), "channel")));
    kept.push(Box::new(spawn!(truths, runtime, on_rw_lock(Arc::new(RwLock::new(0))), "semaphore")));
    let socket = runtime.block_on(UdpSocket::bind("127.0.0.1:0")).unwrap();
    kept.push(Box::new(spawn!(truths, runtime, on_datagram(socket), "io")));
    kept.push(Box::new(spawn!(truths, runtime, on_block(), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_generic(7_u64), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_generic("text"), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_method(), "sleep")));
    kept.push(Box::new(spawn!(truths, runtime, on_recursion(2), "sleep")));
    kept.push(Box::new((changed, broadcaster, unbounded_sender)));
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

/// Spawns tasks in a `LocalSet`.
fn spawn_local(known: &mut Truths, local: &LocalSet) {
    let awaits = Awaits::default();
    let text = std::rc::Rc::new("local".to_owned());
    let (task, spawn_line) = (local.spawn_local(waits::on_local(awaits.clone(), text)), line!());
    let (name, state, scheduler, leaf) = ("on_local", "idle", "local_set", "sleep");
    known.add(&task, Truth { id: 0, name, state, scheduler, leaf, spawn_line, awaits });
    let mut set = JoinSet::new();
    let text = std::rc::Rc::new("local".to_owned());
    spawn_in_set!(known, set, spawn_local_on, on_local(text), "local_set", local);
    let awaits = Awaits::default();
    let (task, spawn_line) = (local.spawn_local(waits::on_join_set(awaits.clone(), set)), line!());
    let (name, leaf) = ("on_join_set", "several");
    known.add(&task, Truth { id: 0, name, state, scheduler, leaf, spawn_line, awaits });
}

/// Runs a current-thread runtime with a `LocalSet` for ever.
fn run_local(truths: &mpsc::Sender<Truths>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut known = Truths::default();
    spawn!(known, runtime, on_sleep(), "sleep");
    spawn!(known, runtime, outer(), "sleep");
    let local = LocalSet::new();
    spawn_local(&mut known, &local);
    truths.send(known).unwrap();
    local.block_on(&runtime, async { sleep(HOUR).await });
}

/// Runs a `LocalSet` beside the tasks of another runtime for ever.
fn run_local_beside(truths: &mpsc::Sender<Truths>, runtime: &Handle) {
    let mut known = Truths::default();
    let local = LocalSet::new();
    spawn_local(&mut known, &local);
    truths.send(known).unwrap();
    runtime.block_on(local.run_until(async { sleep(HOUR).await }));
}

/// Runs a current-thread runtime without a `LocalSet` for ever.
fn run_current_thread(truths: &mpsc::Sender<Truths>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut known = Truths::default();
    spawn!(known, runtime, on_notify(Arc::new(Notify::new())), "notify");
    truths.send(known).unwrap();
    runtime.block_on(async { sleep(HOUR).await });
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
    let (beside, current, handle) = (sender.clone(), sender.clone(), runtime.handle().clone());
    std::thread::spawn(move || run_local(&sender));
    std::thread::spawn(move || run_local_beside(&beside, &handle));
    std::thread::spawn(move || run_current_thread(&current));
    for _ in 0..3 {
        truths.0.append(&mut receiver.recv().unwrap().0);
    }
    truths.settle();
    println!("{}", truths.json());
    std::io::stdin().read_to_end(&mut Vec::new()).ok();
    drop(kept);
    std::process::exit(0);
}
