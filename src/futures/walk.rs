//! Follows a future from await to await.

use std::rc::Rc;

use crate::attach::document::{PsAwait, PsBranch, PsLeaf};
use crate::futures::chain::Chain;
use crate::futures::layout::Member;
use crate::futures::leaf::{self, Leaf};
use crate::futures::macro_line::AWAITEE;
use crate::futures::type_name;
use crate::futures::types::FunctionName;
use crate::futures::unpolled;
use crate::futures::value::{Reader, Value};
use crate::futures::way::Way;

/// A chain has at most this many awaits.
const MAX_AWAITS: usize = 128;
/// The number of futures that are visited in one task, and of values in them.
pub(super) const MAX_STEPS: usize = 2048;
pub(super) const MAX_VALUES: usize = 1 << 16;
/// Wrappers of futures that are looked through to find out what is in them.
const MAX_AHEAD: usize = 16;

/// How often a future of several may itself wait for several.
const MAX_DEPTH: usize = 4;

/// Types of the standard library that hold one value.
const TRANSPARENT: [&str; 12] = [
    "core::pin::Pin",
    "alloc::boxed::Box",
    "core::ptr::unique::Unique",
    "core::ptr::non_null::NonNull",
    "core::mem::manually_drop::ManuallyDrop",
    "core::mem::maybe_dangling::MaybeDangling",
    "core::cell::UnsafeCell",
    "core::panic::unwind_safe::AssertUnwindSafe",
    "core::option::Option",
    "core::pin::unsafe_pinned::UnsafePinned",
    "core::sync::exclusive::Exclusive",
    "sync_wrapper::SyncWrapper",
];

/// Futures that poll another future, and the member that holds it. In an enum
/// it is a member of the present variant.
const ADAPTERS: [(&str, &str); 24] = [
    ("tokio::task::coop::Coop", "fut"),
    ("tokio::runtime::coop::Coop", "fut"),
    ("tracing::instrument::Instrumented", "inner"),
    ("tokio::util::trace::InstrumentedAsyncOp", "inner"),
    ("tracing::instrument::WithDispatch", "inner"),
    ("tracing_futures::Instrumented", "inner"),
    ("tokio::time::timeout::Timeout", "value"),
    ("tokio::task::local::RunUntil", "future"),
    ("tokio::task::task_local::TaskLocalFuture", "future"),
    ("tokio::task::coop::unconstrained::Unconstrained", "inner"),
    ("tokio::task::unconstrained::Unconstrained", "inner"),
    ("loopscope::instrument::future::NamedFuture", "future"),
    ("futures_util::future::future::map::Map", "future"),
    ("futures_util::future::future::Map", "inner"),
    ("futures_util::future::future::Then", "inner"),
    ("futures_util::future::future::flatten::Flatten", "f"),
    ("futures_util::future::future::fuse::Fuse", "inner"),
    ("futures_util::future::future::catch_unwind::CatchUnwind", "future"),
    ("futures_util::future::try_future::into_future::IntoFuture", "future"),
    ("futures_util::future::try_future::MapErr", "inner"),
    ("futures_util::future::try_future::MapOk", "inner"),
    ("futures_util::future::try_future::AndThen", "inner"),
    ("futures_util::future::try_future::OrElse", "inner"),
    ("futures_util::future::try_future::try_flatten::TryFlatten", "f"),
];

