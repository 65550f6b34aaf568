//! The frames that lead to the site: those of the application that say more
//! than that something was polled or dispatched.

use crate::finding::{Finding, Frame, FrameKind};
use crate::report::text::nameless;

/// How many callers of the site a diagnostic names.
pub(super) const MAX_CALLERS: usize = 3;

/// Crates whose functions between two functions of the application only pass a
/// request or a poll on.
const DISPATCHING_CRATES: [&str; 26] = [
    "actix_http",
    "actix_rt",
    "actix_server",
    "actix_service",
    "actix_web",
    "axum",
    "axum_core",
    "axum_extra",
    "futures",
    "futures_core",
    "futures_util",
    "h2",
    "hyper",
    "hyper_util",
    "pin_project",
    "pin_project_lite",
    "poem",
    "rocket",
    "salvo_core",
    "tonic",
    "tower",
    "tower_http",
    "tower_layer",
    "tower_service",
    "tracing",
    "tracing_futures",
];

/// Methods that pass a request or a poll on: the end of the trait's name, and
/// the method. The trait is std's, or that of a crate above.
const DISPATCHING_METHODS: [(&str, &str); 11] = [
    ("Future", "poll"),
    ("TryFuture", "try_poll"),
    ("Stream", "poll_next"),
    ("Service", "call"),
    ("Service", "poll_ready"),
    ("Handler", "call"),
    ("Fn", "call"),
    ("FnMut", "call_mut"),
    ("FnOnce", "call_once"),
    ("FnOnce", "call_once_force"),
    ("IntoFuture", "into_future"),
];

/// Returns the application's frames that called the site, innermost first,
/// without those that say nothing.
pub(super) fn callers(finding: &Finding) -> Vec<&Frame> {
    let stack = &finding.stack;
    let is_site = |frame: &Frame| {
        finding.site.as_ref().is_some_and(|site| {
            frame.function == site.function && frame.file == site.file && frame.line == site.line
        })
    };
    let site = stack.iter().position(is_site);
    let site_crate = finding.site.as_ref().map(|site| crate_of(&site.function));
    let mut inner = site.map(|site| &stack[site]);
    let mut callers: Vec<&Frame> = Vec::new();
    let mut is_instrumented = false;
    for at in site.map_or(0, |site| site + 1)..stack.len() {
        let frame = &stack[at];
        // The code around `block_on` runs the event loop. It has not called the
        // site.
        if frame.kind == FrameKind::Runtime && frame.function.ends_with("::block_on") {
            break;
        }
        is_instrumented |= frame.function.contains("tracing::instrument::");
        if frame.kind != FrameKind::Application {
            continue;
        }
        let is_instrumented = std::mem::take(&mut is_instrumented);
        let is_same = inner.is_some_and(|inner| is_same_function(inner, frame, is_instrumented));
        if is_same
            || is_of_dispatcher(frame, site_crate)
            || is_dispatch(&frame.function)
            || is_wrapper(stack, at)
        {
            continue;
        }
        inner = Some(frame);
        callers.push(frame);
        if callers.len() == MAX_CALLERS {
            break;
        }
    }
    callers
}

/// Returns whether two frames are of one function, or at one line: an async
/// block or a closure inside a function is a second frame.
fn is_same_function(inner: &Frame, outer: &Frame, is_instrumented: bool) -> bool {
    let kind = |frame: &'_ Frame| nameless(&frame.function).map(|(_, kind)| kind.to_owned());
    let (inner_kind, outer_kind) = (kind(inner), kind(outer));
    let is_same_line = inner.line == outer.line && inner.line.is_some();
    let is_same_name = inner.function == outer.function && inner_kind.is_none();
    // `#[instrument]` wraps the body of a function into an async block.
    let is_wrapped = is_instrumented
        && inner_kind.as_deref() == Some("{async block}")
        && outer_kind.as_deref() == Some("{async fn}");
    inner.file == outer.file && (is_same_line || is_same_name || is_wrapped)
}

