//! Running a program on a watched runtime.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, LocalOptions};

use crate::instrument::future::NamedFuture;
use crate::scope::Scope;
use crate::scope::builder::ScopeBuilder;
use crate::settings::Settings;
use crate::stderr;

/// Runs a future on a watched multi-thread runtime, with the default settings
/// and all of Tokio's drivers.
///
/// [`ScopeBuilder::run`] does the same with settings and with another runtime.
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
#[track_caller]
pub fn run<F: Future>(future: F) -> F::Output {
    Scope::builder().run(Builder::new_multi_thread().enable_all(), |_: &Scope| future)
}

impl ScopeBuilder {
    /// Starts a scope, and runs `main` on a runtime that the scope watches.
    /// Runtime and scope end when `main` has returned.
    ///
    /// The environment variables of [`start`](Self::start) apply. If loopscope
    /// cannot start, it prints the reason to stderr, and `main` runs unwatched:
    /// its scope records nothing, as with `LOOPSCOPE=off`. Call
    /// [`start`](Self::start) instead to handle the error.
    ///
    /// The hooks that were set on `runtime` before are replaced: see
    /// [`Scope::watch`].
    ///
    /// # Panics
    ///
    /// Panics if the runtime cannot be built, or if `main` panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use loopscope::Scope;
    /// use tokio::runtime::Builder;
    ///
    /// let mut runtime = Builder::new_multi_thread();
    /// runtime.enable_all().worker_threads(2);
    /// Scope::builder().blocking_threshold(Duration::from_millis(20)).run(&mut runtime, async |scope| {
    ///     tokio::spawn(scope.canary("workers"));
    ///     // the application
    /// });
    /// ```
    #[track_caller]
    pub fn run<T>(self, runtime: &mut Builder, main: impl AsyncFnOnce(&Scope) -> T) -> T {
        let scope = self.start_or_switch_off();
        let runtime = scope.watch(runtime).build().expect("failed to build the runtime");
        scope.block_on(&runtime, main(&scope))
    }

    /// Does the same as [`run`](Self::run), but on a
    /// [`LocalRuntime`](tokio::runtime::LocalRuntime), where
    /// [`tokio::task::spawn_local`] needs no `LocalSet`.
    ///
    /// # Panics
    ///
    /// Panics if the runtime cannot be built, if `runtime` is a builder of a
    /// multi-thread runtime, or if `main` panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    ///
    /// use loopscope::Scope;
    /// use tokio::runtime::Builder;
    ///
    /// let sum = Scope::builder().run_local(Builder::new_current_thread().enable_all(), async |_| {
    ///     let one = Rc::new(1);
    ///     tokio::task::spawn_local(async move { *one + 1 }).await
    /// });
    /// assert_eq!(sum.unwrap(), 2);
    /// ```
    #[track_caller]
    pub fn run_local<T>(self, runtime: &mut Builder, main: impl AsyncFnOnce(&Scope) -> T) -> T {
        let scope = self.start_or_switch_off();
        let runtime =
            scope.watch(runtime).build_local(LocalOptions::default()).expect("failed to build the runtime");
        let recorder = Arc::clone(&scope.state.recorder);
        runtime.block_on(NamedFuture::in_recorder(main(&scope), "main", recorder))
    }

    /// Starts the scope. If that fails, prints the reason and returns a scope
    /// that is switched off.
    fn start_or_switch_off(self) -> Scope {
        self.start().unwrap_or_else(|error| {
            stderr::print(&format!("loopscope: {error}; running unwatched\n"));
            Scope::switched_off(&Settings::default())
        })
    }
}
