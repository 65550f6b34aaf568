//! Function names as programmers write them.

use std::borrow::Cow;

use crate::finding::FrameKind;
use crate::source_path;

/// The end of the name of an async function or block while a stack is judged.
/// It shows that the function was polled, not called.
pub(super) const ASYNC_MARK: &str = "::{async}";

/// Returns the name that a compiler has mangled, or the same name.
#[cfg(stack_capture)]
pub(crate) fn demangled(name: &str) -> String {
    rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |name| format!("{name:#}"))
}

/// Returns a demangled name without the parts that the compiler adds:
/// `{{closure}}` of async functions and closures, `{closure#0}`, and the hash
/// of a legacy name. The implementation of a trait in another module is written
/// as in the trait's own module.
fn readable(name: &str) -> String {
    let mut parts = Vec::new();
    for part in split_path(name) {
        let is_added = part.starts_with("{{")
            || ["{closure#", "{async_", "{shim", "{constant"].iter().any(|prefix| part.starts_with(prefix));
        if is_added || is_hash(part) {
            continue;
        }
        if let Some(implementation) = part.strip_prefix("<impl ").and_then(|rest| rest.strip_suffix('>')) {
            match implementation.split_once(" for ") {
                Some((trait_path, of_type)) => {
                    parts = vec![Cow::Owned(format!("<{of_type} as {trait_path}>"))];
                }
                None if is_primitive(implementation) => {}
                None => parts = vec![Cow::Borrowed(implementation)],
            }
            continue;
        }
        parts.push(Cow::Borrowed(part));
    }
    if let Some(first) = parts.first_mut()
        && let Some(plain) = inherent_type(first).or_else(|| generic_trait(first)).map(str::to_owned)
    {
        *first = Cow::Owned(plain);
    }
    if parts.is_empty() { name.to_owned() } else { parts.join("::") }
}

/// Returns the name of a type, such as that of an async function's state, as
/// the function is written: without type parameters, and without `{impl#0}`.
#[cfg(all(feature = "attach", stack_capture))]
pub(crate) fn of_type(name: &str) -> String {
    let is_written = |part: &&str| !part.starts_with("{impl#") && !part.starts_with("{closure_env#");
    let parts: Vec<_> = split_path(name).filter(is_written).collect();
    without_parameters(&readable(&parts.join("::")))
}

/// Returns the name of a function from its symbol. It is the same for both ways
/// in which Rust writes symbols, and has no type parameters. `debug_name` is
/// the function's name in the debug information, and has parameters only.
pub(super) fn from_symbol(symbol: &str, debug_name: Option<&str>, file: Option<&str>) -> String {
    let name = readable(symbol);
    // One way has `<str>::len`, the other has the module.
    if let Some((of_type, method)) = name.rsplit_once("::")
        && (is_primitive(of_type)
            || inherent_type(of_type).is_some_and(is_primitive)
            || of_type.starts_with("<["))
        && !of_type.contains(" as ")
        && let Some(module) = file.and_then(module_of)
    {
        return without_parameters(&format!("{module}::{method}"));
    }
    let of_every_type = |debug_name: &str| trait_of_parameter(&name, debug_name);
    let mut name = without_parameters(&debug_name.and_then(of_every_type).unwrap_or(name));
    if debug_name.is_some_and(|name| name.starts_with("{async_")) {
        name.push_str(ASYNC_MARK);
    }
    name
}

/// Returns `Trait::method` for `<Type as Trait>::method` of an implementation
/// for every type, and `<&T as Trait>::method` for one for every reference.
/// Only one way of writing symbols has the type; the name in the debug
/// information has it as a parameter then: `method<Type>`.
fn trait_of_parameter(name: &str, debug_name: &str) -> Option<String> {
    let implementation = split_path(name).next()?;
    let (self_type, trait_path) = implementation.strip_prefix('<')?.strip_suffix('>')?.split_once(" as ")?;
    let method = &name[implementation.len()..];
    let (_, parameters) = debug_name.split_once('<')?;
    let is_parameter =
        |of_type: &str| parameters.strip_prefix(of_type).is_some_and(|rest| rest.starts_with([',', '>']));
    if is_parameter(self_type) {
        return Some(format!("{trait_path}{method}"));
    }
    let reference = ["&mut ", "&"].into_iter().find(|prefix| self_type.starts_with(prefix))?;
    is_parameter(&self_type[reference.len()..]).then(|| format!("<{reference}T as {trait_path}>{method}"))
}

