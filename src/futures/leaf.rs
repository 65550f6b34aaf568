//! What the innermost future waits for.

use std::collections::BTreeSet;

use crate::attach::document::PsLeaf;
use crate::capture::descriptor::Descriptor;
use crate::futures::type_name;
use crate::futures::value::{Reader, Value};
use crate::futures::way::Way;

/// The number of values that are visited to find the descriptor of a stream.
const MAX_SEARCHED: usize = 64;
const NANOS_PER_SECOND: f64 = 1e9;

/// The number of futures that are followed of several.
pub(super) const MAX_BRANCHES: usize = 64;

/// What a future without a single next await waits for.
pub(super) enum Leaf {
    One(PsLeaf),
    /// Several futures at once. `futures` are those that have not ended.
    Several {
        of: &'static str,
        count: Option<usize>,
        futures: Vec<Value>,
    },
}

/// The types that `of` knows.
const KNOWN: [&str; 15] = [
    "futures_util::future::select::Select",
    "tokio::time::sleep::Sleep",
    "tokio::sync::batch_semaphore::Acquire",
    "tokio::sync::oneshot::Receiver",
    "tokio::sync::notify::Notified",
    "tokio::sync::notify::OwnedNotified",
    "tokio::sync::broadcast::Recv",
    "tokio::runtime::task::join::JoinHandle",
    "tokio::runtime::io::scheduled_io::Readiness",
    "futures_util::stream::stream::next::Next",
    "core::future::poll_fn::PollFn",
    "tokio::future::poll_fn::PollFn",
    "futures_util::future::poll_fn::PollFn",
    "futures_util::stream::futures_unordered::FuturesUnordered",
    "tokio::time::interval::Interval",
];

/// Types that poll several futures until all have ended.
const JOINS: [&str; 2] = ["futures_util::future::join::Join", "futures_util::future::try_join::TryJoin"];
/// Modules with futures of tokio that read or write a stream.
const IO_MODULE: &str = "tokio::io::util::";
/// The members that hold the stream.
const STREAM_MEMBERS: [&str; 6] = ["reader", "writer", "read", "a", "io", "inner"];
const POLL_EVENTED: [&str; 2] = ["tokio::io::poll_evented::PollEvented", "tokio::io::async_fd::AsyncFd"];

/// Returns whether a future of this type is known not to poll another one.
pub(super) fn is_known(path: &str) -> bool {
    let base = type_name::base(path);
    KNOWN.contains(&base) || base.starts_with(IO_MODULE) || JOINS.iter().any(|join| base.starts_with(join))
}

/// Returns what a future waits for; `None` if it is not one that is known.
pub(super) fn of(reader: &mut Reader<'_>, way: &Way, value: &Value) -> Option<Leaf> {
    let base = type_name::base(&value.of_type.path);
    if base == "futures_util::stream::stream::next::Next" {
        let stream = reader.member(value, "stream")?;
        return next_of_stream(reader, stream);
    }
    if base.ends_with("::PollFn") {
        return poll_fn(reader, way, value);
    }
    if JOINS.iter().any(|join| base.starts_with(join)) {
        let futures = reader.members_with_size(value);
        return Some(several(reader, "join", futures));
    }
    if base == "futures_util::future::select::Select" {
        let both = reader.member(value, "inner").and_then(|both| reader.with_member(both, "__1"))?;
        let futures = reader.numbered_members(&both);
        return Some(several(reader, "select", futures));
    }
    one(reader, way, value, base).map(Leaf::One)
}

