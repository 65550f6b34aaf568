//! Runs a program and waits for it.

use std::process::Command;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    let status = Command::new("sleep").arg(stall.as_secs_f64().to_string()).status(); // BLOCKS: child std::process::Command::status
    assert!(status.unwrap().success());
}
