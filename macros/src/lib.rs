//! The attribute `#[loopscope::main]`. Use it through the crate `loopscope`,
//! which has it in its feature `macros`.
#![forbid(unsafe_code)]

mod arguments;
mod expansion;
mod fault;
mod function;
mod setting;
mod value;

use proc_macro::TokenStream;

/// Runs an async function on a watched runtime. It takes the place of
/// `#[tokio::main]`.
///
/// ```
/// #[loopscope::main]
/// async fn main() {
///     // the application
/// }
/// ```
///
/// Findings are reported to `tracing` and to stderr: see
/// [`report`](../loopscope/report/index.html). The environment variables of
/// [`ScopeBuilder::start`](../loopscope/struct.ScopeBuilder.html#method.start)
/// apply. If loopscope cannot start, it prints the reason to stderr, and the
/// program runs unwatched.
///
/// # Arguments
///
/// All arguments of `#[tokio::main]` are accepted, and the settings of
/// [`ScopeBuilder`](../loopscope/struct.ScopeBuilder.html) whose values can be
/// written as a literal:
///
/// | argument | value |
/// |---|---|
/// | `flavor` | `"multi_thread"` (default), `"current_thread"` or `"local"`: the kind of the runtime |
/// | `worker_threads` | how many workers a multi-thread runtime has |
/// | `name` | the name of the runtime, which becomes the label `runtime` of its metrics |
/// | `start_paused` | whether Tokio's clock is paused from the beginning; not with `multi_thread`, needs Tokio's feature `test-util` |
/// | `unhandled_panic` | `"ignore"` or `"shutdown_runtime"`; not with `multi_thread`, needs `--cfg tokio_unstable` |
/// | `crate` | the path of loopscope, if the program has renamed it; `#[tokio::main]` has the path of Tokio here |
/// | `threshold` | from `"1ms"` to `"60s"`: a poll that takes at least this long is a stall |
/// | `recording` | `"full"` (default) or `"detect"`: how much is recorded of each poll |
/// | `schedule_delay` | whether Tokio measures the schedule delay of every task |
/// | `signals` | `"never"`, `"safe"` or `"always"`: when loopscope may send signals to capture stacks |
/// | `captures_per_second` | how many stacks are captured per second on average |
/// | `max_debug_info_memory` | how many bytes compressed debug information may take |
/// | `attachable` | whether tools such as `loopscope ps` may read this process from outside |
/// | `terminal` | `"auto"`, `"always"` or `"never"`: where reports are printed |
/// | `telemetry` | the address of the live page, such as `"127.0.0.1:9464"`; needs the feature `telemetry` |
///
/// ```
/// #[loopscope::main(flavor = "current_thread", threshold = "25ms", name = "api")]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     tokio::spawn(async { 1 + 1 }).await?;
///     Ok(())
/// }
/// ```
///
/// A callback (`on_finding`) and a registry (`registry`) need
/// [`ScopeBuilder::run`](../loopscope/struct.ScopeBuilder.html#method.run),
/// which is what the attribute calls.
///
/// # The scope
///
/// `main` may take the scope as its only argument:
///
/// ```
/// use loopscope::Scope;
///
/// #[loopscope::main]
/// async fn main(scope: &Scope) {
///     tokio::spawn(scope.canary("workers"));
/// }
/// ```
///
/// Functions of another name may have the attribute, too. Their arguments are
/// their own.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expansion::expand(arguments.into(), item.into()).into()
}

/// Programs that must not compile.
///
/// ```compile_fail
/// #[loopscope::main]
/// fn main() {}
/// ```
///
/// ```compile_fail
/// #[loopscope::main]
/// async fn main(scope: &loopscope::Scope, arguments: Vec<String>) {}
/// ```
///
/// ```compile_fail
/// #[loopscope::main]
/// async fn main<T>() {}
/// ```
///
/// ```compile_fail
/// #[loopscope::main(threshold = "10")]
/// async fn main() {}
/// ```
///
/// ```compile_fail
/// #[loopscope::main]
/// async fn main() -> Result<(), std::io::Error> {
///     std::fs::read("file")?;
/// }
/// ```
///
/// ```compile_fail
/// #[loopscope::main]
/// struct Main;
/// ```
#[cfg(doctest)]
struct Mistakes;
