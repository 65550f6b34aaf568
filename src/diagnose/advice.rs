//! What blocks, and what to write instead: a table.

use crate::{Cause, FrameKind};

/// A call that is known to block.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Function names begin with one of these.
    prefixes: &'static [&'static str],
    /// What it does, where the name alone decides; else the system call does.
    pub(crate) cause: Option<Cause>,
    /// What to write instead.
    pub(crate) advice: &'static str,
}

const MOVE_OFF: &str = "move the work off the event loop: `tokio::task::spawn_blocking(move || ..).await`, or a rayon pool \
    with a `tokio::sync::oneshot`; a long loop may also `tokio::task::yield_now().await` now and then";

/// The first entry that fits decides.
static TABLE: &[Entry] = &[
    Entry {
        prefixes: &["std::thread::sleep", "std::thread::park_timeout"],
        cause: Some(Cause::Sleep),
        advice: "use `tokio::time::sleep(..).await`",
    },
    Entry {
        prefixes: &["std::fs::", "<std::fs::File as ", "<&std::fs::File as ", "std::io::copy"],
        cause: Some(Cause::File),
        advice: "use `tokio::fs`, or put the whole sequence of file operations into one \
            `tokio::task::spawn_blocking(move || ..).await`",
    },
    Entry {
        prefixes: &[
            "<std::net::socket_addr::",
            "<str as std::net::",
            "std::net::socket_addr::",
            "std::sys::net::connection::socket::unix::lookup_host",
        ],
        cause: Some(Cause::Dns),
        advice: "use `tokio::net::lookup_host(..).await`",
    },
    Entry {
        prefixes: &["std::net::", "<std::net::", "<&std::net::", "std::sys::net::"],
        cause: Some(Cause::Network),
        advice: "use the type of the same name in `tokio::net`",
    },
    Entry {
        prefixes: &["std::sync::mpsc::", "std::sync::mpmc::", "crossbeam_channel::"],
        cause: Some(Cause::Channel),
        advice: "use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message",
    },
    Entry {
        prefixes: &["std::process::"],
        cause: Some(Cause::Child),
        advice: "use `tokio::process::Command` and await the child",
    },
    Entry {
        prefixes: &[
            "std::sync::Mutex",
            "std::sync::RwLock",
            "<std::sync::Mutex",
            "std::sys::sync::mutex::",
            "std::sys::sync::rwlock::",
            "parking_lot::",
            "lock_api::",
        ],
        cause: Some(Cause::Lock),
        advice: "somebody holds this lock for too long: shorten what the holder does with it, or use \
            `tokio::sync::Mutex` if it has to be held over an await",
    },
    Entry {
        prefixes: &["std::sync::", "std::sys::sync::", "std::thread::park", "futures_executor::"],
        cause: Some(Cause::Lock),
        advice: "use the counterpart in `tokio::sync` and await it",
    },
    Entry {
        prefixes: &["std::thread::"],
        cause: Some(Cause::Other),
        advice: "use `tokio::task::spawn_blocking(..).await` instead of a thread that is waited for",
    },
];

/// The entry for a function, by its public path.
pub(crate) fn find(function: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.prefixes.iter().any(|prefix| function.starts_with(prefix)))
}

/// What to do about a cause where the call itself is not in the table.
pub(crate) fn for_cause(cause: Cause, called: Option<(&str, FrameKind)>) -> String {
    let instead = match cause {
        Cause::Sleep => "use `tokio::time::sleep(..).await`",
        Cause::File => "use `tokio::fs`, or `tokio::task::spawn_blocking(move || ..).await`",
        Cause::Network => "use an asynchronous client, or the types of `tokio::net`",
        Cause::Dns => "use `tokio::net::lookup_host(..).await`",
        Cause::Lock => {
            "shorten what the holder of the lock does with it, or use `tokio::sync::Mutex` if it has to be held \
             over an await"
        }
        Cause::Channel => "use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message",
        Cause::Child => "use `tokio::process::Command` and await the child",
        _ => MOVE_OFF,
    };
    match called {
        Some((function, FrameKind::Dependency)) => format!("`{function}` is synchronous: {instead}"),
        _ => instead.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_fits_decides() {
        let cause = |function| find(function).unwrap().cause;
        assert_eq!(cause("std::thread::sleep"), Some(Cause::Sleep));
        assert_eq!(cause("std::sync::mpsc::Receiver<T>::recv"), Some(Cause::Channel));
        assert_eq!(cause("std::sync::Mutex<T>::lock"), Some(Cause::Lock));
        assert_eq!(cause("std::fs::File::sync_all"), Some(Cause::File));
        assert!(find("argon2::Argon2::hash_password_into").is_none());
    }

    #[test]
    fn a_dependency_is_named() {
        let advice = for_cause(Cause::Cpu, Some(("argon2::hash", FrameKind::Dependency)));
        assert!(advice.starts_with("`argon2::hash` is synchronous: move the work off"));
    }
}
