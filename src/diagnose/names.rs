//! Function names as programmers write them.

use crate::finding::FrameKind;

/// Returns a demangled name without the parts that the compiler adds:
/// `{{closure}}` of async functions and closures, `{closure#0}`, and the hash
/// of a legacy name.
pub(super) fn readable(name: &str) -> String {
    let mut parts = Vec::new();
    for part in split_path(name) {
        let is_added = part == "{{closure}}" || part.starts_with("{closure#") || part.starts_with("{async_");
        if !is_added && !is_hash(part) {
            parts.push(part);
        }
    }
    if let Some(first) = parts.first_mut()
        && let Some(plain) = inherent_type(first).or_else(|| generic_trait(first))
    {
        *first = plain;
    }
    if parts.is_empty() { name.to_owned() } else { parts.join("::") }
}

/// Returns the name of an inlined function with the module of its file. Line
/// tables have only the last part of such a name: `lock<u8>` in
/// `library/std/src/sync/poison/mutex.rs` becomes
/// `std::sync::poison::mutex::lock`.
pub(super) fn qualified(name: &str, file: Option<&str>) -> String {
    let base = name.find('<').filter(|at| *at > 0).map_or(name, |at| &name[..at]);
    let module =
        file.and_then(module_of).filter(|_| split_path(name).nth(1).is_none() && !name.starts_with('<'));
    match module {
        Some(module) if base.starts_with('{') => module,
        Some(module) => format!("{module}::{base}"),
        None => name.to_owned(),
    }
}

