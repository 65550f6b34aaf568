//! Writes past polls and stalls as a trace that Perfetto and Chrome open.

mod event;
mod slices;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use crate::export::formats::trace::event::{
    Args, Event, FindingArgs, OtherData, PollArgs, StallArgs, TraceDocument,
};
use crate::export::formats::trace::slices::{Content, Slice};
use crate::finding::{Finding, FindingsDocument};
use crate::snapshot::{FlightPoll, FlightRecording, FlightStall};
use crate::unix_time;

/// All times are multiples of this. It is a power of two in microseconds and a
/// whole number of nanoseconds. So readers that compute in floating point
/// microseconds and those that compute in whole nanoseconds both get exact
/// sums: an end equals the start of the next slice, or the end of the slice
/// around it, if they are equal here.
const GRAIN_NANOS: u64 = 125;
/// The same in microseconds.
const GRAIN_MICROS: f64 = 0.125;

/// The maximum size of all polls in the document; stalls are limited in number.
/// The newest polls remain.
const MAX_POLL_BYTES: usize = 8 << 20;
/// The size of a poll in the document without its name.
const POLL_BYTES: usize = 120;
/// A longer name is cut.
const MAX_NAME_BYTES: usize = 256;

/// The slices of one thread.
struct Row<'d> {
    tid: u32,
    /// The labels of its workers: more than one if the thread belonged to
    /// several runtimes.
    labels: BTreeSet<&'d str>,
    slices: Vec<Slice<'d>>,
}

/// Creates the trace, with one row for each thread.
pub(crate) fn document<'d>(
    recording: &'d FlightRecording,
    findings: &'d FindingsDocument,
) -> TraceDocument<'d> {
    let names = kind_names(&recording.kinds);
    let polls = newest_polls(recording, &names);
    let rows = rows(recording, &polls);
    let starts = rows.iter().flat_map(|row| row.slices.first()).map(|slice| slice.start);
    let begin = starts.min().unwrap_or(recording.now_nanos);
    let by_id = findings.findings.iter().map(|finding| (finding.id.as_str(), finding)).collect();
    let writer = Writer { pid: findings.process.pid, begin, names: &names, findings: by_id };
    let mut slices: Vec<_> =
        rows.iter().flat_map(|row| row.slices.iter().map(|slice| (row.tid, slice))).collect();
    // It is stable, so a poll stays before its stalls.
    slices.sort_by_key(|(_, slice)| slice.start);
    let mut trace_events = writer.names_of(&findings.process.program, &rows);
    trace_events.extend(slices.into_iter().map(|(tid, slice)| writer.slice(tid, slice)));
    let end = unix_time::since_epoch(recording.now);
    let length = Duration::from_nanos(recording.now_nanos.saturating_sub(begin));
    let other_data = OtherData {
        begin_unix_seconds: end.saturating_sub(length).as_secs_f64(),
        end_unix_seconds: end.as_secs_f64(),
        program: &findings.process.program,
        loopscope: &findings.process.loopscope,
        threshold_seconds: findings.threshold.as_secs_f64(),
        omitted_polls: recording.polls.len() - polls.len(),
    };
    TraceDocument { display_time_unit: "ms", other_data, trace_events }
}

/// Returns the names of slices by kind. Names of two kinds stay different.
fn kind_names(kinds: &[String]) -> Vec<Cow<'_, str>> {
    let name = |(index, kind)| match cut(kind) {
        Cow::Owned(cut) => Cow::Owned(format!("{cut} #{index}")),
        whole => whole,
    };
    kinds.iter().map(String::as_str).enumerate().map(name).collect()
}

fn cut(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_NAME_BYTES {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("{}…", &name[..name.floor_char_boundary(MAX_NAME_BYTES)]))
}

