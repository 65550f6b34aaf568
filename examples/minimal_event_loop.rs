//! What an event loop is, with nothing but the standard library: a queue of tasks
//! that are ready, a thread that polls them in turn, and wakers that put them back.
//! And what "blocking the event loop" means: see how late the clock is.
//!
//! `cargo run --example minimal_event_loop`

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    println!("every task gives way at its `.await`:");
    run(vec![Box::pin(clock("polite")), Box::pin(polite())]);
    println!("one task holds the thread for 60 ms:");
    run(vec![Box::pin(clock("blocked")), Box::pin(rude())]);
}

/// Ticks every 10 ms and says how late the latest tick was.
async fn clock(name: &str) {
    let mut latest = Duration::ZERO;
    for _ in 0..8 {
        let due = Instant::now() + Duration::from_millis(10);
        Timer::until(due).await;
        latest = latest.max(due.elapsed());
    }
    println!("  the {name} clock ticked up to {} ms late", latest.as_millis());
}

async fn polite() {
    Timer::until(Instant::now() + Duration::from_millis(60)).await;
}

/// The mistake: nobody else is polled until this returns.
async fn rude() {
    Timer::until(Instant::now() + Duration::from_millis(5)).await;
    thread::sleep(Duration::from_millis(60));
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The event loop: polls what is ready, and sleeps while nothing is.
fn run(tasks: Vec<Task>) {
    let ready = Arc::new(Ready::default());
    (0..tasks.len()).for_each(|number| ready.push(number));
    let mut tasks: Vec<Option<Task>> = tasks.into_iter().map(Some).collect();
    while tasks.iter().any(Option::is_some) {
        let number = ready.pop();
        let waker = Waker::from(Arc::new(TaskWaker { number, ready: ready.clone() }));
        let task = &mut tasks[number];
        // A task that is done may still be woken.
        let done =
            task.as_mut().is_some_and(|it| it.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        if done {
            *task = None;
        }
    }
}

/// The numbers of the tasks that have something to do.
#[derive(Default)]
struct Ready {
    queue: Mutex<VecDeque<usize>>,
    filled: Condvar,
}

impl Ready {
    fn queue(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, number: usize) {
        self.queue().push_back(number);
        self.filled.notify_one();
    }

    fn pop(&self) -> usize {
        let mut queue = self.queue();
        loop {
            match queue.pop_front() {
                Some(number) => return number,
                None => queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Waking a task is putting its number into the queue, from any thread.
struct TaskWaker {
    number: usize,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.number);
    }
}

/// Done at a time: it leaves its waker with somebody who keeps the time, here a thread of its own.
struct Timer {
    due: Instant,
    shared: Arc<Mutex<Option<Waker>>>,
    started: bool,
}

impl Timer {
    fn until(due: Instant) -> Self {
        Timer { due, shared: Arc::default(), started: false }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        // The newest waker counts, as the task may have moved since the last poll.
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if !std::mem::replace(&mut self.started, true) {
            let (due, shared) = (self.due, self.shared.clone());
            thread::spawn(move || {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let waker = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                waker.into_iter().for_each(Waker::wake);
            });
        }
        Poll::Pending
    }
}
