//! A table of functions that block, and what to write instead of each.

use crate::diagnose::{public_path, wake};
use crate::finding::{Cause, FrameKind};

/// Functions that block, with one cause and one piece of advice.
#[derive(Debug)]
pub(super) struct AdviceRule {
    /// The public path of a matching function begins with one of these.
    path_prefixes: &'static [&'static str],
    /// The cause; `None` where the system call decides instead of the name.
    pub(super) cause: Option<Cause>,
    /// What to write instead. `{type}` stands for the type of the socket.
    advice: &'static str,
}

const MOVE_WORK_ADVICE: &str = "move the work off the event loop: `tokio::task::spawn_blocking(move || ..).await`, or a rayon pool \
    with a `tokio::sync::oneshot`; a long loop can also call `tokio::task::yield_now().await` regularly";

/// The advice for a call inside of a `Drop`.
pub(super) const DROP_ADVICE: &str = "a `Drop` cannot await: hand the work over to a task or a thread, for example through a channel, protect \
    the data with a lock of `std::sync` that is held briefly, or do the work in an `async fn close(self)`";

/// The advice for a loop over the ticks of an interval.
pub(super) const INTERVAL_ADVICE: &str = "an interval that is late is ready again until it has caught up: call \
    `set_missed_tick_behavior(MissedTickBehavior::Delay)` on it, or `MissedTickBehavior::Skip`";

/// Returns what may be so if an async function that awaits an interval computes
/// for a long time in one poll.
pub(super) fn for_interval_awaiter(function: &str) -> String {
    format!(
        "; `{function}` awaits an interval: if that was late, several of its ticks were ready at once and may \
         all have run in this poll, which `set_missed_tick_behavior(MissedTickBehavior::Delay)` prevents"
    )
}

/// What writes to stdout or stderr.
static STANDARD_OUTPUT_RULE: AdviceRule = AdviceRule {
    path_prefixes: &[
        "std::io::_print",
        "std::io::_eprint",
        "std::io::print_to",
        "std::io::Stdout",
        "std::io::Stderr",
        "<std::io::Stdout",
        "<std::io::Stderr",
        "<&std::io::Stdout",
        "<&std::io::Stderr",
    ],
    cause: Some(Cause::File),
    advice: "stdout and stderr block while nobody reads them, and all that write wait for one lock: write in a \
        thread of its own, as the writer of `tracing_appender::non_blocking` does",
};

const BLOCK_ON_RULE_PREFIXES: &[&str] = &[
    "futures_executor::",
    "pollster::",
    "tokio::runtime::handle::Handle::block_on",
    "tokio::runtime::Handle::block_on",
    "tokio::runtime::runtime::Runtime::block_on",
    "tokio::runtime::handle::block_on",
    "tokio::runtime::runtime::block_on",
];
/// The advice where no thread holds a lock for which a thread waits for long.
pub(super) const FOR_GUARD_OF_SUSPENDED_TASK: &str = "no thread holds this lock, so a task probably keeps its guard across an await: drop the guard before the \
    await, or use `tokio::sync::Mutex`";

/// What copies from one stream to another. The streams may be sockets, pipes or
/// files.
static COPY_RULE: AdviceRule = AdviceRule {
    path_prefixes: &["std::io::copy"],
    cause: None,
    advice: "use `tokio::io::copy` with the asynchronous types of `tokio::net`, `tokio::fs` or `tokio::process`",
};

/// The advice for a pipe.
const PIPE_ADVICE: &str = "for a pipe use `tokio::process` or `tokio::net::unix::pipe`";

