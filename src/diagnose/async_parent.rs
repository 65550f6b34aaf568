//! The function around an inlined async function or block.
//!
//! Line tables have only `{async_fn#0}` for it. The function that polls it has
//! its type as a type parameter: `poll<app::session::run::{async_fn_env#0}>`.

use crate::diagnose::names::{ASYNC_MARK, module_of};

/// The function that polls another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    /// The name in the debug information.
    pub(super) debug_name: &'a str,
    pub(super) is_runtime: bool,
}

/// Returns the whole name of an inlined async function or block, as its symbol
/// would give it. `None` if the caller's type parameters do not name exactly
/// one future of this kind and number in the module of the file.
pub(super) fn whole_name(debug_name: &str, file: Option<&str>, caller: Caller<'_>) -> Option<String> {
    let (kind, number) = debug_name.strip_prefix('{')?.split('}').next()?.split_once('#')?;
    if !kind.starts_with("async_") {
        return None;
    }
    // Another async function may await both a parameter and a function of its
    // own.
    let (caller_name, parameters) = caller.debug_name.split_once('<')?;
    if caller_name != "poll" && !(caller.is_runtime && caller_name.starts_with("{closure#")) {
        return None;
    }
    let future_type = format!("::{{{kind}_env#{number}}}");
    let paths = parameters.match_indices(&future_type).map(|(at, _)| path_before(parameters, at));
    let mut paths: Vec<_> = paths.collect();
    paths.dedup();
    let [path] = paths[..] else { return None };
    let parts: Vec<_> = path.split("::").filter(|part| !part.starts_with('{')).collect();
    let module = module_of(file?)?;
    let (module, in_crate) = (module.split("::").skip(1), parts.get(1..)?);
    let is_in_module = in_crate.len() > module.clone().count() && module.zip(in_crate).all(|(a, b)| a == *b);
    is_in_module.then(|| parts.join("::") + ASYNC_MARK)
}

/// Returns the path that ends at an index. Paths of futures have no type
/// parameters inside.
fn path_before(text: &str, end: usize) -> &str {
    let is_outside = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '}' | '#'));
    text[..end].rsplit(is_outside).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_names_an_inlined_async_function() {
        let main = "/home/me/app/src/main.rs";
        let session = "/home/me/app/src/session/mod.rs";
        for (debug_name, file, debug_name_of_caller, expected) in [
            ("{async_fn#0}", main, "poll<app::first::{async_fn_env#0}>", Some("app::first")),
            (
                "{async_fn#0}<u8>",
                main,
                "poll<app::first::{async_fn_env#0}<alloc::vec::Vec<u8, alloc::alloc::Global>>, u8>",
                Some("app::first"),
            ),
            (
                "{async_block#1}",
                main,
                "poll<alloc::boxed::Box<app::main::{async_block#2}::{async_block_env#1}, alloc::alloc::Global>>",
                Some("app::main"),
            ),
            (
                "{async_fn#0}",
                session,
                "{closure#0}<app::session::{impl#2}::run::{async_fn_env#0}, alloc::sync::Arc<app::Handle>>",
                Some("app::session::run"),
            ),
            // Two futures of this number.
            ("{async_fn#0}", main, "poll<app::first::{async_fn_env#0}, app::second::{async_fn_env#0}>", None),
            // A future of another number, kind or module.
            ("{async_fn#1}", main, "poll<app::first::{async_fn_env#0}>", None),
            ("{async_fn#1}", main, "poll<app::first::{async_fn_env#10}>", None),
            ("{async_block#0}", main, "poll<app::first::{async_fn_env#0}>", None),
            ("{async_fn#0}", session, "poll<app::first::{async_fn_env#0}>", None),
            ("{async_fn#0}", session, "poll<app::session::{async_fn_env#0}>", None),
            // An async function awaits one of its own.
            ("{async_fn#0}", main, "{async_fn#0}<app::first::{async_fn_env#0}>", None),
            ("{async_fn#0}", main, "poll", None),
            ("{closure#0}", main, "poll<app::first::{closure_env#0}>", None),
            ("run", main, "poll<app::first::{async_fn_env#0}>", None),
        ] {
            let caller = Caller { debug_name: debug_name_of_caller, is_runtime: true };
            let expected = expected.map(|name| format!("{name}{ASYNC_MARK}"));
            assert_eq!(whole_name(debug_name, Some(file), caller), expected, "{debug_name_of_caller}");
        }
    }

    #[test]
    fn a_closure_names_what_it_polls_only_in_the_runtime() {
        let name_in = |is_runtime| {
            let caller = Caller { debug_name: "{closure#0}<app::first::{async_fn_env#0}>", is_runtime };
            whole_name("{async_fn#0}", Some("src/main.rs"), caller)
        };
        assert!(name_in(true).is_some());
        assert_eq!(name_in(false), None);
    }
}
