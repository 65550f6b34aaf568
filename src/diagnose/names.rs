//! Function names as people write them.

use crate::FrameKind;

/// A demangled name without what the compiler adds: `{{closure}}` of async
/// functions and closures, `{closure#0}`, the hash of a legacy name.
pub(crate) fn readable(name: &str) -> String {
    let mut parts = Vec::new();
    for part in split_path(name) {
        let is_added = part == "{{closure}}" || part.starts_with("{closure#") || part.starts_with("{async_");
        if !is_added && !is_hash(part) {
            parts.push(part);
        }
    }
    let inherent = parts.first().and_then(|first| inherent_type(first));
    if let (Some(inherent), Some(first)) = (inherent, parts.first_mut()) {
        *first = inherent;
    }
    if parts.is_empty() { name.to_owned() } else { parts.join("::") }
}

/// The type of `<Type>::method`, as one name mangling writes what the other
/// writes `Type::method`.
fn inherent_type(part: &str) -> Option<&str> {
    let inner = part.strip_prefix('<')?.strip_suffix('>')?;
    (!inner.contains(" as ") && inner.starts_with(|first: char| first.is_alphanumeric() || first == '_'))
        .then_some(inner)
}

/// A standard function by the path that people import it from, where its own
/// leads through private modules.
pub(crate) fn public_path(name: &str) -> String {
    const MOVED: [(&str, &str); 9] = [
        ("std::thread::functions::", "std::thread::"),
        ("std::thread::join_handle::", "std::thread::"),
        ("std::sync::poison::mutex::", "std::sync::"),
        ("std::sync::poison::rwlock::", "std::sync::"),
        ("std::sync::poison::condvar::", "std::sync::"),
        ("std::sync::poison::once::", "std::sync::"),
        ("std::sync::barrier::", "std::sync::"),
        ("std::net::tcp::", "std::net::"),
        ("std::net::udp::", "std::net::"),
    ];
    MOVED.iter().fold(name.to_owned(), |name, (private, public)| name.replace(private, public))
}

/// Splits at `::` outside of brackets.
fn split_path(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut depth = 0_i32;
        let bytes = text.as_bytes();
        for at in 0..bytes.len() {
            match bytes[at] {
                b'<' | b'(' | b'[' | b'{' => depth += 1,
                // Not the arrow of a function type.
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

/// Whose a function is, by its name alone, where there is no debug information.
pub(crate) fn kind_of(name: &str) -> Option<FrameKind> {
    let root = name.trim_start_matches(['<', '&', '*', '(', '[', '{']);
    let root = root.strip_prefix("dyn ").or_else(|| root.strip_prefix("impl ")).unwrap_or(root);
    let crate_name = root.split("::").next().filter(|_| root.contains("::"))?;
    Some(match crate_name {
        "std" | "core" | "alloc" | "std_detect" | "test" => FrameKind::Std,
        "tokio" | "loopscope" | "console_subscriber" => FrameKind::Runtime,
        _ => FrameKind::Application,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable() {
        for (name, expected) in [
            ("app::session::run::{{closure}}", "app::session::run"),
            ("app::session::run::{closure#0}::{closure#1}", "app::session::run"),
            ("app::main::h0123456789abcdef", "app::main"),
            ("<app::Task as core::future::Future>::poll", "<app::Task as core::future::Future>::poll"),
            ("<fn() -> app::X as app::Y>::z::{{closure}}", "<fn() -> app::X as app::Y>::z"),
            ("<std::fs::File>::sync_all", "std::fs::File::sync_all"),
            ("<app::Cell<app::X as app::Y>>::get", "<app::Cell<app::X as app::Y>>::get"),
            ("<[u8]>::sort", "<[u8]>::sort"),
            ("{closure#0}", "{closure#0}"),
            ("clock_nanosleep", "clock_nanosleep"),
        ] {
            assert_eq!(readable(name), expected);
        }
    }

    #[test]
    fn private_modules_are_left_out() {
        assert_eq!(public_path("std::thread::functions::sleep"), "std::thread::sleep");
        assert_eq!(public_path("std::sync::poison::mutex::Mutex<T>::lock"), "std::sync::Mutex<T>::lock");
        assert_eq!(
            public_path("<std::net::tcp::TcpStream as std::io::Read>::read"),
            "<std::net::TcpStream as std::io::Read>::read"
        );
    }

    #[test]
    fn a_crate_tells_whose_a_function_is() {
        assert_eq!(kind_of("std::thread::sleep"), Some(FrameKind::Std));
        assert_eq!(kind_of("<core::pin::Pin<P> as core::future::Future>::poll"), Some(FrameKind::Std));
        assert_eq!(kind_of("tokio::runtime::park"), Some(FrameKind::Runtime));
        assert_eq!(kind_of("chat::run"), Some(FrameKind::Application));
        assert_eq!(kind_of("clock_nanosleep"), None);
    }
}