/// Returns the polls that ended last, as many as the document may contain.
fn newest_polls<'d>(recording: &'d FlightRecording, names: &[Cow<'_, str>]) -> Vec<&'d FlightPoll> {
    let name_bytes = |name: &Cow<'_, str>| serde_json::to_string(name).map_or(0, |json| json.len());
    let name_bytes: Vec<_> = names.iter().map(name_bytes).collect();
    let bytes = |poll: &FlightPoll| POLL_BYTES + name_bytes.get(poll.kind).copied().unwrap_or(0);
    let mut polls: Vec<_> = recording.polls.iter().collect();
    if polls.iter().map(|poll| bytes(poll)).sum::<usize>() > MAX_POLL_BYTES {
        polls.sort_by_key(|poll| Reverse(poll.end_nanos.unwrap_or(u64::MAX)));
        let mut sum = 0;
        let is_within = |poll: &&&FlightPoll| {
            sum += bytes(poll);
            sum <= MAX_POLL_BYTES
        };
        let kept = polls.iter().take_while(is_within).count();
        polls.truncate(kept);
    }
    polls
}

/// Returns the threads that have slices, in the order of their labels.
fn rows<'d>(recording: &'d FlightRecording, polls: &[&'d FlightPoll]) -> Vec<Row<'d>> {
    let mut of_threads: BTreeMap<u32, (Vec<&FlightPoll>, Vec<&FlightStall>)> = BTreeMap::new();
    for poll in polls {
        of_threads.entry(poll.tid).or_default().0.push(poll);
    }
    for stall in &recording.stalls {
        of_threads.entry(stall.thread.tid).or_default().1.push(stall);
    }
    let threads = recording.threads.iter().chain(recording.stalls.iter().map(|stall| &stall.thread));
    let mut labels: HashMap<u32, BTreeSet<&str>> = HashMap::new();
    for thread in threads {
        labels.entry(thread.tid).or_default().insert(&thread.label);
    }
    let row = |(tid, (polls, stalls)): (u32, (Vec<_>, Vec<_>))| {
        let slices = slices::of_thread(&polls, &stalls, recording.now_nanos, &recording.kinds);
        Row { tid, labels: labels.remove(&tid).unwrap_or_default(), slices }
    };
    let mut rows: Vec<_> = of_threads.into_iter().map(row).collect();
    rows.sort_by_key(|row| row.labels.iter().map(|label| label_order(label)).min());
    rows
}

/// Returns a key that sorts labels by runtime, then by the worker's number. The
/// threads that are not workers come last.
fn label_order(label: &str) -> (&str, u64, &str) {
    let (runtime, worker) = label.rsplit_once('/').unwrap_or(("", label));
    (runtime, worker.parse().unwrap_or(u64::MAX), worker)
}

/// Writes the events.
struct Writer<'d, 'n> {
    pid: u32,
    begin: u64,
    names: &'n [Cow<'d, str>],
    findings: HashMap<&'d str, &'d Finding>,
}

impl<'d> Writer<'d, '_> {
    /// Returns the events that name the process and the threads.
    fn names_of(&self, program: &'d str, rows: &[Row<'_>]) -> Vec<Event<'d>> {
        let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program);
        let mut events =
            vec![self.metadata("process_name", self.pid, Args::Name { name: Cow::Borrowed(name) })];
        for (sort_index, row) in rows.iter().enumerate() {
            let labels: Vec<_> = row.labels.iter().copied().collect();
            let name = cut(&format!("worker {}", labels.join(", "))).into_owned();
            events.push(self.metadata("thread_name", row.tid, Args::Name { name: Cow::Owned(name) }));
            events.push(self.metadata("thread_sort_index", row.tid, Args::SortIndex { sort_index }));
        }
        events
    }

    fn metadata(&self, name: &'static str, tid: u32, args: Args<'d>) -> Event<'d> {
        let name = Cow::Borrowed(name);
        Event { ph: "M", cat: None, name, pid: self.pid, tid, ts: 0.0, dur: None, args: Some(args) }
    }

    fn slice(&self, tid: u32, slice: &Slice<'d>) -> Event<'d> {
        let [start, end] = [slice.start, slice.end].map(|nanos| nanos.saturating_sub(self.begin));
        let micros = |nanos: u64| (nanos / GRAIN_NANOS) as f64 * GRAIN_MICROS;
        let (category, name, args) = match slice.content {
            Content::Poll(poll) => {
                let name = self.names.get(poll.kind).cloned().unwrap_or_default();
                let ongoing = poll.end_nanos.is_none();
                let args = ongoing.then(|| Args::Poll(PollArgs { ongoing, ..PollArgs::default() }));
                ("poll", name, args)
            }
            Content::PollOf(stall) => {
                let is_of_many_polls = stall.is_of_many_polls();
                let args = PollArgs {
                    ongoing: stall.end_nanos.is_none(),
                    known_from_stall: !is_of_many_polls,
                    polls: is_of_many_polls.then_some(stall.polls),
                };
                ("poll", cut(&stall.task), Some(Args::Poll(args)))
            }
            Content::Stall(stall) => {
                let (name, args) = self.stall(stall, slice);
                ("stall", name, Some(Args::Stall(Box::new(args))))
            }
        };
        let (ts, dur) = (micros(start), micros(end) - micros(start));
        Event { ph: "X", cat: Some(category), name, pid: self.pid, tid, ts, dur: Some(dur), args }
    }

    /// Returns the name of a stall's slice, and what else is known of it.
    fn stall(&self, stall: &'d FlightStall, slice: &Slice<'_>) -> (Cow<'d, str>, StallArgs<'d>) {
        let finding = self.findings.get(stall.finding.as_str()).copied();
        let name = finding.map_or(Cow::Borrowed("stall"), |finding| Cow::Owned(name_of(finding)));
        let nanos = stall.end_nanos.map_or(0, |end| end.saturating_sub(stall.start_nanos));
        let is_cut = nanos > slice.end - slice.start + GRAIN_NANOS;
        let args = StallArgs {
            finding: &stall.finding,
            task: cut(&stall.task),
            ongoing: stall.end_nanos.is_none(),
            seconds: is_cut.then(|| Duration::from_nanos(nanos).as_secs_f64()),
            of_finding: finding.map(args_of),
        };
        (name, args)
    }
}

/// Returns the name of a finding. It is the same in every trace, unlike the
/// call and the line of a computation, which are those of the latest samples.
fn name_of(finding: &Finding) -> String {
    let cause = finding.cause.as_str();
    let is_computation = finding.cause.is_computation();
    let call = finding.primitive.as_deref().filter(|_| !is_computation).unwrap_or(cause);
    let name = match &finding.site {
        Some(site) if is_computation => format!("{call} in {}", site.function),
        Some(site) => format!("{call} at {site}"),
        None => call.to_owned(),
    };
    cut(&name).into_owned()
}

fn args_of(finding: &Finding) -> FindingArgs<'_> {
    FindingArgs {
        cause: finding.cause,
        call: finding.primitive.as_deref().map(cut),
        site: finding.site.as_ref().map(|site| cut(&site.to_string()).into_owned()),
        evidence: finding.evidence,
        stalls: finding.count,
        total_seconds: finding.total.as_secs_f64(),
        max_seconds: finding.max.as_secs_f64(),
        waits: finding.victims.waits,
        waiting_tasks: finding.victims.tasks,
        delay_seconds: finding.victims.delay.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests;
