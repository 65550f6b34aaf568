//! `loopscope attach`.

use std::thread;
use std::time::{Duration, Instant};

use loopscope::Terminal;
use loopscope::attach::Watch;

use crate::args::AttachArgs;

/// How often it is checked whether the watch is over.
const CHECK_PERIOD: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &AttachArgs) -> anyhow::Result<()> {
    let mut builder = Watch::builder(args.pid).terminal(Terminal::Always);
    if let Some(threshold) = args.threshold {
        builder = builder.blocking_threshold(threshold);
    }
    if let Some(address) = args.telemetry {
        builder = builder.telemetry(address);
    }
    let watch = builder.start()?;
    let end = args.duration.map(|duration| Instant::now() + duration);
    while !watch.has_ended() && end.is_none_or(|end| Instant::now() < end) {
        thread::sleep(CHECK_PERIOD);
    }
    let loops = watch.loops();
    let document = watch.finish();
    eprintln!("loopscope: watched {loops} event loops; {} findings", document.findings.len());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    }
    Ok(())
}
