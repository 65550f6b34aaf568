//! Waits for a child process that was started earlier.

use std::process::Command;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let mut child = Command::new("sleep").arg(stall.as_secs_f64().to_string()).spawn().unwrap();
    async move {
        let status = child.wait(); // BLOCKS: child std::process::Child::wait
        assert!(status.unwrap().success());
    }
}