/// The first rule that matches decides.
static ADVICE_RULES: &[AdviceRule] = &[
    AdviceRule {
        path_prefixes: &["std::panicking::default_hook", "std::sys::backtrace::BacktraceLock"],
        cause: Some(Cause::Cpu),
        advice: "a panic printed its backtrace, which reads the debug information of the program: cure the panic; \
            `RUST_BACKTRACE=0` or a hook of `std::panic::set_hook` avoids the backtrace",
    },
    AdviceRule {
        path_prefixes: &[
            "std::backtrace::Backtrace",
            "<std::backtrace::Backtrace as ",
            "backtrace::capture::Backtrace",
        ],
        cause: Some(Cause::Cpu),
        advice: "a backtrace reads the debug information of the program: capture none here, or set \
            `RUST_LIB_BACKTRACE=0` if an error type captures it",
    },
    AdviceRule {
        path_prefixes: &[
            "tracing_subscriber::fmt::",
            "<tracing_subscriber::fmt::",
            "env_logger::",
            "<env_logger::",
            "simplelog::",
            "fern::",
            "log4rs::",
        ],
        cause: Some(Cause::File),
        advice: "the log is written synchronously, and all that log wait for one writer: write in a thread of its \
            own, with the writer of `tracing_appender::non_blocking`",
    },
    AdviceRule {
        path_prefixes: &["r2d2::", "<r2d2::"],
        cause: None,
        advice: "the pool waits for a free connection: use an asynchronous pool, such as `bb8` or `deadpool`, or \
            take and use the connection in one `tokio::task::spawn_blocking(move || ..).await`",
    },
    AdviceRule {
        path_prefixes: &["diesel::", "<diesel::"],
        cause: None,
        advice: "use `diesel-async`, or put the queries into one `tokio::task::spawn_blocking(move || ..).await`",
    },
    AdviceRule {
        path_prefixes: &["rusqlite::", "<rusqlite::", "sqlite::", "sqlite3_"],
        cause: None,
        advice: "SQLite is synchronous: put the whole sequence of queries into one \
            `tokio::task::spawn_blocking(move || ..).await`, or let a thread own the connection, as `tokio-rusqlite` does",
    },
    AdviceRule {
        path_prefixes: &["dashmap::", "<dashmap::"],
        cause: None,
        advice: "a part of the map is locked: drop each guard (`Ref`, `RefMut`, an entry, an iterator) before the next \
            await and before the next call on the map, and do less while holding it",
    },
    AdviceRule {
        path_prefixes: &["rayon::", "<rayon::", "rayon_core::", "<rayon_core::"],
        cause: Some(Cause::Other),
        advice: "the call waits until rayon's pool has done the work: start it with `rayon::spawn(move || ..)`, which \
            sends the result through a `tokio::sync::oneshot`, and await that",
    },
    AdviceRule {
        path_prefixes: &["bcrypt::", "argon2::", "<argon2::", "scrypt::", "pbkdf2::", "password_hash::"],
        cause: None,
        advice: "a password hash is slow by design: compute it in `tokio::task::spawn_blocking(move || ..).await`, and \
            limit with a `tokio::sync::Semaphore` how many run at a time",
    },
    AdviceRule {
        path_prefixes: &["native_tls::", "<native_tls::", "openssl::", "<openssl::"],
        cause: None,
        advice: "use `tokio-native-tls` or `tokio-rustls` for the connection; create a connector once, at the start, \
            as it reads the certificates of the system",
    },
    AdviceRule {
        path_prefixes: &["std::thread::sleep", "std::thread::park_timeout"],
        cause: Some(Cause::Sleep),
        advice: "use `tokio::time::sleep(..).await`",
    },
    AdviceRule {
        path_prefixes: &["std::io::stdin", "std::io::Stdin", "<std::io::Stdin", "<&std::io::Stdin"],
        cause: Some(Cause::File),
        advice: "stdin blocks until there is input: read it in a thread of its own, which sends the input through a \
            `tokio::sync::mpsc` channel, or use `tokio::io::stdin`",
    },
    AdviceRule {
        path_prefixes: &["std::io::Pipe", "<std::io::Pipe", "<&std::io::Pipe"],
        cause: Some(Cause::File),
        advice: PIPE_ADVICE,
    },
    AdviceRule {
        path_prefixes: &["std::fs::", "<std::fs::", "<&std::fs::"],
        cause: Some(Cause::File),
        advice: "use `tokio::fs`, or put the whole sequence of file operations into one \
            `tokio::task::spawn_blocking(move || ..).await`",
    },
    AdviceRule {
        path_prefixes: &[
            "<str as std::net::ToSocketAddrs>",
            "<std::string::String as std::net::ToSocketAddrs>",
            "<alloc::string::String as std::net::ToSocketAddrs>",
            "<(&str, u16) as std::net::ToSocketAddrs>",
            "std::net::lookup_host",
            "std::sys::net::connection::socket::lookup_host",
            "std::sys::net::connection::socket::unix::lookup_host",
            "getaddrinfo",
            "gethostbyname",
            "getnameinfo",
            "dns_lookup::",
        ],
        cause: Some(Cause::Dns),
        advice: "use `tokio::net::lookup_host(..).await`; `tokio::net::TcpStream::connect` also accepts a host name",
    },
    AdviceRule {
        path_prefixes: &[
            "std::net::",
            "<std::net::",
            "<&std::net::",
            "std::sys::net::",
            "std::os::unix::net::",
            "<std::os::unix::net::",
        ],
        cause: Some(Cause::Network),
        advice: "use `tokio::net::{type}`",
    },
    AdviceRule {
        path_prefixes: &["std::sync::mpsc::", "std::sync::mpmc::", "crossbeam_channel::"],
        cause: Some(Cause::Channel),
        advice: "use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message",
    },
    AdviceRule {
        path_prefixes: &["std::process::", "<std::process::Child", "<&std::process::Child"],
        cause: Some(Cause::Child),
        advice: "use `tokio::process::Command` and await the child",
    },
    AdviceRule {
        path_prefixes: &["parking_lot::Condvar", "parking_lot::Once"],
        cause: Some(Cause::Lock),
        advice: "use `tokio::sync::Notify` or `tokio::sync::watch` and await it",
    },
    AdviceRule {
        path_prefixes: &[
            "std::sync::Mutex",
            "std::sync::RwLock",
            "<std::sync::Mutex",
            "std::sys::sync::mutex::",
            "std::sys::sync::rwlock::",
            "parking_lot::",
            "lock_api::",
        ],
        cause: Some(Cause::Lock),
        advice: "this lock is held for too long: do less while holding it, or use `tokio::sync::Mutex` if it \
            must be held across an await",
    },
    AdviceRule {
        path_prefixes: BLOCK_ON_RULE_PREFIXES,
        cause: Some(Cause::Other),
        advice: "await the future instead of blocking on it",
    },
    AdviceRule {
        path_prefixes: &["std::sync::", "std::sys::sync::", "std::thread::park"],
        cause: Some(Cause::Lock),
        advice: "use the asynchronous counterpart in `tokio::sync` and await it",
    },
    AdviceRule {
        path_prefixes: &["sched_yield", "std::thread::yield_now", "core::hint::spin_loop"],
        cause: Some(Cause::Cpu),
        advice: "do not wait by spinning: await a `tokio::sync::Notify` or `tokio::sync::watch`, or at least \
            call `tokio::task::yield_now().await` in the loop",
    },
    AdviceRule {
        path_prefixes: &["reqwest::blocking::", "ureq::"],
        cause: None,
        advice: "use an asynchronous HTTP client, such as `reqwest::Client`",
    },
    AdviceRule {
        path_prefixes: &["postgres::"],
        cause: None,
        advice: "use `tokio-postgres`, the asynchronous client that this crate wraps",
    },
    AdviceRule {
        path_prefixes: &[
            "std::thread::JoinHandle",
            "std::thread::ScopedJoinHandle",
            "std::thread::scope",
            "std::thread::spawn",
            "std::thread::Builder",
        ],
        cause: Some(Cause::Other),
        advice: "use `tokio::task::spawn_blocking(..).await` instead of waiting for a thread",
    },
];

