//! Runs a program and waits for its output.

use std::process::Command;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    let output = Command::new("sleep").arg(stall.as_secs_f64().to_string()).output(); // BLOCKS: child std::process::Command::output
    assert!(output.unwrap().status.success());
}
