//! loopscope in one line.

use std::future::Future;

use crate::scope::Scope;

/// Runs a future on a watched multi-thread runtime with the default settings
/// and all of Tokio's drivers: loopscope in one line.
///
/// Should loopscope be unable to start, it says so on stderr and the future
/// runs unwatched.
///
/// # Panics
/// If the runtime cannot be built, or the future panics.
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
            eprintln!("{error}; running unwatched");
            builder.build().expect("failed to build the runtime").block_on(future)
        }
    }
}