/// Returns the advice for a dependency's synchronous function, which itself
/// makes the blocking call.
pub(super) fn for_dependency(function: &str, blocking_call: &str) -> String {
    format!(
        "`{function}` is synchronous because it calls `{blocking_call}`: use an asynchronous counterpart, or \
         call it in `tokio::task::spawn_blocking(move || ..).await`"
    )
}

impl AdviceRule {
    fn matches(&self, function: &str) -> bool {
        let has_prefix = self.path_prefixes.iter().any(|prefix| function.starts_with(prefix));
        // What releases a lock does not wait for it.
        has_prefix && !(self.cause == Some(Cause::Lock) && wake::is_waking(function))
    }

    /// Returns the advice for a function that the rule matches.
    pub(super) fn advice_for(&self, function: &str) -> String {
        const SOCKET_TYPES: [&str; 6] =
            ["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener", "UnixDatagram"];
        let of_type = SOCKET_TYPES.iter().find(|name| function.contains(*name));
        match of_type {
            Some(of_type) => self.advice.replace("{type}", of_type),
            None => self.advice.replace("`tokio::net::{type}`", "the type of the same name in `tokio::net`"),
        }
    }
}

/// Returns the rule for a function, by its public path.
pub(super) fn find(function: &str) -> Option<&'static AdviceRule> {
    let mut rules = [&STANDARD_OUTPUT_RULE, &COPY_RULE].into_iter().chain(ADVICE_RULES);
    rules.find(|rule| rule.matches(function))
}