fn is_primitive(of_type: &str) -> bool {
    const PRIMITIVE_TYPES: [&str; 17] = [
        "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128",
        "isize", "f32", "f64",
    ];
    of_type.starts_with(['[', '*', '(', '&']) || PRIMITIVE_TYPES.contains(&of_type)
}

/// Returns whether the name is that of an async function or block, which is
/// polled.
pub(super) fn is_async(function: &str) -> bool {
    function.ends_with(ASYNC_MARK) || function.ends_with("{async fn}") || function.ends_with("{async block}")
}

/// Returns whether the function has no name of its own: it is a closure or an
/// async block, or only an address is known.
pub(super) fn is_nameless(function: &str) -> bool {
    function.ends_with('}') && !function.ends_with(ASYNC_MARK)
        || function.contains("+0x") && !function.contains("::")
        || function.starts_with("0x")
        || function == "syscall"
}

/// Returns the name without the mark of an async function.
pub(super) fn without_async_mark(function: &str) -> &str {
    function.strip_suffix(ASYNC_MARK).unwrap_or(function)
}

/// Returns the name of an inlined function from the debug information, without
/// type parameters.
pub(super) fn from_debug_name(name: &str, file: Option<&str>) -> String {
    without_parameters(&readable(&qualified(name, file)))
}

/// Returns the name of an inlined function with the module of its file. Line
/// tables have only the last part of such a name: `lock<u8>` in
/// `library/std/src/sync/poison/mutex.rs` becomes
/// `std::sync::poison::mutex::lock`. An async function has no name there: it
/// becomes `app::session::{async fn}`.
fn qualified(name: &str, file: Option<&str>) -> String {
    let base = name.find('<').filter(|at| *at > 0).map_or(name, |at| &name[..at]);
    let module =
        file.and_then(module_of).filter(|_| split_path(name).nth(1).is_none() && !name.starts_with('<'));
    let kind = match base {
        _ if base.starts_with("{async_fn") => "{async fn}",
        _ if base.starts_with("{async_") => "{async block}",
        _ if base.starts_with('{') => "{closure}",
        _ => base,
    };
    module.map_or_else(|| name.to_owned(), |module| format!("{module}::{kind}"))
}

/// Returns the module of a file: `…/chat-server/src/services/filter.rs`
/// is `chat_server::services::filter`.
pub(super) fn module_of(file: &str) -> Option<String> {
    let Some((_, path)) = file.rsplit_once("/src/").or_else(|| Some(("", file.strip_prefix("src/")?))) else {
        // An example, test or bench is a crate with one file, or with a folder.
        let mut parts = file.rsplit('/');
        let name = match (parts.next()?, parts.next(), parts.next()) {
            ("main.rs", Some(folder), Some("examples" | "tests" | "benches")) => folder,
            (name, ..) => name.strip_suffix(".rs")?,
        };
        return Some(name.replace('-', "_"));
    };
    let package =
        source_path::package_name(file).map_or_else(|| "crate".to_owned(), |name| name.replace('-', "_"));
    let path = path.strip_suffix(".rs")?;
    let parts = path.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main"));
    // Each program of a package is a crate.
    if let Some(program) = path.strip_prefix("bin/").filter(|program| *program != "mod") {
        let (name, modules) = program.split_once('/').unwrap_or((program, ""));
        let modules = modules.split('/').filter(|part| !matches!(*part, "" | "mod" | "main"));
        let name = name.replace('-', "_");
        return Some([name.as_str()].into_iter().chain(modules).collect::<Vec<_>>().join("::"));
    }
    Some([package.as_str()].into_iter().chain(parts).collect::<Vec<_>>().join("::"))
}

/// Returns the trait of `<T as a::Trait<X>>::method`, where `T` is a type
/// parameter.
fn generic_trait(part: &str) -> Option<&str> {
    let (parameter, trait_path) = part.strip_prefix('<')?.strip_suffix('>')?.split_once(" as ")?;
    let is_type_parameter =
        parameter.len() == 1 && parameter.starts_with(|only: char| only.is_ascii_uppercase());
    is_type_parameter.then(|| trait_path.split('<').next()).flatten()
}