/// Returns the one thing that a future waits for.
fn one(reader: &mut Reader<'_>, way: &Way, value: &Value, base: &str) -> Option<PsLeaf> {
    if base.starts_with(IO_MODULE) {
        let stream = STREAM_MEMBERS.iter().find_map(|name| reader.member(value, name));
        return stream.and_then(|stream| io(reader, &stream));
    }
    let channel = |of: &str, address| PsLeaf::Channel { of: of.to_owned(), address };
    match base {
        "tokio::time::sleep::Sleep" => Some(sleep(reader, value)),
        "tokio::sync::batch_semaphore::Acquire" => semaphore(reader, way, value),
        "tokio::sync::oneshot::Receiver" => {
            let address = reader.member(value, "inner").and_then(|inner| reader.pointer_in(&inner));
            Some(channel("tokio::sync::oneshot", address))
        }
        "tokio::sync::notify::Notified" | "tokio::sync::notify::OwnedNotified" => {
            Some(notify(reader, way, value))
        }
        "tokio::sync::broadcast::Recv" => {
            let shared = reader.at_path(value, &["receiver", "shared"]);
            let address = shared.and_then(|shared| reader.pointer_in(&shared));
            Some(channel("tokio::sync::broadcast", address))
        }
        "tokio::runtime::task::join::JoinHandle" => {
            let task = reader.member(value, "raw").and_then(|raw| reader.pointer_in(&raw))?;
            Some(PsLeaf::Join { task })
        }
        "tokio::runtime::io::scheduled_io::Readiness" => Some(readiness(reader, way)),
        _ => None,
    }
}

fn sleep(reader: &mut Reader<'_>, value: &Value) -> PsLeaf {
    let deadline =
        reader.at_path(value, &["deadline"]).or_else(|| reader.at_path(value, &["entry", "deadline"]));
    let seconds_left = deadline.and_then(|deadline| {
        let seconds = reader.at_path(&deadline, &["tv_sec"])?;
        let nanos = reader.at_path(&deadline, &["tv_nsec"])?;
        let (seconds, nanos) = (reader.number_in(&seconds)?, reader.number_in(&nanos)?);
        let deadline = seconds.cast_signed() as f64 + nanos as f64 / NANOS_PER_SECOND;
        Some(deadline - reader.now?.as_secs_f64())
    });
    PsLeaf::Sleep { seconds_left }
}

/// Returns the innermost type of tokio's synchronisation that the
/// application calls, such as `tokio::sync::mutex::Mutex`.
fn owner(way: &Way) -> Option<String> {
    let is_sync = |function: &&str| function.starts_with("tokio::sync::");
    let functions = way.awaits.iter().rev().map(|one| one.function.as_str());
    let outermost = functions.take_while(is_sync).last()?;
    Some(outermost.rsplit_once("::")?.0.to_owned())
}

fn semaphore(reader: &mut Reader<'_>, way: &Way, value: &Value) -> Option<PsLeaf> {
    let address = reader.member(value, "semaphore").and_then(|semaphore| reader.pointer_in(&semaphore))?;
    let state = reader.at_path(value, &["node", "state"]).and_then(|state| reader.number_in(&state));
    let queued = reader.member(value, "queued").and_then(|queued| reader.number_in(&queued));
    let is_granted = state.zip(queued).map(|(missing, queued)| queued == 1 && missing == 0);
    Some(PsLeaf::Semaphore { address, of: owner(way), is_granted })
}

fn notify(reader: &mut Reader<'_>, way: &Way, value: &Value) -> PsLeaf {
    let notify = reader.member(value, "notify").and_then(|notify| reader.pointer_in(&notify));
    // A channel is built of a `Notify`.
    let module = owner(way).unwrap_or_default();
    let channel = ["tokio::sync::watch", "tokio::sync::mpsc", "tokio::sync::broadcast"]
        .into_iter()
        .find(|channel| module.starts_with(channel));
    match channel {
        Some(of) => {
            let mut states = way.states.iter().rev();
            let shared = states.find_map(|state| reader.at_path(state, &["self", "shared"]));
            let address = shared.and_then(|shared| reader.pointer_in(&shared));
            PsLeaf::Channel { of: of.to_owned(), address }
        }
        None => PsLeaf::Notify { address: notify },
    }
}

