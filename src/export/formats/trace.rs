//! Writes past polls and stalls as a trace that Perfetto and Chrome open.

use serde_json::{Value, json};

use crate::finding::{FindingsDocument, StallsDocument};
use crate::report;
use crate::snapshot::FlightPoll;
use crate::unix_time;

/// Creates the trace, with one row for each worker.
pub(crate) fn document(polls: &[FlightPoll], stalls: &StallsDocument, findings: &FindingsDocument) -> Value {
    let pid = findings.process.pid;
    let mut rows = TraceRows { pid, workers: Vec::new(), events: Vec::new() };
    for poll in polls {
        let args = json!({ "kind": poll.kind });
        rows.add_span("poll", &poll.kind, &poll.worker, (poll.start_unix_ns, poll.end_unix_ns), &args);
    }
    for stall in &stalls.stalls {
        let finding = findings.findings.iter().find(|finding| Some(&finding.id) == stall.finding.as_ref());
        let name = finding.map_or_else(|| "stall".to_owned(), report::text::title);
        let site = finding.and_then(|finding| finding.site.as_ref()).map(ToString::to_string);
        let ongoing = stall.end.is_none();
        let args = json!({ "finding": stall.finding, "site": site, "ongoing": ongoing });
        let span = (unix_time::to_nanos(stall.start), unix_time::to_nanos(stall.end.unwrap_or(stalls.now)));
        rows.add_span("stall", &name, &stall.worker, span, &args);
    }
    let process = json!({ "name": findings.process.program });
    rows.events.push(json!({ "ph": "M", "name": "process_name", "pid": pid, "args": process }));
    json!({ "displayTimeUnit": "ms", "traceEvents": rows.events })
}

/// The events so far. The row of a worker is its index in `workers` plus one.
struct TraceRows<'d> {
    pid: u32,
    workers: Vec<&'d str>,
    events: Vec<Value>,
}

impl<'d> TraceRows<'d> {
    fn add_span(
        &mut self,
        category: &str,
        name: &str,
        worker: &'d str,
        (start, end): (u64, u64),
        args: &Value,
    ) {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let (pid, tid) = (self.pid, self.row(worker));
        self.events.push(json!({
            "ph": "X", "cat": category, "name": name, "pid": pid, "tid": tid,
            "ts": micros(start), "dur": micros(end.saturating_sub(start)), "args": args,
        }));
    }

    fn row(&mut self, worker: &'d str) -> usize {
        if let Some(index) = self.workers.iter().position(|known| *known == worker) {
            return index + 1;
        }
        self.workers.push(worker);
        let (pid, tid) = (self.pid, self.workers.len());
        let args = json!({ "name": format!("worker {worker}") });
        self.events.push(json!({ "ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": args }));
        tid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fake::FakeSource;
    use crate::export::source::Source;

    #[test]
    fn a_stall_and_its_poll_are_in_the_row_of_their_worker() {
        let source = FakeSource::new();
        let document = document(&source.flight(0), &source.stalls(None), &source.findings());
        let events = document["traceEvents"].as_array().unwrap();
        let in_category =
            |category: &str| events.iter().filter(|event| event["cat"] == category).collect::<Vec<_>>();
        let (polls, stalls) = (in_category("poll"), in_category("stall"));
        assert_eq!((polls.len(), stalls.len()), (1, 2));
        assert_eq!((&polls[0]["name"], &polls[0]["ts"]), (&json!("session"), &json!(1_000_000.0)));
        assert_eq!(polls[0]["dur"], stalls[0]["dur"]);
        assert_eq!(polls[0]["tid"], stalls[0]["tid"]);
        assert_eq!(stalls[0]["args"]["site"], "src/flood.rs:31");
        let row_names = events.iter().filter(|event| event["name"] == "thread_name");
        assert_eq!(row_names.map(|event| &event["args"]["name"]).collect::<Vec<_>>(), ["worker 0"]);
    }
}