/// Returns the type of `<Type>::method`. One mangling scheme writes this where
/// the other writes `Type::method`.
fn inherent_type(part: &str) -> Option<&str> {
    let inner = part.strip_prefix('<')?.strip_suffix('>')?;
    (!inner.contains(" as ") && inner.starts_with(|first: char| first.is_alphanumeric() || first == '_'))
        .then_some(inner)
}

/// Turns `Receiver<T>::recv` and `Receiver::<T>::recv` into `Receiver::recv`.
/// Brackets at the beginning stay: `<A as B>::c`.
pub(super) fn without_parameters(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut depth = 0_u32;
    let mut before = ' ';
    for c in name.chars() {
        let is_parameter = c == '<' && (before.is_alphanumeric() || matches!(before, ':' | '_'));
        if depth > 0 || is_parameter {
            match c {
                '<' => depth += 1,
                '>' if before != '-' => depth -= 1,
                _ => {}
            }
            if is_parameter && depth == 1 && before == ':' {
                plain.truncate(plain.trim_end_matches("::").len());
            }
        } else {
            plain.push(c);
        }
        before = c;
    }
    plain
}

/// Splits a path at each `::` outside of brackets.
fn split_path(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut depth = 0_i32;
        let bytes = text.as_bytes();
        for at in 0..bytes.len() {
            match bytes[at] {
                b'<' | b'(' | b'[' | b'{' => depth += 1,
                // The arrow of a function type is not a bracket.
                b'>' if at > 0 && bytes[at - 1] == b'-' => {}
                b'>' | b')' | b']' | b'}' => depth -= 1,
                b':' if depth == 0 && bytes.get(at + 1) == Some(&b':') => {
                    rest = Some(&text[at + 2..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

fn is_hash(part: &str) -> bool {
    part.len() == 17 && part.starts_with('h') && part[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the crate of a function. `None` if the name is not a path.
pub(super) fn crate_of(name: &str) -> Option<&str> {
    let root = name.trim_start_matches(['<', '&', '*', '(', '[', '{']);
    let root = root.strip_prefix("mut ").unwrap_or(root);
    let root = root.strip_prefix("dyn ").or_else(|| root.strip_prefix("impl ")).unwrap_or(root);
    let mut parts = split_path(root);
    // A name that is not a path may come from any language. A `::` inside its
    // brackets does not make it a path.
    let (crate_name, _) = (parts.next()?, parts.next()?);
    Some(crate_name)
}

/// Returns the kind of a function by its name alone, for a program without
/// debug information. `None` if the name is not a path.
pub(super) fn kind_of(name: &str) -> Option<FrameKind> {
    Some(match crate_of(name)? {
        "std" | "core" | "alloc" | "std_detect" | "test" | "__rustc" => FrameKind::Std,
        "tokio" | "loopscope" | "console_subscriber" => FrameKind::Runtime,
        _ => FrameKind::Application,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_generated_parts_are_removed() {
        for (name, expected) in [
            ("app::session::run::{{closure}}", "app::session::run"),
            ("app::session::run::{closure#0}::{closure#1}", "app::session::run"),
            ("app::main::h0123456789abcdef", "app::main"),
            ("<app::Task as core::future::Future>::poll", "<app::Task as core::future::Future>::poll"),
            ("<fn() -> app::X as app::Y>::z::{{closure}}", "<fn() -> app::X as app::Y>::z"),
            ("<std::fs::File>::sync_all", "std::fs::File::sync_all"),
            ("<app::Cell<app::X as app::Y>>::get", "<app::Cell<app::X as app::Y>>::get"),
            ("<[u8]>::sort", "<[u8]>::sort"),
            ("<T as hash::Verify<phc::Hash>>::verify", "hash::Verify::verify"),
            ("{closure#0}", "{closure#0}"),
            ("clock_nanosleep", "clock_nanosleep"),
            ("alloc::slice::<impl [T]>::sort", "alloc::slice::sort"),
            ("app::text::<impl app::Line>::parse", "app::Line::parse"),
            ("app::x::<impl app::Y for app::Z<T>>::run::{{closure}}", "<app::Z<T> as app::Y>::run"),
        ] {
            assert_eq!(readable(name), expected);
        }
    }

    #[test]
    fn both_ways_of_writing_symbols_give_the_same_name() {
        let slice = Some("/rustc/1/library/alloc/src/slice.rs");
        for (legacy, v0, debug_name, file, expected) in [
            (
                "app::Set::apply::{{closure}}::h0123456789abcdef",
                "<app::Set>::apply::{closure#0}",
                "{async_fn#0}",
                None,
                "app::Set::apply::{async}",
            ),
            ("app::run", "app::run", "run", None, "app::run"),
            (
                "app::hold",
                "app::hold::<alloc::string::String>",
                "hold<alloc::string::String>",
                None,
                "app::hold",
            ),
            (
                "app::Core<T,S>::poll",
                "<app::Core<app::X, app::Y>>::poll",
                "poll<app::X, app::Y>",
                None,
                "app::Core::poll",
            ),
            ("<T as app::Run>::run", "<app::Job as app::Run>::run", "run<app::Job>", None, "app::Run::run"),
            (
                "<app::Job as app::Run>::run",
                "<app::Job as app::Run>::run",
                "run",
                None,
                "<app::Job as app::Run>::run",
            ),
            (
                "<app::Box<T> as app::Run>::run",
                "<app::Box<u8> as app::Run>::run",
                "run<u8>",
                None,
                "<app::Box as app::Run>::run",
            ),
            (
                "app::x::<impl app::Run for app::Job>::run",
                "<app::Job as app::Run>::run",
                "run",
                None,
                "<app::Job as app::Run>::run",
            ),
            ("alloc::slice::<impl [T]>::sort", "<[u32]>::sort", "sort<u32>", slice, "alloc::slice::sort"),
        ] {
            assert_eq!(from_symbol(legacy, Some(debug_name), file), expected);
            assert_eq!(from_symbol(v0, Some(debug_name), file), expected);
        }
    }

    #[test]
    fn an_inlined_function_gets_its_module_from_its_file() {
        let std = Some("/rustc/59807616/library/std/src/sync/poison/mutex.rs");
        for (name, file, expected) in [
            ("lock<std::collections::HashMap<u8, u8>>", std, "std::sync::poison::mutex::lock"),
            ("{async_fn#0}", Some("/home/me/chat-server/src/session.rs"), "chat_server::session::{async fn}"),
            ("{async_block#0}<(), fn()>", Some("/home/me/app/tests/all.rs"), "all::{async block}"),
            ("{closure#1}", Some("src/cmd/set.rs"), "crate::cmd::set::{closure}"),
            ("{closure#1}", Some("/hosts/hostile/src/bin/h03_other_stack.rs"), "h03_other_stack::{closure}"),
            ("{closure#1}", Some("src/bin/load-test/main.rs"), "load_test::{closure}"),
            ("run", Some("src/bin/load-test/plan/mod.rs"), "load_test::plan::run"),
            ("run", Some("/home/me/app/src/bin.rs"), "app::bin::run"),
            ("run", Some("/home/me/app/examples/two-tasks.rs"), "two_tasks::run"),
            ("run", Some("examples/two-tasks/main.rs"), "two_tasks::run"),
            ("get", Some("/app/vendor/dashmap/src/lib.rs"), "dashmap::get"),
            ("verify", Some("/r/src/index/argon2-0.6.0/src/lib.rs"), "argon2::verify"),
            ("app::whole::path", Some("/home/me/app/src/lib.rs"), "app::whole::path"),
            ("<app::X as app::Y>::z", Some("/home/me/app/src/lib.rs"), "<app::X as app::Y>::z"),
            ("alone", None, "alone"),
        ] {
            assert_eq!(qualified(name, file), expected);
        }
    }

    #[test]
    fn the_crate_name_decides_the_kind_of_a_function() {
        assert_eq!(kind_of("std::thread::sleep"), Some(FrameKind::Std));
        assert_eq!(kind_of("<core::pin::Pin<P> as core::future::Future>::poll"), Some(FrameKind::Std));
        assert_eq!(kind_of("tokio::runtime::park"), Some(FrameKind::Runtime));
        assert_eq!(kind_of("chat::run"), Some(FrameKind::Application));
        assert_eq!(kind_of("clock_nanosleep"), None);
        assert_eq!(kind_of("try_allocate_in<alloc::alloc::Global>"), None);
        assert_eq!(kind_of("__rustc::__rust_alloc"), Some(FrameKind::Std));
    }
}