/// Returns the stream of the method of tokio that waits until it is ready.
fn readiness(reader: &mut Reader<'_>, way: &Way) -> PsLeaf {
    for state in way.states.iter().rev() {
        let Some(of_self) = reader.member(state, "self") else { continue };
        if let Some(leaf) = io(reader, &of_self) {
            return leaf;
        }
    }
    PsLeaf::Io { fd: None, object: None }
}

/// Returns the descriptor of a stream, if it has one only.
fn io(reader: &mut Reader<'_>, stream: &Value) -> Option<PsLeaf> {
    let mut found = None::<Value>;
    let mut queue = vec![stream.clone()];
    let mut searched = 0;
    while let Some(value) = queue.pop() {
        searched += 1;
        if searched > MAX_SEARCHED {
            return None;
        }
        let base = type_name::base(&value.of_type.path);
        if POLL_EVENTED.contains(&base) {
            if found.as_ref().is_some_and(|found| found.address != value.address) {
                return None;
            }
            found = Some(value);
        } else if let Some(inner) = reader.unwrap(&value) {
            queue.push(inner);
        } else if base == "alloc::sync::ArcInner" {
            queue.extend(reader.member(&value, "data"));
        } else {
            queue.extend(reader.members_with_size(&value));
        }
    }
    let evented = found?;
    let source = reader.member(&evented, "io").or_else(|| reader.member(&evented, "inner"))?;
    let fd = descriptor(reader, &source);
    let object = fd
        .and_then(|fd| Descriptor::from_fd(reader.memory.process(), fd))
        .map(|object| type_name::printable(&object.to_string()));
    Some(PsLeaf::Io { fd, object })
}

/// Returns the descriptor that a socket of mio has.
fn descriptor(reader: &mut Reader<'_>, source: &Value) -> Option<i32> {
    let mut value = source.clone();
    for _ in 0..MAX_SEARCHED {
        if let Some(fd) = reader.member(&value, "fd") {
            let fd = reader.number_in(&fd)?;
            return i32::try_from(fd).ok();
        }
        // In a build for debugging it has further members.
        let inner = reader.member(&value, "inner").filter(|inner| inner.of_type.layout.size > 0);
        value = inner.or_else(|| reader.unwrap(&value))?;
    }
    None
}

/// Returns several futures, of which some may have ended.
fn several(reader: &mut Reader<'_>, of: &'static str, futures: Vec<Value>) -> Leaf {
    let count = Some(futures.len());
    let futures = futures.into_iter().filter_map(|future| not_done(reader, future)).collect();
    Leaf::Several { of, count, futures }
}

/// Returns what the next item of a stream comes from.
fn next_of_stream(reader: &mut Reader<'_>, mut stream: Value) -> Option<Leaf> {
    for _ in 0..MAX_SEARCHED {
        let base = type_name::base(&stream.of_type.path);
        if base == "futures_util::stream::futures_unordered::FuturesUnordered" {
            let first = reader.at_path(&stream, &["head_all"])?;
            let count = reader.at_path(&first, &["len_all"]).and_then(|count| reader.number_in(&count));
            let count = count.and_then(|count| usize::try_from(count).ok());
            let futures = listed_futures(reader, first);
            return Some(Leaf::Several { of: "FuturesUnordered", count, futures });
        }
        let Some(inner) = reader.unwrap(&stream).filter(|inner| inner.of_type.layout.size > 0) else {
            return Some(Leaf::One(PsLeaf::Other { of: type_name::readable(&stream.of_type.path) }));
        };
        stream = inner;
    }
    None
}

/// Returns whether a type is a branch of a `join!` that keeps its output.
fn is_maybe_done(value: &Value) -> bool {
    let base = type_name::base(&value.of_type.path);
    base.ends_with("::MaybeDone") || base.ends_with("::TryMaybeDone")
}

