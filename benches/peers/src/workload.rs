//! What is measured: polls that do nothing, messages between two tasks, echoes
//! over loopback.

use std::{process::exit, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::setup::{Setup, Task};

const CONNECTIONS: usize = 100;

/// Nanoseconds a step: a poll, a message there and back, an echo.
pub fn run(workload: &str, setup: &mut Setup, size: f64) -> f64 {
    let steps = |n: f64| (n * size * setup.scale) as u64;
    let begin = Instant::now();
    let done = match workload {
        "yield" => yields(setup, steps(20_000.0)),
        "pingpong" => pingpong(setup, steps(20_000.0)),
        "echo" => echo(setup, steps(600.0)),
        _ => {
            eprintln!("peers: the workload is `yield`, `pingpong` or `echo`, not `{workload}`");
            exit(2);
        }
    };
    begin.elapsed().as_nanos() as f64 / done as f64
}

/// 64 tasks that do nothing but yield.
fn yields(setup: &Setup, each: u64) -> u64 {
    const TASKS: u64 = 64;
    setup.run((0..TASKS).map(|_| {
        Box::pin(async move {
            for _ in 0..each {
                tokio::task::yield_now().await;
            }
        }) as Task
    }));
    TASKS * (each + 1)
}

/// 16 pairs of tasks that pass a message to and fro.
fn pingpong(setup: &Setup, each: u64) -> u64 {
    const PAIRS: u64 = 16;
    let tasks = (0..PAIRS).flat_map(|_| {
        let (there, mut here) = mpsc::channel::<u64>(1);
        let (back, mut answer) = mpsc::channel::<u64>(1);
        let ping = async move {
            for n in 0..each {
                there.send(n).await.expect("the other lives");
                answer.recv().await.expect("the other lives");
            }
        };
        let pong = async move {
            while let Some(n) = here.recv().await {
                if back.send(n).await.is_err() {
                    break;
                }
            }
        };
        [Box::pin(ping) as Task, Box::pin(pong) as Task]
    });
    setup.run(tasks);
    PAIRS * each
}

/// 100 connections, each a client and a server task that echo 64 bytes.
fn echo(setup: &Setup, each: u64) -> u64 {
    let connections = setup.runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
            connections.push((client.expect("connected"), server.expect("accepted").0));
        }
        connections
    });
    let tasks = connections.into_iter().flat_map(|(mut client, mut server)| {
        let asks = async move {
            let mut bytes = [7_u8; 64];
            for _ in 0..each {
                client.write_all(&bytes).await.expect("written");
                client.read_exact(&mut bytes).await.expect("read");
            }
        };
        let answers = async move {
            let mut bytes = [0_u8; 64];
            while server.read_exact(&mut bytes).await.is_ok() {
                server.write_all(&bytes).await.expect("written");
            }
        };
        [Box::pin(asks) as Task, Box::pin(answers) as Task]
    });
    setup.run(tasks);
    CONNECTIONS as u64 * each
}
