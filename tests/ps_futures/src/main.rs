//! Tasks that wait at lines which the program itself prints.

use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(100_000);

/// Prints the line on which a function is about to wait.
fn waits_at(function: &str, line: u32) {
    println!("waits {function} {line}");
}

/// Prints a fact that the test compares with what it reads.
fn fact(name: &str, value: impl std::fmt::Display) {
    println!("fact {name} {value}");
}

async fn inner(notify: Arc<Notify>, big: [u64; 40]) -> u64 {
    waits_at("inner", line!() + 1);
    notify.notified().await;
    big[3]
}

async fn outer(notify: Arc<Notify>) -> String {
    let text = String::from("kept across the await");
    waits_at("outer", line!() + 1);
    let number = inner(notify, [7; 40]).await;
    format!("{text}{number}")
}

async fn sleeps() {
    waits_at("sleeps", line!() + 1);
    tokio::time::sleep(LONG).await;
}

async fn waits_for_lock(lock: Arc<Mutex<u8>>) -> u8 {
    waits_at("waits_for_lock", line!() + 1);
    *lock.lock().await
}

async fn waits_for_permit(permits: Arc<Semaphore>) {
    waits_at("waits_for_permit", line!() + 1);
    let _permit = permits.acquire().await;
}

async fn receives(mut receiver: mpsc::Receiver<u64>) -> Option<u64> {
    waits_at("receives", line!() + 1);
    receiver.recv().await
}

async fn receives_one(receiver: oneshot::Receiver<u64>) -> Option<u64> {
    waits_at("receives_one", line!() + 1);
    receiver.await.ok()
}

async fn joins(handle: JoinHandle<()>) {
    waits_at("joins", line!() + 1);
    let _ = handle.await;
}

async fn reads(mut stream: TcpStream) -> usize {
    let mut bytes = [0; 16];
    waits_at("reads", line!() + 1);
    stream.read(&mut bytes).await.unwrap_or_default()
}

async fn accepts(listener: TcpListener) {
    waits_at("accepts", line!() + 1);
    let _ = listener.accept().await;
}

async fn boxed(future: Pin<Box<dyn Future<Output = String> + Send>>) {
    waits_at("boxed", line!() + 1);
    future.await;
}

async fn limited(notify: Arc<Notify>) {
    waits_at("limited", line!() + 1);
    let _ = tokio::time::timeout(LONG, inner(notify, [8; 40])).await;
}

async fn selects(notify: Arc<Notify>) {
    waits_at("selects", line!() + 1);
    tokio::select! {
        _ = inner(notify, [9; 40]) => {}
        () = sleeps() => {}
    }
}

async fn collects() {
    let mut futures: FuturesUnordered<_> = (0..3).map(|_| sleeps()).collect();
    waits_at("collects", line!() + 1);
    futures.next().await;
}

fn recursive(depth: u32) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if depth > 0 {
            waits_at("recursive", line!() + 1);
            recursive(depth - 1).await;
        }
        std::future::pending::<()>().await;
    })
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let notify = Arc::new(Notify::new());
    let lock = Arc::new(Mutex::new(1));
    let _guard = lock.lock().await;
    let permits = Arc::new(Semaphore::new(0));
    let (_sender, receiver) = mpsc::channel(1);
    let (_one_sender, one_receiver) = oneshot::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the port is free");
    let address = listener.local_addr().expect("the socket is bound");
    let stream = TcpStream::connect(address).await.expect("the listener is open");
    let (_peer, _) = listener.accept().await.expect("the peer has connected");
    fact("listener", address);
    let joined = tokio::spawn(sleeps());
    tokio::spawn(outer(Arc::clone(&notify)));
    tokio::spawn(waits_for_lock(Arc::clone(&lock)));
    tokio::spawn(waits_for_permit(permits));
    tokio::spawn(receives(receiver));
    tokio::spawn(receives_one(one_receiver));
    tokio::spawn(joins(joined));
    tokio::spawn(reads(stream));
    tokio::spawn(accepts(listener));
    tokio::spawn(boxed(Box::pin(outer(Arc::clone(&notify)))));
    tokio::spawn(limited(Arc::clone(&notify)));
    tokio::spawn(selects(Arc::clone(&notify)));
    tokio::spawn(collects());
    tokio::spawn(recursive(2));
    println!("ready");
    // The program ends when its standard input is closed.
    let end = std::thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    while !end.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