/// How a way goes on.
enum Step {
    Into(Value),
    Leaf(PsLeaf),
    End(&'static str),
}

/// Returns what a future awaits.
pub(super) fn chain(reader: &mut Reader<'_>, future: Value) -> Chain {
    Way::default().chain(reader, future)
}

/// Returns the contents of the async functions that a future consists of, the
/// outermost first, up to one that waits for several.
pub(super) fn states(reader: &mut Reader<'_>, future: Value) -> Vec<Value> {
    let (mut way, mut value) = (Way::default(), future);
    while reader.steps_left > 0 && way.awaits.len() < MAX_AWAITS {
        reader.steps_left -= 1;
        match way.step(reader, &value) {
            Step::Into(next) => value = next,
            Step::Leaf(_) | Step::End(_) => break,
        }
    }
    way.states
}

/// Returns what a future waits for that is a variable. It is not followed where
/// it waits for several.
fn leaf_of_variable(reader: &mut Reader<'_>, future: Value) -> Option<PsLeaf> {
    Way { depth: MAX_DEPTH, ..Way::default() }.chain(reader, future).leaf
}

/// Returns what a pin, a box or a pointer holds.
fn held(reader: &mut Reader<'_>, value: &Value) -> Option<Value> {
    match inner(reader, value) {
        Inner::Future(inner) => Some(inner),
        Inner::Unreadable(_) | Inner::None => None,
    }
}

impl Way {
    fn chain(mut self, reader: &mut Reader<'_>, future: Value) -> Chain {
        let mut value = future;
        loop {
            let is_spent = reader.steps_left == 0;
            reader.steps_left = reader.steps_left.saturating_sub(1);
            if is_spent || self.awaits.len() >= MAX_AWAITS {
                return self.ended(None, Some("the chain of awaits is too long"));
            }
            match self.step(reader, &value) {
                _ if reader.values_left == 0 => {
                    return self.ended(None, Some("the future has more values than are read"));
                }
                Step::Into(next) => value = next,
                Step::Leaf(leaf) => {
                    let unpolled = self.unpolled(reader, &leaf);
                    return Chain { unpolled, ..self.ended(Some(leaf), None) };
                }
                Step::End(missing) => return self.ended(None, Some(missing)),
            }
        }
    }

    /// Returns what each of several futures awaits. They may themselves wait
    /// for several, a few times over.
    fn branches(&self, reader: &mut Reader<'_>, futures: Vec<Value>) -> Vec<PsBranch> {
        if self.depth >= MAX_DEPTH {
            return Vec::new();
        }
        let branch = |future| {
            let way = Self { depth: self.depth + 1, ..Self::default() };
            let Chain { awaits, leaf, missing, .. } = way.chain(reader, future);
            PsBranch { chain: awaits, leaf, chain_missing: missing }
        };
        futures.into_iter().take(leaf::MAX_BRANCHES).map(branch).collect()
    }

    /// Returns the variable with the future that was granted the lock for which
    /// the chain waits.
    fn unpolled(&self, reader: &mut Reader<'_>, leaf: &PsLeaf) -> Option<String> {
        match leaf {
            PsLeaf::Semaphore { address, of: Some(of), is_granted: Some(false) }
                if self.depth == 0 && unpolled::LOCK_MODULES.iter().any(|module| of.starts_with(module)) =>
            {
                unpolled::granted(reader, &self.states, *address, held, leaf_of_variable)
            }
            _ => None,
        }
    }

    fn ended(self, leaf: Option<PsLeaf>, missing: Option<&str>) -> Chain {
        Chain { awaits: self.awaits, leaf, unpolled: None, missing: missing.map(str::to_owned) }
    }

    fn step(&mut self, reader: &mut Reader<'_>, value: &Value) -> Step {
        let path = &value.of_type.path;
        if type_name::is_coroutine(&value.of_type.layout.name) {
            return self.of_coroutine(reader, value);
        }
        if let Some(leaf) = leaf::of(reader, self, value) {
            return Step::Leaf(match leaf {
                Leaf::One(leaf) => leaf,
                Leaf::Several { of, count, futures } => {
                    let branches = self.branches(reader, futures);
                    PsLeaf::Several { of: of.to_owned(), count, branches }
                }
            });
        }
        match inner(reader, value) {
            Inner::Future(inner) => return Step::Into(inner),
            Inner::Unreadable(missing) => return Step::End(missing),
            Inner::None => {}
        }
        match newtype(reader, value) {
            Some(inner) => {
                self.awaits.push(PsAwait { function: type_name::readable(path), file: None, line: None });
                Step::Into(inner)
            }
            None => Step::Leaf(PsLeaf::Other { of: type_name::readable(path) }),
        }
    }

