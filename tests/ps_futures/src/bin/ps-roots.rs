//! Futures of `block_on` that wait at a line which the program itself prints.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio::task::LocalSet;

const LONG: Duration = Duration::from_secs(100_000);

async fn sleeps() {
    println!("waits {}", line!() + 1);
    tokio::time::sleep(LONG).await;
}

async fn waits(kept: [u64; 40]) -> u64 {
    sleeps().await;
    kept[3]
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The example of RFD 609 of Oxide: a future that is next to get a lock is not
/// polled any more, and its task waits for the same lock.
async fn futurelock(lock: Arc<Mutex<u8>>) {
    let guard = Arc::clone(&lock).lock_owned().await;
    let mut first = Box::pin(locks(&lock));
    tokio::select! {
        () = &mut first => {}
        () = tokio::time::sleep(Duration::from_millis(10)) => {
            drop(guard);
            println!("waits {}", line!() + 1);
            locks(&lock).await;
        }
    }
}

async fn locks(lock: &Mutex<u8>) {
    *lock.lock().await += 1;
}

fn main() {
    // The program ends when its standard input is closed.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match std::env::args().nth(1).unwrap_or_default().as_str() {
        "multi_thread" => drop(multi_thread().block_on(waits([1; 40]))),
        "current_thread" => drop(current_thread().block_on(waits([2; 40]))),
        "handle" => drop(multi_thread().handle().block_on(waits([3; 40]))),
        "local_set" => drop(LocalSet::new().block_on(&current_thread(), waits([4; 40]))),
        "futurelock" => multi_thread().block_on(futurelock(Arc::default())),
        other => panic!("there is no case `{other}`"),
    }
}
