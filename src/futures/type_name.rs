//! The name of a future, from the name of its type.

use crate::diagnose::names;

/// Types that hold one future and whose name would hide its name.
const WRAPPERS: [&str; 16] = [
    "core::pin::Pin",
    "alloc::boxed::Box",
    "alloc::sync::Arc",
    "core::mem::manually_drop::ManuallyDrop",
    "core::mem::maybe_dangling::MaybeDangling",
    "core::panic::unwind_safe::AssertUnwindSafe",
    "tracing::instrument::Instrumented",
    "tracing::instrument::WithDispatch",
    "tracing_futures::Instrumented",
    "loopscope::instrument::future::NamedFuture",
    "loopscope::instrument::NamedFuture",
    "tokio::runtime::blocking::task::BlockingTask",
    "tokio::task::task_local::TaskLocalFuture",
    "tokio::task::coop::unconstrained::Unconstrained",
    "futures_util::future::future::catch_unwind::CatchUnwind",
    "futures_util::future::future::fuse::Fuse",
];
const MAX_WRAPPERS: usize = 16;
/// A longer name is cut.
const MAX_NAME_CHARS: usize = 256;

/// Returns the arguments between the first bracket of a name and its last one:
/// `A<B, C>` and `D` of `poll<A<B, C>, D>`.
pub(super) fn arguments(name: &str) -> Vec<&str> {
    let Some(begin) = name.find('<') else { return Vec::new() };
    let Some(end) = name.rfind('>').filter(|end| *end > begin) else { return Vec::new() };
    split_arguments(&name[begin + 1..end])
}

fn split_arguments(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin, mut before) = (Vec::new(), 0_i32, 0, b' ');
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            // The arrow of a function type is not a bracket.
            b'>' if before == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
        before = byte;
    }
    parts.push(text[begin..].trim());
    parts
}

/// Returns a name as a programmer writes it, without the parts that the
/// compiler adds, and without type parameters.
pub(super) fn readable(name: &str) -> String {
    let mut name = name.trim();
    for _ in 0..MAX_WRAPPERS {
        let base = name.split('<').next().unwrap_or_default();
        let Some(inner) =
            WRAPPERS.contains(&base).then(|| arguments(name)).and_then(|list| list.first().copied())
        else {
            break;
        };
        name = inner;
    }
    let name = name.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(name);
    printable(&names::of_type(name))
}

/// Replaces what may change the state of a terminal, and cuts a long name.
pub(super) fn printable(name: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    let mut text: String = name.chars().take(MAX_NAME_CHARS).map(safe).collect();
    if name.chars().nth(MAX_NAME_CHARS).is_some() {
        text.push('…');
    }
    text
}

/// Returns whether a type is the state of an async function, block or closure,
/// by its name without its module.
pub(super) fn is_coroutine(name: &str) -> bool {
    let name = name.split('<').next().unwrap_or_default();
    name.starts_with("{async_") && name.contains("_env#") || name.starts_with("{coroutine_env#")
}

/// Returns a type's path without its parameters, as written in the debug
/// information.
pub(super) fn base(name: &str) -> &str {
    let begin = if name.starts_with(['{', '<', '(', '&', '*']) { 1 } else { 0 };
    name.find('<').filter(|at| *at > begin).map_or(name, |at| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_looked_through() {
        for (name, expected) in [
            ("app::session::{async_fn_env#0}", "app::session"),
            ("app::main::{async_block#0}::{async_block_env#1}", "app::main"),
            ("tracing::instrument::Instrumented<app::run::{async_fn_env#0}<u8>>", "app::run"),
            (
                "core::pin::Pin<alloc::boxed::Box<app::one::{async_fn_env#0}, alloc::alloc::Global>>",
                "app::one",
            ),
            ("app::{impl#3}::poll::{async_block_env#0}<app::A, app::B>", "app::poll"),
            ("tokio::runtime::blocking::task::BlockingTask<app::main::{closure_env#2}>", "app::main"),
            ("app::Worker<app::X>", "app::Worker"),
        ] {
            assert_eq!(readable(name), expected);
        }
    }

    #[test]
    fn arguments_are_split_at_the_outer_level() {
        assert_eq!(arguments("poll<a::B<c, d>, e::F>"), ["a::B<c, d>", "e::F"]);
        assert_eq!(arguments("poll<fn(u8, u8) -> a::B, {x#0}<y, z>>"), ["fn(u8, u8) -> a::B", "{x#0}<y, z>"]);
        assert_eq!(arguments("poll"), [""; 0]);
        assert_eq!(arguments("><"), [""; 0]);
    }

    #[test]
    fn names_of_a_hostile_program_are_safe_to_print() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{FFFD}[2Jb");
        assert!(readable(&"x<".repeat(10_000)).chars().count() <= MAX_NAME_CHARS + 1);
    }
}