/// Returns whether the function writes to stdout or stderr.
pub(super) fn is_standard_output(function: &str) -> bool {
    STANDARD_OUTPUT_RULE.matches(&public_path::public_path(function))
}

/// Returns whether the function copies from one stream to another.
pub(super) fn is_copy(function: &str) -> bool {
    COPY_RULE.matches(function)
}

/// Returns whether the advice says to await something, or to use something that
/// has to be awaited. Inside of a `Drop` that is not possible.
pub(super) fn needs_await(advice: &str) -> bool {
    const AWAITING_PARTS: [&str; 10] = [
        ".await",
        "await it",
        "await that",
        "await the ",
        "asynchronous",
        "`tokio-",
        "`tokio::fs",
        "`tokio::io",
        "`tokio::net",
        "`tokio::process",
    ];
    AWAITING_PARTS.iter().any(|part| advice.contains(part))
}

/// Returns whether the function runs a future to its end.
pub(super) fn is_block_on(function: &str) -> bool {
    BLOCK_ON_RULE_PREFIXES.iter().any(|prefix| function.starts_with(prefix))
}

/// Returns what is needed for the line, if the program's symbols do not tell
/// it.
pub(super) fn for_missing_lines(has_symbols: bool) -> &'static str {
    if has_symbols {
        "; for the line, build with `debug = \"line-tables-only\"` in Cargo's profile"
    } else {
        "; the program has no symbols: for function and line, build with `debug = \"line-tables-only\"` and \
         `strip = \"none\"` in Cargo's profile"
    }
}

/// Returns the advice for a cause, where no rule matches the call itself.
pub(super) fn for_cause(cause: Cause, callee: Option<(&str, FrameKind)>) -> String {
    let instead = match cause {
        Cause::Sleep => "use `tokio::time::sleep(..).await`",
        Cause::File => "use `tokio::fs`, or `tokio::task::spawn_blocking(move || ..).await`",
        Cause::Network => "use an asynchronous client, or the types of `tokio::net`",
        Cause::Dns => "use `tokio::net::lookup_host(..).await`",
        Cause::Lock => {
            "do less while holding the lock, or use `tokio::sync::Mutex` if it must be held across an await"
        }
        Cause::Channel => "use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message",
        Cause::Child => "use `tokio::process::Command` and await the child",
        Cause::Hog => {
            "no single poll of this task is long, but the task is ready again immediately after each: do less work \
             per poll and await something in between, or move the work off the event loop: `tokio::task::spawn_blocking(move || ..).await`"
        }
        Cause::Unyielding => {
            "everything that this loop awaits is ready immediately, so it never yields: call \
             `tokio::task::coop::consume_budget().await` in the loop"
        }
        _ => MOVE_WORK_ADVICE,
    };
    for_callee(instead, callee)
}

