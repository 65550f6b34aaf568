//! The path by which programmers know a function.

use crate::diagnose::names;

/// Returns a function's public path, without type parameters.
///
/// Private modules are replaced: `std::thread::functions::sleep` becomes
/// `std::thread::sleep`. The name of an inlined function consists of a module
/// and the function, without the type. If the module is one of std that
/// contains a single type, the type is inserted:
/// `std::sync::poison::mutex::lock` becomes `std::sync::Mutex::lock`.
pub(super) fn public_path(name: &str) -> String {
    const PUBLIC_PATH_OF_PRIVATE: [(&str, &str); 49] = [
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
        ("std::io::copy::copy", "std::io::copy"),
        ("std::io::pipe::", "std::io::"),
        ("std::io::stdio::", "std::io::"),
        ("std::io::read_", "std::io::Read::read_"),
        ("std::io::write_", "std::io::Write::write_"),
        // Reads and writes of all types with a descriptor end here. The frame
        // of the type may be missing.
        ("std::sys::fd::unix::FileDesc::read", "std::io::Read::read"),
        ("std::sys::fd::unix::FileDesc::write", "std::io::Write::write"),
        ("std::fs::open", "std::fs::File::open"),
        ("lock_api::mutex::Mutex", "lock_api::Mutex"),
        ("lock_api::mutex::", "lock_api::Mutex::"),
        ("lock_api::rwlock::RwLock", "lock_api::RwLock"),
        ("lock_api::rwlock::", "lock_api::RwLock::"),
        ("parking_lot::condvar::Condvar", "parking_lot::Condvar"),
        ("parking_lot::condvar::", "parking_lot::Condvar::"),
        ("parking_lot::once::Once", "parking_lot::Once"),
        ("parking_lot::once::", "parking_lot::Once::"),
        ("axum::json::", "axum::"),
        ("rayon_core::join::", "rayon::"),
        ("rayon_core::scope::", "rayon::"),
        ("rayon_core::thread_pool::", "rayon::"),
    ];
    if !name.contains("::") {
        // The C library has internal names, such as `__poll` for `poll`.
        let public = ["__GI_", "__libc_", "__"].into_iter().find_map(|prefix| name.strip_prefix(prefix));
        return public.unwrap_or(name).to_owned();
    }
    let plain = with_type_of_module(names::without_parameters(names::without_async_mark(name)));
    PUBLIC_PATH_OF_PRIVATE.iter().fold(plain, |name, (private, public)| match name.find(private) {
        // Replace only at the beginning of a path.
        Some(at) if name[..at].ends_with(|before: char| before.is_alphanumeric() || before == ':') => name,
        Some(at) => [&name[..at], public, &name[at + private.len()..]].concat(),
        None => name,
    })
}

/// Inserts the type into the name of an inlined method, where nearly all
/// blocking functions of the module are methods of one type.
fn with_type_of_module(name: String) -> String {
    const TYPE_OF_MODULE: [(&str, &str); 11] = [
        ("dashmap", "DashMap"),
        ("dashmap::set", "DashSet"),
        ("r2d2", "Pool"),
        ("rusqlite", "Connection"),
        ("rusqlite::row", "Rows"),
        ("rusqlite::statement", "Statement"),
        ("rayon::iter", "ParallelIterator"),
        ("tokio::sync::watch", "Sender"),
        ("tokio::sync::broadcast", "Sender"),
        ("crossbeam_channel::channel", "Receiver"),
        ("native_tls", "TlsConnector"),
    ];
    let Some((module, function)) = name.rsplit_once("::") else { return name };
    match TYPE_OF_MODULE.iter().find(|(of_module, _)| *of_module == module) {
        Some((module, of_type)) if function.starts_with(|first: char| first.is_ascii_lowercase()) => {
            let of_type = match (*of_type, function) {
                ("Receiver", "send" | "send_timeout" | "try_send") => "Sender",
                (of_type, _) => of_type,
            };
            format!("{module}::{of_type}::{function}")
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            public_path("<std::io::stdio::Stdout as std::io::Write>::write"),
            "<std::io::Stdout as std::io::Write>::write"
        );
        assert_eq!(public_path("std::io::copy::copy"), "std::io::copy");
        assert_eq!(public_path("std::sys::fd::unix::FileDesc::read_to_end"), "std::io::Read::read_to_end");
        for name in ["parking_lot::condvar::Condvar::wait_for", "parking_lot::condvar::wait_for"] {
            assert_eq!(public_path(name), "parking_lot::Condvar::wait_for");
        }
        assert_eq!(public_path("parking_lot::once::Once::call_once"), "parking_lot::Once::call_once");
        assert_eq!(public_path("dashmap::insert"), "dashmap::DashMap::insert");
        assert_eq!(public_path("dashmap::DashMap<K,V,S>::insert"), "dashmap::DashMap::insert");
        assert_eq!(public_path("tokio::sync::watch::send"), "tokio::sync::watch::Sender::send");
        assert_eq!(public_path("rayon_core::join::join"), "rayon::join");
        assert_eq!(public_path("rayon::iter::sum"), "rayon::iter::ParallelIterator::sum");
        assert_eq!(public_path("rayon::iter::plumbing::bridge"), "rayon::iter::plumbing::bridge");
        assert_eq!(public_path("axum::json::Json<T>::from_bytes"), "axum::Json::from_bytes");
        assert_eq!(public_path("rusqlite::query_row"), "rusqlite::Connection::query_row");
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
}
