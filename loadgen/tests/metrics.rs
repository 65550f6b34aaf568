//! `--metrics` serves the run's figures for Prometheus while the run lasts.

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use support::chat::{Faults, Server};
use support::program::{command, loadgen};

fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    text
}

/// Returns the sum of all series of `name`.
fn sum(text: &str, name: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        (series.split('{').next() == Some(name)).then(|| value.parse::<f64>().expect("a number"))
    });
    values.sum()
}

#[test]
fn metrics_are_served_during_the_run() {
    let server = Server::start(Faults::default());
    let target = server.address.to_string();
    let run = ["run", "--target", &target, "--metrics", "127.0.0.1:0", "--max-send-lag", "10s", "--quiet"];
    let plan = [
        "--connections",
        "10",
        "--rooms",
        "2",
        "--ramp",
        "0s",
        "--duration",
        "10m",
        "--rate",
        "200",
        "--mix",
        "privmsg",
    ];
    let mut command = command(&[&run[..], &plan].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("text");
    let url = line.trim().strip_prefix("metrics: http://").expect("where it serves");
    let address = url.strip_suffix("/metrics").expect("the route");
    let text = loop {
        let text = get(address);
        if sum(&text, "loadgen_deliveries_total") >= 100.0 {
            break text;
        }
        assert!(child.try_wait().expect("a child").is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(sum(&text, "loadgen_connections"), 10.0);
    assert_eq!(sum(&text, "loadgen_target_rate"), 200.0);
    assert!(sum(&text, "loadgen_commands_sent_total") >= 25.0, "{text}");
    assert!(sum(&text, "loadgen_latency_seconds_count") >= 100.0, "{text}");
    assert_eq!(sum(&text, "loadgen_failures_total"), 0.0);
    assert!(text.contains("loadgen_failures_total{kind=\"timeout\"} 0"), "{text}");
    assert!(text.contains("loopscope_worker_polls_total"), "the generator's own event loop is included");
}

#[test]
fn a_port_in_use_is_reported_in_one_sentence() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let outcome = loadgen(&["run", "--target", "127.0.0.1:1", "--metrics", &address]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(&address), "{}", outcome.stderr);
}
