//! Functions that only forward a call, or that occur in every computation:
//! never the reason for a stall.

/// Returns whether the function only forwards a call.
pub(super) fn is_forwarding(function: &str) -> bool {
    const FORWARDING_PREFIXES: [&str; 26] = [
        "core::ptr::drop_in_place",
        "core::mem::drop",
        "core::ops::function::",
        "<core::",
        "core::iter::",
        "core::option::",
        "core::result::",
        "core::array::",
        "core::panic::",
        "<alloc::boxed::Box",
        "alloc::boxed::",
        "alloc::rc::",
        "alloc::sync::",
        "std::panic::",
        "std::panicking::",
        "std::thread::local::",
        "__rust_try",
        // What distributes log records to a logger.
        "log::",
        "tracing::macros::",
        "tracing::span::",
        "tracing_core::",
        "tracing_log::",
        "tracing_subscriber::filter::",
        "tracing_subscriber::layer::",
        "tracing_subscriber::registry::",
        "<tracing_subscriber::layer::",
    ];
    FORWARDING_PREFIXES.iter().any(|prefix| function.starts_with(prefix)) || is_iteration(function)
}

/// Returns whether the function is std's and only takes each item of an
/// iterator: the iterator decides how long that takes.
fn is_iteration(function: &str) -> bool {
    const ITERATING_METHODS: [&str; 11] = [
        "collect",
        "extend",
        "extend_desugared",
        "extend_trusted",
        "fold",
        "for_each",
        "from_iter",
        "next",
        "spec_extend",
        "try_fold",
        "try_process",
    ];
    let is_std = ["alloc::", "<alloc::", "std::collections::", "<std::collections::"]
        .iter()
        .any(|prefix| function.starts_with(prefix));
    is_std && function.rsplit("::").next().is_some_and(|method| ITERATING_METHODS.contains(&method))
}

/// Returns whether the function occurs in every computation, so that it is
/// never the reason why one takes long.
pub(super) fn is_ubiquitous(function: &str) -> bool {
    const UBIQUITOUS_PREFIXES: [&str; 12] = [
        "core::array",
        "core::cmp",
        "core::hint",
        "core::intrinsics",
        "core::mem",
        "core::num",
        "core::ops",
        "core::ptr",
        "core::slice::index",
        "core::slice::iter",
        "core::time",
        "std::time",
    ];
    is_forwarding(function) || UBIQUITOUS_PREFIXES.iter().any(|prefix| function.starts_with(prefix))
}