/// Returns the advice for a pipe, where no rule matches the call itself.
pub(super) fn for_pipe(callee: Option<(&str, FrameKind)>) -> String {
    for_callee(PIPE_ADVICE, callee)
}

fn for_callee(instead: &str, callee: Option<(&str, FrameKind)>) -> String {
    match callee {
        Some((function, FrameKind::Dependency)) => format!("`{function}` is synchronous: {instead}"),
        _ => instead.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let cause = |function| find(function).unwrap().cause;
        assert_eq!(cause("std::thread::sleep"), Some(Cause::Sleep));
        assert_eq!(cause("std::sync::mpsc::Receiver<T>::recv"), Some(Cause::Channel));
        assert_eq!(cause("std::sync::Mutex<T>::lock"), Some(Cause::Lock));
        assert_eq!(cause("std::fs::File::sync_all"), Some(Cause::File));
        assert_eq!(cause("<std::process::ChildStdout as std::io::Read>::read_to_end"), Some(Cause::Child));
        assert_eq!(cause("<std::io::PipeReader as std::io::Read>::read"), Some(Cause::File));
        assert_eq!(cause("std::io::copy"), None);
        assert!(find("serde_json::de::from_str").is_none());
        assert!(find("std::thread::local::LocalKey::with").is_none());
    }

    #[test]
    fn what_releases_a_lock_matches_no_rule_of_a_lock() {
        for function in [
            "std::sync::Condvar::notify_one",
            "<std::sync::MutexGuard as core::ops::drop::Drop>::drop",
            "std::sys::sync::mutex::futex::Mutex::unlock",
            "parking_lot::raw_mutex::RawMutex::unlock_slow",
            "parking_lot::Condvar::notify_all_slow",
            "lock_api::Mutex::unlock_fair",
        ] {
            assert!(find(function).is_none(), "{function}");
        }
    }

    #[test]
    fn calls_of_crates_that_block_have_advice_of_their_own() {
        for (function, part) in [
            ("r2d2::Pool::get", "bb8"),
            ("dashmap::DashMap::insert", "guard"),
            ("rayon::join", "rayon::spawn"),
            ("<std::io::Stdout as std::io::Write>::write_all", "non_blocking"),
            ("std::io::_print", "non_blocking"),
            ("tracing_subscriber::fmt::fmt_layer::on_event", "non_blocking"),
            ("rusqlite::Connection::execute", "tokio-rusqlite"),
            ("bcrypt::hash", "Semaphore"),
            ("native_tls::TlsConnector::new", "tokio-native-tls"),
            ("std::panicking::default_hook", "a panic printed its backtrace"),
            ("<std::net::TcpStream as std::io::Read>::read", "`tokio::net::TcpStream`"),
            ("std::os::unix::net::UnixListener::accept", "`tokio::net::UnixListener`"),
            ("std::io::copy", "`tokio::io::copy`"),
            ("<std::process::ChildStdout as std::io::Read>::read", "`tokio::process::Command`"),
            ("<std::io::PipeReader as std::io::Read>::read", "`tokio::net::unix::pipe`"),
            ("<&std::io::PipeWriter as std::io::Write>::write", "`tokio::net::unix::pipe`"),
            ("std::io::Stdin::read_line", "`tokio::io::stdin`"),
            ("parking_lot::Condvar::wait_for", "`tokio::sync::Notify`"),
            ("parking_lot::Once::call_once_slow", "`tokio::sync::Notify`"),
            ("std::sys::net::connection::socket::Socket::recv", "the type of the same name in `tokio::net`"),
        ] {
            let advice = find(function).unwrap().advice_for(function);
            assert!(advice.contains(part), "{function}: {advice}");
        }
    }

    #[test]
    fn the_advice_names_a_dependency() {
        let advice = for_cause(Cause::Cpu, Some(("image::decode", FrameKind::Dependency)));
        assert!(advice.starts_with("`image::decode` is synchronous: move the work off"));
    }
}
