//! The `.hlog` of a run: a histogram for each second, written during the run.

use std::fs::File;
use std::io::{self, LineWriter};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use super::interval_latencies::IntervalLatencies;
use super::run_state::RunState;

/// The length of an interval.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Divisor of the maxima in the log: readers of the format expect them in
/// milliseconds.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

/// A log that is being written on a separate thread, because writing a file
/// must not block the loop that receives.
#[derive(Debug)]
pub(crate) struct IntervalLog {
    last_interval: Sender<IntervalLatencies>,
    thread: JoinHandle<io::Result<()>>,
}

impl IntervalLog {
    /// Starts writing to `path`.
    pub(crate) fn start(path: &Path, state: Arc<RunState>) -> io::Result<Self> {
        let file = LineWriter::new(File::create(path)?);
        let (last_interval, messages) = mpsc::channel();
        let thread = thread::Builder::new().name("hlog".into()).spawn(move || {
            let mut file = file;
            write(&mut file, &state, &messages)
        })?;
        Ok(Self { last_interval, thread })
    }

    /// Writes the last interval and ends the log.
    pub(crate) fn finish(self, last: IntervalLatencies) -> io::Result<()> {
        // If the thread has ended already, joining it returns the reason.
        let _ = self.last_interval.send(last);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the log has panicked")))
    }
}

type Writer<'a, 'b> = IntervalLogWriter<'a, 'b, LineWriter<File>, V2DeflateSerializer>;

fn write(
    file: &mut LineWriter<File>,
    state: &RunState,
    last_interval: &mpsc::Receiver<IntervalLatencies>,
) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let (begin, start) = (Instant::now(), SystemTime::now());
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment(
            "loadgen: nanoseconds; tag latency from due time to receipt, service from send to receipt",
        )
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND)
        .begin_log_with(file, &mut serializer)?;
    let mut from = Duration::ZERO;
    loop {
        let next = (from + LOG_INTERVAL).saturating_sub(begin.elapsed());
        let message = last_interval.recv_timeout(next);
        let to = begin.elapsed();
        match message {
            Ok(interval) => return write_interval(&mut writer, &interval, from, to),
            Err(RecvTimeoutError::Timeout) => write_interval(&mut writer, &state.take_interval(), from, to)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        from = to;
    }
}

fn write_interval(
    writer: &mut Writer<'_, '_>,
    interval: &IntervalLatencies,
    from: Duration,
    to: Duration,
) -> io::Result<()> {
    for (tag, histogram) in [("latency", &interval.latency), ("service", &interval.service)] {
        writer.write_histogram(histogram, from, to.saturating_sub(from), Tag::new(tag)).map_err(|error| {
            match error {
                IntervalLogWriterError::IoError(error) => error,
                error => io::Error::other(format!("{error:?}")),
            }
        })?;
    }
    Ok(())
}
