//! An axum server whose handlers wait in the ways that handlers do: for locks,
//! channels, timers, the blocking pool and other tasks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::{Stream, StreamExt};
use tokio::sync::{Mutex, RwLock, Semaphore, broadcast, mpsc, oneshot};
use tokio::time;
use tokio_stream::wrappers::BroadcastStream;

#[derive(Clone)]
struct App {
    counts: Arc<Mutex<HashMap<String, u64>>>,
    table: Arc<RwLock<Vec<u64>>>,
    permits: Arc<Semaphore>,
    jobs: mpsc::Sender<(u64, oneshot::Sender<u64>)>,
    events: broadcast::Sender<u64>,
}

async fn count(State(app): State<App>, Path(key): Path<String>) -> String {
    let mut counts = app.counts.lock().await;
    // A lock that is held across an await, for a short time.
    tokio::task::yield_now().await;
    let count = counts.entry(key).or_default();
    *count += 1;
    count.to_string()
}

async fn table(State(app): State<App>, Path(n): Path<u64>) -> String {
    if n % 8 == 0 {
        let mut table = app.table.write().await;
        table.push(n);
        table.truncate(100);
    }
    app.table.read().await.iter().sum::<u64>().to_string()
}

async fn limited(State(app): State<App>) -> &'static str {
    let _permit = app.permits.acquire().await.expect("the semaphore is open");
    time::sleep(Duration::from_millis(2)).await;
    "limited"
}

async fn job(State(app): State<App>, Path(n): Path<u64>) -> String {
    let (send, answer) = oneshot::channel();
    app.jobs.send((n, send)).await.expect("the worker runs");
    answer.await.expect("the worker answers").to_string()
}

async fn joined(Path(n): Path<u64>) -> String {
    let tasks = (0..4).map(|part| {
        tokio::spawn(async move {
            time::sleep(Duration::from_micros(n % 3_000)).await;
            part
        })
    });
    let mut sum = 0;
    for task in tasks.collect::<Vec<_>>() {
        sum += task.await.expect("the task ends");
    }
    sum.to_string()
}

async fn pool(Path(n): Path<u64>) -> String {
    let job = move || {
        std::thread::sleep(Duration::from_micros(n % 2_000));
        n + 1
    };
    tokio::task::spawn_blocking(job).await.expect("the job ends").to_string()
}

async fn raced(Path(n): Path<u64>) -> &'static str {
    tokio::select! {
        () = time::sleep(Duration::from_millis(n % 5)) => "first",
        () = time::sleep(Duration::from_millis(2)) => "second",
    }
}

async fn events(State(app): State<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = BroadcastStream::new(app.events.subscribe()).take(20);
    Sse::new(stream.map(|event| Ok(Event::default().data(event.unwrap_or_default().to_string()))))
}

#[tokio::main]
async fn main() {
    let (jobs, mut received) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(16);
    let (events_sender, _) = broadcast::channel(64);
    let app = App {
        counts: Arc::default(),
        table: Arc::default(),
        permits: Arc::new(Semaphore::new(4)),
        jobs,
        events: events_sender.clone(),
    };
    tokio::spawn(async move {
        while let Some((n, answer)) = received.recv().await {
            let _ = answer.send(n * 2);
        }
    });
    tokio::spawn(async move {
        let mut interval = time::interval(Duration::from_millis(20));
        for n in 0.. {
            interval.tick().await;
            let _ = events_sender.send(n);
        }
    });
    let routes = Router::new()
        .route("/count/{key}", get(count))
        .route("/table/{n}", get(table))
        .route("/limited", get(limited))
        .route("/job/{n}", get(job))
        .route("/joined/{n}", get(joined))
        .route("/pool/{n}", get(pool))
        .route("/raced/{n}", get(raced))
        .route("/events", get(events))
        .with_state(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    println!("{}", listener.local_addr().expect("the listener has an address"));
    axum::serve(listener, routes).await.expect("the server runs");
}