    /// Returns the name of an async function: `app::Session::run`. The debug
    /// information has `app::{impl#0}::run`; the type is that of `self`, also
    /// for a block in the function that does not use it.
    fn function_name(&mut self, reader: &mut Reader<'_>, value: &Value) -> String {
        if let Some(known) = value.of_type.function.get() {
            if known.implementation.is_some() {
                self.last_method = Some(Rc::clone(known));
            }
            return known.name.clone();
        }
        let path = &value.of_type.path;
        let module = path.strip_suffix(value.of_type.layout.name.as_str()).unwrap_or(path);
        let parts = module.rfind("{impl#").and_then(|at| {
            let (_, method) = path[at..].split_once("}::")?;
            Some((&path[..path.len() - method.len()], method))
        });
        let name = |of_type: &str, method| type_name::readable(&format!("{of_type}::{method}"));
        let Some((around, method)) = parts else {
            let function = FunctionName { name: type_name::readable(path), implementation: None };
            return value.of_type.function.get_or_init(|| Rc::new(function)).name.clone();
        };
        if let Some(of_type) = self_type(reader, value) {
            let of_type = type_name::base(&of_type);
            let implementation = Some((around.to_owned(), of_type.to_owned()));
            let function = FunctionName { name: name(of_type, method), implementation };
            let function = value.of_type.function.get_or_init(|| Rc::new(function));
            self.last_method = Some(Rc::clone(function));
            return function.name.clone();
        }
        let last = self.last_method.as_ref().and_then(|last| last.implementation.as_ref());
        match last {
            Some((last, of_type)) if last == around => name(of_type, method),
            _ => type_name::readable(path),
        }
    }