/// Returns the future that a branch polls; `None` if it has ended.
fn not_done(reader: &mut Reader<'_>, branch: Value) -> Option<Value> {
    if !is_maybe_done(&branch) {
        return Some(branch);
    }
    match reader.active(&branch)? {
        ("Future", contents) => {
            reader.member(&contents, "future").or_else(|| reader.member(&contents, "__0"))
        }
        _ => None,
    }
}

/// Returns the futures in the list of a `FuturesUnordered`.
fn listed_futures(reader: &mut Reader<'_>, first: Value) -> Vec<Value> {
    let mut futures = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(first);
    while let Some(task) = next.and_then(|link| reader.with_member(link, "next_all")) {
        if futures.len() >= MAX_BRANCHES || !seen.insert(task.address) {
            break;
        }
        futures.extend(reader.at_path(&task, &["future"]));
        next = reader.member(&task, "next_all");
    }
    futures
}

/// Returns what a closure waits for that is polled as a future.
fn poll_fn(reader: &mut Reader<'_>, way: &Way, value: &Value) -> Option<Leaf> {
    let closure = reader.member(value, "f")?;
    if let Some(several) = of_macro(reader, &closure) {
        return Some(several);
    }
    let path = closure.of_type.path.as_str();
    for channel in ["tokio::sync::mpsc", "tokio::sync::oneshot", "tokio::sync::watch"] {
        if path.starts_with(channel) {
            let of_self = way.states.last().and_then(|state| reader.member(state, "self"));
            let chan = of_self.and_then(|of_self| {
                reader.at_path(&of_self, &["chan", "inner"]).or_else(|| reader.at_path(&of_self, &["inner"]))
            });
            let address = chan.and_then(|chan| reader.pointer_in(&chan));
            return Some(Leaf::One(PsLeaf::Channel { of: channel.to_owned(), address }));
        }
    }
    let of_self = captured(reader, &closure, "self");
    if path.starts_with("tokio::task::join_set") {
        let length = of_self.and_then(|of_self| reader.at_path(&of_self, &["inner", "length"]));
        let count = length.and_then(|length| reader.number_in(&length));
        let count = count.and_then(|count| usize::try_from(count).ok());
        return Some(Leaf::Several { of: "JoinSet", count, futures: Vec::new() });
    }
    if path.starts_with("tokio::time::interval") {
        let delay = of_self.and_then(|of_self| reader.at_path(&of_self, &["delay"]));
        let timer = delay.and_then(|delay| reader.with_member(delay, "deadline"));
        let leaf = timer.map_or(PsLeaf::Sleep { seconds_left: None }, |timer| sleep(reader, &timer));
        return Some(Leaf::One(leaf));
    }
    Some(Leaf::One(PsLeaf::Other { of: type_name::readable(path) }))
}

/// Returns a variable that a closure has captured.
pub(super) fn captured(reader: &mut Reader<'_>, closure: &Value, name: &str) -> Option<Value> {
    reader.member(closure, &format!("_ref__{name}")).or_else(|| reader.member(closure, name))
}

/// Returns the futures of the closure that `select!` or `join!` writes.
fn of_macro(reader: &mut Reader<'_>, closure: &Value) -> Option<Leaf> {
    let futures = captured(reader, closure, "futures")?;
    let tuple = reader.with_member(futures, "__0")?;
    let futures = reader.numbered_members(&tuple);
    let Some(disabled) = captured(reader, closure, "disabled") else {
        let is_join = futures.iter().all(is_maybe_done);
        return is_join.then(|| several(reader, "join!", futures));
    };
    // A bit for each branch whose pattern did not match or that has ended.
    let disabled = reader.number_in(&disabled)?;
    let count = Some(futures.len());
    let is_enabled = |at: usize| {
        u32::try_from(at).ok().and_then(|at| disabled.checked_shr(at)).is_none_or(|bits| bits & 1 == 0)
    };
    let futures = futures.into_iter().enumerate().filter(|(at, _)| is_enabled(*at));
    let futures = futures.map(|(_, future)| future).collect();
    Some(Leaf::Several { of: "select!", count, futures })
}
