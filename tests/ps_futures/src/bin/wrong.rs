//! A program in which one thing is wrong: the one that its argument names. It
//! ends with its standard input.

use std::future::{Future, poll_fn};
use std::hint;
use std::io::Read;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, RwLock, oneshot};
use tokio::task::{JoinHandle, LocalSet, yield_now};
use tokio::time::sleep;

const FOREVER: Duration = Duration::from_secs(100_000);
const SHORT: Duration = Duration::from_millis(1);

/// The number of times that a task has come to the point before its wait.
static WAITING: AtomicUsize = AtomicUsize::new(0);

fn multi(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().expect("a runtime")
}

fn current() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[inline(never)]
fn blocks() {
    thread::sleep(FOREVER);
    hint::black_box(1_u8);
}

#[inline(never)]
fn computes() {
    let mut number = 0_u64;
    loop {
        number = hint::black_box(number.wrapping_mul(31) + 1);
    }
}

/// Blocks with more than 128 KiB of stack below its caller.
#[inline(never)]
fn blocks_deep(depth: usize) {
    let room = hint::black_box([0_u8; 8 << 10]);
    if depth == 0 {
        blocks();
    } else {
        blocks_deep(depth - 1);
    }
    hint::black_box(&room);
}

async fn calls_deep_blocking_code() {
    yield_now().await;
    blocks_deep(16);
}

async fn calls_blocking_code() {
    yield_now().await;
    blocks();
}

async fn calls_computing_code() {
    yield_now().await;
    computes();
}

async fn waits_in_the_lifo_slot() {
    hint::black_box(());
}

/// The new task is in the LIFO slot of the worker that then blocks.
async fn spawns_and_blocks() {
    yield_now().await;
    tokio::spawn(waits_in_the_lifo_slot());
    blocks();
}

async fn is_never_polled() {
    hint::black_box(());
}

/// Returns once `is_so`.
fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::sleep(SHORT);
    }
}

/// Returns once tasks have come to a wait so many times.
fn wait_for(count: usize) {
    wait_until(|| WAITING.load(SeqCst) == count);
}

async fn locks(lock: Arc<Mutex<u8>>) {
    WAITING.fetch_add(1, SeqCst);
    *lock.lock().await += 1;
}

async fn holds_the_lock(lock: Arc<Mutex<u8>>) {
    let guard = lock.lock().await;
    sleep(FOREVER).await;
    drop(guard);
}

async fn writes(lock: Arc<RwLock<u8>>) {
    WAITING.fetch_add(1, SeqCst);
    *lock.write().await += 1;
}

async fn holds_the_table(lock: Arc<RwLock<u8>>) {
    let guard = lock.read().await;
    sleep(FOREVER).await;
    drop(guard);
}

/// Each holds the lock for a moment, and waits for it again: that is busy, and
/// not wrong.
async fn locks_again_and_again(lock: Arc<Mutex<u8>>) {
    loop {
        let guard = lock.lock().await;
        sleep(Duration::from_millis(3)).await;
        drop(guard);
    }
}

async fn awaits(handle: oneshot::Receiver<JoinHandle<()>>) {
    if let Ok(handle) = handle.await {
        let _ = handle.await;
    }
}

async fn forgets_its_waker() {
    poll_fn(|_| Poll::<()>::Pending).await;
}

/// The lock is granted to a future that is not polled any more.
async fn polls_once_and_sleeps(lock: Arc<Mutex<u8>>) {
    let mut waiting = pin!(locks(lock));
    poll_fn(|context| {
        let _ = waiting.as_mut().poll(context);
        WAITING.fetch_add(1, SeqCst);
        Poll::Ready(())
    })
    .await;
    sleep(FOREVER).await;
    waiting.await;
}

/// Leaves a woken task to the runtime, and computes.
async fn spawns_and_computes() {
    tokio::spawn(is_never_polled());
    WAITING.fetch_add(1, SeqCst);
    computes();
}