/// Returns whether a frame belongs to a framework, or to code that a build
/// script has generated for one.
fn is_of_dispatcher(frame: &Frame, site_crate: Option<&str>) -> bool {
    let of_crate = crate_of(&frame.function);
    let is_of_framework = DISPATCHING_CRATES.contains(&of_crate) && site_crate != Some(of_crate);
    let is_generated =
        frame.file.as_deref().is_some_and(|file| file.contains("/build/") && file.contains("/out/"));
    is_of_framework || is_generated
}

/// Returns whether a function implements a trait in order to be polled or to
/// get requests: `<app::Task as core::future::future::Future>::poll`.
fn is_dispatch(function: &str) -> bool {
    let Some((implementation, method)) = function.rsplit_once("::") else { return false };
    let Some((_, of_trait)) = implementation.rsplit_once(" as ") else { return false };
    let of_trait = of_trait.split(['<', '>']).next().unwrap_or_default();
    let trait_name = of_trait.rsplit("::").next().unwrap_or_default();
    let of_crate = crate_of(of_trait);
    (matches!(of_crate, "core" | "std" | "alloc") || DISPATCHING_CRATES.contains(&of_crate))
        && DISPATCHING_METHODS
            .iter()
            .any(|(name, of_method)| *of_method == method && trait_name.ends_with(name))
}

/// Returns whether a closure is inside of another function on the stack, which
/// is the better place.
fn is_wrapper(stack: &[Frame], at: usize) -> bool {
    let Some((module, "{closure}")) = nameless(&stack[at].function) else { return false };
    let is_around = |outer: &Frame| {
        outer.kind == FrameKind::Application
            && outer.file == stack[at].file
            && outer.function.starts_with(module)
            && !outer.function.ends_with("{closure}")
    };
    stack[at + 1..].iter().any(is_around)
}