/// Returns the module of a file: `…/chat-server/src/services/filter.rs`
/// is `chat_server::services::filter`.
fn module_of(file: &str) -> Option<String> {
    let Some((root, path)) = file.rsplit_once("/src/") else {
        // An example, test or bench is a crate with one file.
        return file.rsplit('/').next()?.strip_suffix(".rs").map(str::to_owned);
    };
    let package = root.rsplit('/').next()?;
    // Folders of a registry end in the version: `argon2-0.6.0`.
    let is_version = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    let package =
        package.rsplit_once('-').filter(|(_, rest)| is_version(rest)).map_or(package, |(name, _)| name);
    let path = path.strip_suffix(".rs")?;
    let parts = path.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main"));
    Some([package.replace('-', "_").as_str()].into_iter().chain(parts).collect::<Vec<_>>().join("::"))
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

/// Returns a function's public path, without type parameters.
///
/// Private modules are replaced: `std::thread::functions::sleep` becomes
/// `std::thread::sleep`. The name of an inlined function consists of a module
/// and the function, without the type. If the module is one of std that
/// contains a single type, the type is inserted:
/// `std::sync::poison::mutex::lock` becomes `std::sync::Mutex::lock`.
pub(super) fn public_path(name: &str) -> String {
    const PUBLIC_PATH_OF_PRIVATE: [(&str, &str); 37] = [
        ("std::thread::functions::", "std::thread::"),
        ("std::thread::scoped::", "std::thread::"),
        ("std::thread::join_handle::", "std::thread::"),
        ("std::thread::join", "std::thread::JoinHandle::join"),
        ("std::sync::poison::mutex::Mutex", "std::sync::Mutex"),
        ("std::sync::poison::mutex::", "std::sync::Mutex::"),
        ("std::sync::poison::rwlock::RwLock", "std::sync::RwLock"),
        ("std::sync::poison::rwlock::", "std::sync::RwLock::"),
        ("std::sync::poison::condvar::Condvar", "std::sync::Condvar"),
        ("std::sync::poison::condvar::", "std::sync::Condvar::"),
        ("std::sync::poison::once::Once", "std::sync::Once"),
        ("std::sync::poison::once::", "std::sync::Once::"),
        ("std::sync::once::Once", "std::sync::Once"),
        ("std::sync::once::", "std::sync::Once::"),
        ("std::sync::once_lock::OnceLock", "std::sync::OnceLock"),
        ("std::sync::once_lock::", "std::sync::OnceLock::"),
        ("std::sync::lazy_lock::LazyLock", "std::sync::LazyLock"),
        ("std::sync::lazy_lock::", "std::sync::LazyLock::"),
        ("std::sync::barrier::Barrier", "std::sync::Barrier"),
        ("std::sync::barrier::", "std::sync::Barrier::"),
        ("std::sync::mpsc::send", "std::sync::mpsc::SyncSender::send"),
        ("std::sync::mpsc::recv", "std::sync::mpsc::Receiver::recv"),
        ("std::net::tcp::", "std::net::"),
        ("std::net::udp::", "std::net::"),
        ("std::net::connect", "std::net::TcpStream::connect"),
        ("std::net::socket_addr::", "std::net::"),
        ("std::os::unix::net::stream::", "std::os::unix::net::"),
        ("std::os::unix::net::datagram::", "std::os::unix::net::"),
        ("std::os::unix::net::listener::", "std::os::unix::net::"),
        ("std::io::pipe::", "std::io::"),
        ("std::io::read_", "std::io::Read::read_"),
        ("std::io::write_", "std::io::Write::write_"),
        ("std::fs::open", "std::fs::File::open"),
        ("lock_api::mutex::Mutex", "lock_api::Mutex"),
        ("lock_api::mutex::", "lock_api::Mutex::"),
        ("lock_api::rwlock::RwLock", "lock_api::RwLock"),
        ("lock_api::rwlock::", "lock_api::RwLock::"),
    ];
    if !name.contains("::") {
        // The C library has internal names, such as `__poll` for `poll`.
        let public = ["__GI_", "__libc_", "__"].into_iter().find_map(|prefix| name.strip_prefix(prefix));
        return public.unwrap_or(name).to_owned();
    }
    let plain = without_parameters(name);
    PUBLIC_PATH_OF_PRIVATE.iter().fold(plain, |name, (private, public)| match name.find(private) {
        // Replace only at the beginning of a path.
        Some(at) if name[..at].ends_with(|before: char| before.is_alphanumeric() || before == ':') => name,
        Some(at) => [&name[..at], public, &name[at + private.len()..]].concat(),
        None => name,
    })
}

/// Turns `Receiver<T>::recv` and `Receiver::<T>::recv` into `Receiver::recv`.
/// Brackets at the beginning stay: `<A as B>::c`.
fn without_parameters(name: &str) -> String {
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

/// Returns the kind of a function by its name alone, for a program without
/// debug information. `None` if the name is not a path.
pub(super) fn kind_of(name: &str) -> Option<FrameKind> {
    let root = name.trim_start_matches(['<', '&', '*', '(', '[', '{']);
    let root = root.strip_prefix("dyn ").or_else(|| root.strip_prefix("impl ")).unwrap_or(root);
    let mut parts = split_path(root);
    // A name that is not a path may come from any language. A `::` inside its
    // brackets does not make it a path.
    let (crate_name, _) = (parts.next()?, parts.next()?);
    Some(match crate_name {
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
        ] {
            assert_eq!(readable(name), expected);
        }
    }

    #[test]
    fn an_inlined_function_gets_its_module_from_its_file() {
        let std = Some("/rustc/59807616/library/std/src/sync/poison/mutex.rs");
        for (name, file, expected) in [
            ("lock<std::collections::HashMap<u8, u8>>", std, "std::sync::poison::mutex::lock"),
            ("{async_fn#0}", Some("/home/me/chat-server/src/session.rs"), "chat_server::session"),
            ("{async_block#0}<(), fn()>", Some("/home/me/app/tests/all.rs"), "all"),
            ("verify", Some("/r/src/index/argon2-0.6.0/src/lib.rs"), "argon2::verify"),
            ("app::whole::path", Some("/home/me/app/src/lib.rs"), "app::whole::path"),
            ("<app::X as app::Y>::z", Some("/home/me/app/src/lib.rs"), "<app::X as app::Y>::z"),
            ("alone", None, "alone"),
        ] {
            assert_eq!(qualified(name, file), expected);
        }
    }

    #[test]
    fn private_modules_are_replaced_by_the_public_path() {
        assert_eq!(public_path("std::thread::functions::sleep"), "std::thread::sleep");
        assert_eq!(public_path("std::sync::poison::mutex::Mutex<T>::lock"), "std::sync::Mutex::lock");
        assert_eq!(
            public_path("<std::net::tcp::TcpStream as std::io::Read>::read"),
            "<std::net::TcpStream as std::io::Read>::read"
        );
        assert_eq!(public_path("std::sync::mpsc::recv_timeout"), "std::sync::mpsc::Receiver::recv_timeout");
        assert_eq!(public_path("std::sync::poison::mutex::lock"), "std::sync::Mutex::lock");
        assert_eq!(public_path("std::thread::join"), "std::thread::JoinHandle::join");
        assert_eq!(public_path("std::io::read_exact"), "std::io::Read::read_exact");
    }

    #[test]
    fn type_parameters_are_removed() {
        for (name, expected) in [
            ("channel::Receiver<T>::recv", "channel::Receiver::recv"),
            ("std::sync::mpsc::Receiver::<u8>::recv", "std::sync::mpsc::Receiver::recv"),
            ("<app::X<u8> as app::Y<Z>>::z::<fn() -> u8>", "<app::X as app::Y>::z"),
            ("<&std::fs::File as std::io::Read>::read", "<&std::fs::File as std::io::Read>::read"),
        ] {
            assert_eq!(public_path(name), expected);
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