fn keep<F: Future + Send + 'static>(runtime: Runtime, tasks: impl IntoIterator<Item = F>)
where
    F::Output: Send,
{
    for task in tasks {
        runtime.spawn(task);
    }
    std::mem::forget(runtime);
}

fn start(what: &str) {
    let (lock, table) = (Arc::new(Mutex::new(0)), Arc::new(RwLock::new(0)));
    match what {
        "blocked" => keep(multi(3), [calls_blocking_code()]),
        "blocked_deep" => keep(multi(3), [calls_deep_blocking_code()]),
        "blocked_current" => {
            thread::spawn(|| current().block_on(async { tokio::spawn(calls_blocking_code()).await }));
        }
        "computing" => keep(multi(3), [calls_computing_code()]),
        "busy_current" => {
            thread::spawn(|| current().block_on(spawns_and_computes()));
            wait_for(1);
        }
        "busy_job" => {
            let runtime = multi(1);
            runtime.spawn_blocking(|| current().block_on(spawns_and_computes()));
            std::mem::forget(runtime);
            wait_for(1);
        }
        "busy_workers" => {
            let mut busy = Builder::new_multi_thread();
            let busy = busy.worker_threads(1).thread_name("app").build().expect("a runtime");
            keep(busy, [spawns_and_computes()]);
            wait_for(1);
            // It has as many workers, which wait, and no tasks.
            std::mem::forget(multi(1));
        }
        "all_blocked" => keep(multi(2), [calls_blocking_code(), calls_blocking_code()]),
        "lifo" => keep(multi(3), [spawns_and_blocks()]),
        "undriven" => keep(current(), [is_never_polled()]),
        "undriven_set" => {
            let (sender, spawned) = mpsc::channel();
            thread::spawn(move || {
                let set = LocalSet::new();
                set.spawn_local(is_never_polled());
                sender.send(()).expect("it waits for this");
                thread::sleep(FOREVER);
                drop(set);
            });
            spawned.recv().expect("the thread sends");
        }
        "lock_queue" => {
            let runtime = multi(2);
            runtime.spawn(holds_the_lock(lock.clone()));
            wait_until(|| lock.try_lock().is_err());
            keep(runtime, (0..20).map(|_| locks(lock.clone())));
            wait_for(20);
        }
        "table_queue" => {
            let runtime = multi(2);
            runtime.spawn(holds_the_table(table.clone()));
            wait_until(|| table.try_write().is_err());
            keep(runtime, (0..5).map(|_| writes(table.clone())));
            wait_for(5);
        }
        "busy_lock" => keep(multi(2), (0..20).map(|_| locks_again_and_again(lock.clone()))),
        "cycle" => {
            let runtime = multi(2);
            let ((send_one, one), (send_other, other)) = (oneshot::channel(), oneshot::channel());
            let _ = send_one.send(runtime.spawn(awaits(other)));
            let _ = send_other.send(runtime.spawn(awaits(one)));
            std::mem::forget(runtime);
        }
        "never_woken" => keep(multi(2), [forgets_its_waker()]),
        "futurelock" => {
            let runtime = multi(2);
            let guard = lock.try_lock().expect("it is free");
            runtime.spawn(polls_once_and_sleeps(lock.clone()));
            // Once within `locks`, and once after the poll.
            wait_for(2);
            for _ in 0..4 {
                runtime.spawn(locks(lock.clone()));
            }
            wait_for(6);
            drop(guard);
            std::mem::forget(runtime);
        }
        "pool_full" => {
            let runtime = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).build();
            let runtime = runtime.expect("a runtime");
            for _ in 0..5 {
                runtime.spawn_blocking(blocks);
            }
            std::mem::forget(runtime);
        }
        _ => panic!("there is no case `{what}`"),
    }
}

fn main() {
    start(&std::env::args().nth(1).expect("the name of a case"));
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
}
