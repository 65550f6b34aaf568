//! A process with 2,000 tasks that changes while it is read: `changing MODE`.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::{task, time};

const TASKS: usize = 2000;
const TIME_UNTIL_EXEC: Duration = Duration::from_millis(120);
const BLOCK_BYTES: usize = 1 << 20;

async fn inner(notify: Arc<Notify>) {
    notify.notified().await;
}

async fn session(notify: Arc<Notify>) {
    inner(notify).await;
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mode = env::args().nth(1).unwrap_or_default();
    let notify = Arc::new(Notify::new());
    for _ in 0..TASKS {
        tokio::spawn(session(notify.clone()));
    }
    println!("ready");
    match mode.as_str() {
        "exec" => {
            time::sleep(TIME_UNTIL_EXEC).await;
            let program = env::current_exe().expect("the program has a path");
            panic!("{}", Command::new(program).arg(mode).stdout(Stdio::null()).exec());
        }
        "fork" => loop {
            let _ = Command::new("true").status();
            task::yield_now().await;
        },
        "grow" => loop {
            let mut blocks = Vec::new();
            for number in 0..200_u8 {
                blocks.push(vec![number; BLOCK_BYTES]);
                for _ in 0..20 {
                    tokio::spawn(session(notify.clone()));
                }
                task::yield_now().await;
            }
            notify.notify_waiters();
        },
        _ => std::future::pending().await,
    }
}
