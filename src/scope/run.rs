//! Running a future on a watched runtime in one line.

use std::future::Future;

use crate::scope::Scope;
use crate::stderr;

/// Runs a future on a watched multi-thread runtime, with the default settings
/// and all of Tokio's drivers.
///
/// The environment variables of [`ScopeBuilder::start`] apply. If loopscope
/// cannot start, it prints the reason to stderr, and the future runs unwatched.
///
/// [`ScopeBuilder::start`]: crate::ScopeBuilder::start
///
/// # Panics
///
/// Panics if the runtime cannot be built, or if the future panics.
///
/// # Examples
///
/// ```
/// let sum = loopscope::run(async {
///     tokio::spawn(async { 1 + 1 }).await
/// });
/// assert_eq!(sum.unwrap(), 2);
/// ```
pub fn run<F: Future>(future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    match Scope::builder().start() {
        Ok(scope) => {
            let runtime = scope.watch(&mut builder).build().expect("failed to build the runtime");
            scope.block_on(&runtime, future)
        }
        Err(error) => {
            stderr::print(&format!("loopscope: {error}; running unwatched\n"));
            builder.build().expect("failed to build the runtime").block_on(future)
        }
    }
}
