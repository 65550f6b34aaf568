//! Measures what a scrape costs: the time of a request for `/metrics`, in both
//! formats, over an open connection. The process has two workers and the
//! maximum number of task kinds.
//!
//! `cargo bench --bench scrape --features telemetry`

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use loopscope::{Named, Scope, Terminal};
use tokio::runtime::Builder;

const KINDS: usize = 256;
const SCRAPES: usize = 500;

fn main() {
    let address = "127.0.0.1:0".parse().expect("an address");
    let scope = Scope::builder().terminal(Terminal::Never).telemetry(address).start().expect("a scope");
    let mut builder = Builder::new_multi_thread();
    let runtime = scope.watch(builder.worker_threads(2).enable_all()).build().expect("a runtime");
    runtime.block_on(async {
        for kind in 0..KINDS {
            let name: &'static str = format!("src/module_{}/file.rs:{kind}:9", kind % 10).leak();
            let tasks: Vec<_> = (0..4_u32).map(|task| tokio::spawn(polls(task).named(name))).collect();
            for task in tasks {
                task.await.expect("a task");
            }
        }
    });
    let mut snapshots = durations(|| drop(scope.snapshot()));
    println!("a snapshot: {}", summary(&mut snapshots));
    let mut client = Client::new(scope.telemetry_address().expect("telemetry"));
    for (name, accept) in
        [("text 0.0.4", "text/plain"), ("OpenMetrics", "application/openmetrics-text;version=1.0.0")]
    {
        let bytes = client.get("/metrics", accept);
        print_measurement(&format!("/metrics, {name}"), bytes.len(), || drop(client.get("/metrics", accept)));
    }
    let bytes = client.get("/live", "*/*");
    print_measurement("/live", bytes.len(), || drop(client.get("/live", "*/*")));
}

fn print_measurement(what: &str, bytes: usize, work: impl FnMut()) {
    let before = telemetry_cpu();
    let mut answers = durations(work);
    let cpu = (telemetry_cpu() - before) / SCRAPES as u32;
    println!("{what}, {} KB: {}, {cpu:.2?} CPU time of the thread", bytes / 1024, summary(&mut answers));
}

/// Returns the CPU time that the telemetry thread has used. It does not depend
/// on other load on the machine.
fn telemetry_cpu() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let is_telemetry = |path: &Path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == "loopscope-http")
    };
    let run = |path: &Path| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    threads.map(|thread| thread.path()).filter(|path| is_telemetry(path)).filter_map(|path| run(&path)).sum()
}

/// Polls for up to 30 µs each, so that many buckets of a histogram are in use.
async fn polls(task: u32) {
    for poll in 0..50_u32 {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_nanos(u64::from(poll * poll * (task + 1) * 3)) {}
        tokio::task::yield_now().await;
    }
}

fn durations(mut work: impl FnMut()) -> Vec<Duration> {
    (0..SCRAPES)
        .map(|_| {
            let begin = Instant::now();
            work();
            begin.elapsed()
        })
        .collect()
}

fn summary(durations: &mut [Duration]) -> String {
    durations.sort();
    format!(
        "median {:.2?}, p99 {:.2?}",
        durations[durations.len() / 2],
        durations[durations.len() * 99 / 100]
    )
}

struct Client {
    reader: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self { reader: BufReader::with_capacity(1 << 20, stream), address }
    }

    fn get(&mut self, path: &str, accept: &str) -> Vec<u8> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\n\r\n", self.address);
        self.reader.get_mut().write_all(request.as_bytes()).expect("a request");
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("a head");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).expect("a body");
        body
    }
}
