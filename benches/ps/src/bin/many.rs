//! Many tasks in a large heap: `many TASKS HEAP_MIB`.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::{Mutex, Notify};
use tokio::time;

const BLOCK_WORDS: u64 = 8192;
const BLOCKS_IN_MIB: usize = 16;

async fn lock(mutex: Arc<Mutex<u64>>) -> u64 {
    *mutex.lock().await
}

async fn session(
    kind: usize,
    mutex: Arc<Mutex<u64>>,
    notify: Arc<Notify>,
    mut messages: Receiver<u64>,
) -> u64 {
    match kind {
        0 => lock(mutex).await,
        1 => {
            notify.notified().await;
            0
        }
        2 => messages.recv().await.unwrap_or(0),
        _ => {
            time::sleep(Duration::from_secs(100_000)).await;
            0
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let numbers: Vec<usize> = env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [tasks, heap_mib] = numbers[..] else { panic!("usage: many TASKS HEAP_MIB") };
    let block =
        |seed: usize| (0..BLOCK_WORDS).map(move |at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed as u64);
    let heap: Vec<Vec<u64>> = (0..heap_mib * BLOCKS_IN_MIB).map(|seed| block(seed).collect()).collect();
    let (mutex, notify) = (Arc::new(Mutex::new(0)), Arc::new(Notify::new()));
    let guard = mutex.lock().await;
    let mut kept = Vec::new();
    for number in 0..tasks {
        let (sender, messages) = mpsc::channel(1);
        kept.push((sender, tokio::spawn(session(number % 4, mutex.clone(), notify.clone(), messages))));
    }
    println!("{tasks} tasks, {} MiB", heap.len() / BLOCKS_IN_MIB);
    std::future::pending::<()>().await;
    drop((guard, kept));
}
