//! A minimal event loop with nothing but the standard library: a queue of ready
//! tasks, a thread that polls one after the other, and wakers that put tasks
//! back into the queue. It shows what "blocking the event loop" means: a task
//! that ticks every 10 ms measures how late its ticks are.
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
    println!("every task yields at its `.await`:");
    run(vec![Box::pin(measure_ticks()), Box::pin(yielding())]);
    println!("one task blocks the thread for 60 ms:");
    run(vec![Box::pin(measure_ticks()), Box::pin(blocking())]);
}

/// Ticks every 10 ms and prints the largest delay of a tick.
async fn measure_ticks() {
    let mut max_delay = Duration::ZERO;
    for _ in 0..8 {
        let due = Instant::now() + Duration::from_millis(10);
        Timer::until(due).await;
        max_delay = max_delay.max(due.elapsed());
    }
    println!("  ticks were up to {} ms late", max_delay.as_millis());
}

async fn yielding() {
    Timer::until(Instant::now() + Duration::from_millis(60)).await;
}

/// The mistake: no other task is polled until the sleep returns.
async fn blocking() {
    Timer::until(Instant::now() + Duration::from_millis(5)).await;
    thread::sleep(Duration::from_millis(60));
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The event loop: polls ready tasks, and sleeps while no task is ready.
fn run(tasks: Vec<Task>) {
    let ready = Arc::new(Ready::default());
    (0..tasks.len()).for_each(|number| ready.push(number));
    let mut tasks: Vec<Option<Task>> = tasks.into_iter().map(Some).collect();
    while tasks.iter().any(Option::is_some) {
        let number = ready.pop();
        let waker = Waker::from(Arc::new(TaskWaker { number, ready: ready.clone() }));
        let task = &mut tasks[number];
        // A wake may also arrive after the task is done.
        let is_done =
            task.as_mut().is_some_and(|task| task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        if is_done {
            *task = None;
        }
    }
}

/// The queue of ready tasks, by their numbers.
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

/// Wakes a task: any thread can put the task's number into the queue.
struct TaskWaker {
    number: usize,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.number);
    }
}

/// A future that is ready at the time `due`. It gives its waker to a new
/// thread, which sleeps until then and wakes the task.
struct Timer {
    due: Instant,
    shared: Arc<Mutex<Option<Waker>>>,
    started: bool,
}

impl Timer {
    fn until(due: Instant) -> Self {
        Self { due, shared: Arc::default(), started: false }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        // Stores the newest waker: the task may have moved since the last poll.
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