/// Returns the crate of a function or trait.
fn crate_of(path: &str) -> &str {
    let path = path.trim_start_matches(['<', '&', '*', '(', '[']);
    let path = path.strip_prefix("mut ").unwrap_or(path);
    let path = path.strip_prefix("dyn ").unwrap_or(path);
    path.split("::").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// Returns the functions of the callers of a sleep in `throttle`, whose
    /// callers are given as functions with their lines.
    fn callers_of(frames: &[(&str, &str, u32)]) -> Vec<(String, u32)> {
        let mut finding = sample::sleep();
        finding.stack.truncate(3);
        let kind = |function: &str| match crate_of(function) {
            "tokio" => FrameKind::Runtime,
            "tracing" | "core" => FrameKind::Dependency,
            _ => FrameKind::Application,
        };
        finding.stack.extend(frames.iter().map(|(function, file, line)| Frame {
            function: (*function).to_owned(),
            file: Some((*file).to_owned()),
            line: Some(*line),
            column: Some(9),
            kind: kind(function),
            recovered: false,
        }));
        callers(&finding).iter().map(|frame| (frame.function.clone(), frame.line.unwrap())).collect()
    }

    fn known(callers: &[(&str, u32)]) -> Vec<(String, u32)> {
        callers.iter().map(|(function, line)| ((*function).to_owned(), *line)).collect()
    }

    #[test]
    fn frames_that_only_pass_a_call_on_are_left_out() {
        for function in [
            "<axum::handler::future::IntoServiceFuture as core::future::future::Future>::poll",
            "<app::Task as core::future::future::Future>::poll",
            "<app::Lines as futures_core::stream::Stream>::poll_next",
            "<app::Auth<S> as tower_service::Service<R>>::call",
            "<app::Auth as tower_service::Service>::poll_ready",
            "<helloworld::SayHelloSvc as tonic::server::service::UnaryService>::call",
            "<app::Job as core::ops::function::FnOnce>::call_once",
            "axum::macros::poll",
            "tower::util::oneshot::{async block}",
            "<tracing::instrument::Instrumented as core::future::future::Future>::poll",
            "<alloc::boxed::Box as core::future::future::Future>::poll",
            "<core::pin::Pin as core::future::future::Future>::poll",
        ] {
            let frames = [(function, "src/glue.rs", 42), ("chat::serve", "src/server.rs", 7)];
            assert_eq!(callers_of(&frames), known(&[("chat::serve", 7)]), "{function}");
        }
    }

    #[test]
    fn functions_of_the_application_stay() {
        for function in [
            "chat::session::poll",
            "<chat::Session as chat::Service>::call",
            "<chat::Session as chat::Future>::poll",
            "<chat::Session as tokio::io::AsyncRead>::poll_read",
            "chat::session::{async fn}",
            "chat::session::{async block}",
            "chat::session::{closure}",
            "towers::build",
        ] {
            assert_eq!(callers_of(&[(function, "src/session.rs", 42)]), known(&[(function, 42)]));
        }
    }

    #[test]
    fn code_that_a_build_script_generated_is_left_out() {
        let file = "target/debug/build/greeter-0123456789abcdef/out/helloworld.rs";
        let frames = [("helloworld::{async block}", file, 300), ("chat::serve", "src/server.rs", 7)];
        assert_eq!(callers_of(&frames), known(&[("chat::serve", 7)]));
    }

    #[test]
    fn the_crate_of_the_site_is_no_framework() {
        let mut finding = sample::sleep();
        finding.site.as_mut().unwrap().function = "tower::build".to_owned();
        finding.stack[2].function = "tower::build".to_owned();
        finding.stack[3].function = "tower::limit".to_owned();
        assert_eq!(callers(&finding).len(), 1);
    }

    #[test]
    fn a_closure_inside_of_a_known_function_is_left_out() {
        let frames = [("chat::set::{closure}", "src/set.rs", 88), ("chat::set::apply", "src/set.rs", 87)];
        assert_eq!(callers_of(&frames), known(&[("chat::set::apply", 87)]));
        let elsewhere = [("chat::set::{closure}", "src/set.rs", 88), ("chat::run", "src/run.rs", 3)];
        assert_eq!(callers_of(&elsewhere), known(&[("chat::set::{closure}", 88), ("chat::run", 3)]));
    }

    #[test]
    fn an_instrumented_function_is_named_once() {
        let instrumented = "<tracing::instrument::Instrumented as core::future::future::Future>::poll";
        let (body, function) = ("chat::set::{async block}", "chat::set::{async fn}");
        let of_macro = [(body, "src/set.rs", 130), (instrumented, "i.rs", 1), (function, "src/set.rs", 127)];
        assert_eq!(callers_of(&of_macro), known(&[(body, 130)]));
        let named =
            [("chat::f", "src/set.rs", 130), (instrumented, "i.rs", 1), ("chat::f", "src/set.rs", 127)];
        assert_eq!(callers_of(&named), known(&[("chat::f", 130)]));
        let of_caller =
            [(function, "src/set.rs", 130), (instrumented, "i.rs", 1), (function, "src/set.rs", 90)];
        assert_eq!(callers_of(&of_caller), known(&[(function, 130), (function, 90)]));
    }

    #[test]
    fn a_function_in_a_function_at_one_line_is_named_once() {
        let frames = [("chat::{async block}", "src/a.rs", 9), ("chat::run", "src/a.rs", 9)];
        assert_eq!(callers_of(&frames), known(&[("chat::{async block}", 9)]));
        let of_site = [("chat::{async block}", "src/flood.rs", 31), ("chat::run", "src/a.rs", 9)];
        assert_eq!(callers_of(&of_site), known(&[("chat::run", 9)]));
    }

    #[test]
    fn no_more_than_three_callers_are_named() {
        let functions = ["chat::a", "chat::b", "chat::c", "chat::d", "chat::e"];
        assert_eq!(callers_of(&functions.map(|function| (function, "src/a.rs", 9))).len(), 1);
        let mut line = 0;
        let frames = functions.map(|function| {
            line += 1;
            (function, "src/a.rs", line)
        });
        assert_eq!(callers_of(&frames).len(), MAX_CALLERS);
    }
}
