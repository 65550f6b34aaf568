//! The workloads: polls that do nothing, messages between two tasks, echoes over
//! loopback.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::sample::{Sample, Timer};
use crate::setup::{Setup, Task};

const CONNECTIONS: usize = 100;

/// Runs a workload of a size. Size 1.0 takes at least about 100 ms with bare
/// Tokio.
type Run = fn(&Setup, f64) -> Sample;

pub fn named(workload: &str) -> Option<Run> {
    Some(match workload {
        "yield" => yields,
        "pingpong" => pingpong,
        "echo" => echo,
        _ => return None,
    })
}

fn steps(setup: &Setup, size: f64, each: f64) -> u64 {
    (each * size * setup.scale) as u64
}

/// 64 tasks that only yield.
fn yields(setup: &Setup, size: f64) -> Sample {
    const TASKS: u64 = 64;
    let each = steps(setup, size, 20_000.0);
    let timer = Timer::start();
    setup.run((0..TASKS).map(|_| {
        Box::pin(async move {
            for _ in 0..each {
                tokio::task::yield_now().await;
            }
        }) as Task
    }));
    timer.stop(TASKS * (each + 1))
}

/// 16 pairs of tasks that pass a message back and forth.
fn pingpong(setup: &Setup, size: f64) -> Sample {
    const PAIRS: u64 = 16;
    let each = steps(setup, size, 20_000.0);
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
    let timer = Timer::start();
    setup.run(tasks);
    timer.stop(PAIRS * each)
}

/// 100 connections, each with a client task and a server task that echo 64
/// bytes. The connections are made before the clock starts: their cost would be
/// a larger share for a peer that gets fewer steps.
fn echo(setup: &Setup, size: f64) -> Sample {
    let each = steps(setup, size, 600.0);
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
    let timer = Timer::start();
    setup.run(tasks);
    timer.stop(CONNECTIONS as u64 * each)
}