    fn of_coroutine(&mut self, reader: &mut Reader<'_>, value: &Value) -> Step {
        let function = self.function_name(reader, value);
        let has_layout = value.of_type.layout.variants.is_some();
        let present = reader.variant(value).and_then(|variant| variant.member.as_ref());
        let Some(member) = present else {
            self.awaits.push(PsAwait { function, file: None, line: None });
            return Step::End(if has_layout {
                "the state of an async function is not one that it can have"
            } else {
                "the debug information has no states of an async function; `debug = \"full\"` in the profile \
                 of Cargo.toml adds them"
            });
        };
        let Some((_, state)) = reader.active(value) else {
            return Step::End("the debug information of an async function's state is incomplete");
        };
        let name = state.of_type.layout.name.as_str();
        let is_suspended = name.starts_with("Suspend");
        let (file, mut line) = if is_suspended { place(reader, value, member) } else { (None, None) };
        let awaitee = reader.member(&state, AWAITEE);
        if let (Some(awaitee), None, true) = (&awaitee, line, is_suspended) {
            line = reader.types.macro_line(&value.of_type, &awaitee.of_type);
        }
        self.awaits.push(PsAwait { function, file, line });
        if !is_suspended {
            return Step::End(match name {
                "Unresumed" => "it was not polled yet",
                "Returned" => "the future has returned",
                "Panicked" => "the future has panicked",
                _ => "the state of an async function is not one that is known",
            });
        }
        self.states.push(state);
        match awaitee {
            Some(awaitee) => Step::Into(awaitee),
            None => Step::End("the debug information does not say what is awaited"),
        }
    }
}

/// Returns the file of an async function and the line of an await. A line
/// outside of the function is that of a macro such as `select!`, and is left
/// out.
fn place(reader: &mut Reader<'_>, value: &Value, member: &Member) -> (Option<String>, Option<u32>) {
    let variants = value.of_type.layout.variants.iter().flat_map(|variants| &variants.list);
    // The first two variants have the first line of the function and its last
    // one.
    let mut ends = variants.filter_map(|variant| variant.member.as_ref());
    let (first, last) = (ends.next(), ends.next());
    let is_own_file = first.is_none_or(|first| first.file == member.file);
    let lines = first.and_then(|first| first.line).zip(last.and_then(|last| last.line));
    // An attribute may have given the whole function its own line.
    let is_within = lines
        .filter(|(begin, end)| begin < end)
        .zip(member.line)
        .is_none_or(|((begin, end), line)| (begin..=end).contains(&line));
    let of_function = first.and_then(|first| first.file).or(member.file);
    let file = of_function.and_then(|file| reader.types.file(value.of_type.unit, file));
    (file.map(|file| file.to_string()), member.line.filter(|_| is_own_file && is_within))
}

/// What a wrapper holds.
enum Inner {
    Future(Value),
    Unreadable(&'static str),
    None,
}

/// Returns the future that a value is known to poll.
fn inner(reader: &mut Reader<'_>, value: &Value) -> Inner {
    let layout = &value.of_type.layout;
    let base = type_name::base(&value.of_type.path);
    // The place of a trait object.
    if layout.member("vtable").is_some() && layout.member("pointer").is_some() && layout.size == 16 {
        return trait_object(reader, value);
    }
    if layout.is_pointer {
        return reader
            .target(value)
            .map_or(Inner::Unreadable("a pointer on the way cannot be followed"), Inner::Future);
    }
    if let Some((_, name)) = ADAPTERS.iter().find(|(adapter, _)| *adapter == base) {
        let contents = match layout.variants {
            Some(_) => reader.active(value).map(|(_, contents)| contents),
            None => Some(value.clone()),
        };
        let future = contents.and_then(|contents| reader.member(&contents, name));
        return future.map_or(Inner::None, Inner::Future);
    }
    if base == "core::mem::maybe_uninit::MaybeUninit" {
        return reader.member(value, "value").map_or(Inner::None, Inner::Future);
    }
    if TRANSPARENT.contains(&base) {
        return reader.unwrap(value).map_or(Inner::None, Inner::Future);
    }
    Inner::None
}

fn trait_object(reader: &mut Reader<'_>, value: &Value) -> Inner {
    const UNKNOWN: Inner = Inner::Unreadable("the type behind a `dyn Future` is not known");
    let pointer = |reader: &mut Reader<'_>, name| {
        let member = reader.member(value, name)?;
        reader.memory.pointer(member.address)
    };
    let (Some(address), Some(vtable)) = (pointer(reader, "pointer"), pointer(reader, "vtable")) else {
        return UNKNOWN;
    };
    let of_type = vtable.checked_sub(reader.bias).and_then(|vtable| reader.types.of_vtable(vtable));
    // The second word of the table is the size of the type.
    let size = vtable.checked_add(8).and_then(|place| reader.memory.number(place, 8));
    let of_type = of_type.filter(|of_type| size == Some(of_type.layout.size));
    of_type.map_or(UNKNOWN, |of_type| Inner::Future(Value { of_type, address }))
}

/// Returns the only member of a type that is not known, if that is a future
/// that is known.
fn newtype(reader: &mut Reader<'_>, value: &Value) -> Option<Value> {
    let only = reader.only_member(value)?;
    let mut ahead = only.clone();
    for _ in 0..MAX_AHEAD {
        if type_name::is_coroutine(&ahead.of_type.layout.name) || leaf::is_known(&ahead.of_type.path) {
            return Some(only);
        }
        let base = type_name::base(&ahead.of_type.path);
        if ADAPTERS.iter().any(|(adapter, _)| *adapter == base) {
            return Some(only);
        }
        ahead = match inner(reader, &ahead) {
            Inner::Future(inner) => inner,
            _ => return None,
        };
    }
    None
}

/// Returns the path of the type of `self` that an async function has.
fn self_type(reader: &mut Reader<'_>, value: &Value) -> Option<String> {
    let variants = value.of_type.layout.variants.as_ref()?;
    let first = variants.list.first()?.member.as_ref()?;
    let mut of_type = reader.types.follow(&value.of_type, first.of_type)?;
    let captured = of_type.layout.member("self").or_else(|| of_type.layout.member("__self"))?.of_type;
    of_type = reader.types.follow(&of_type.clone(), captured)?;
    for _ in 0..MAX_AHEAD {
        let layout = &of_type.layout;
        let base = type_name::base(&of_type.path);
        let target = if layout.is_pointer {
            layout.target
        } else if base == "core::pin::Pin" || base == "alloc::boxed::Box" {
            layout.members.first().map(|member| member.of_type)
        } else if base == "alloc::sync::Arc" || base == "alloc::rc::Rc" {
            layout.parameter("T")
        } else {
            return Some(of_type.path.clone());
        };
        of_type = reader.types.follow(&of_type.clone(), target?)?;
    }
    None
}
