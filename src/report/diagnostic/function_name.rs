//! Names of functions that fit into a line.

use crate::report::text::{clean, nameless};
use crate::report::wrap::width;

/// A longer name is abbreviated, even if the line has room for it.
const MAX_NAME_COLUMNS: usize = 80;

/// What stands for the parts of a name that are left out.
const LEFT_OUT: &str = "…";

/// Returns a function's name in backticks, in at most `columns` if possible. An
/// async block or closure without a name of its own is shown by its module:
/// ``in `app::session` ``.
pub(super) fn quoted(function: &str, columns: usize) -> String {
    let columns = columns.saturating_sub(2);
    match nameless(function) {
        Some((module, _)) => format!("in `{}`", abbreviated(module, columns.saturating_sub(3))),
        None => format!("`{}`", abbreviated(function, columns)),
    }
}

/// Returns the name of a function as the place of a line.
pub(super) fn described(function: &str, columns: usize) -> String {
    let Some((_, kind)) = nameless(function) else { return quoted(function, columns) };
    let what = match kind {
        "{async fn}" => "an async function",
        "{async block}" => "an async block",
        _ => "a closure",
    };
    format!("{what} {}", quoted(function, columns.saturating_sub(what.len() + 1)))
}

/// Returns a name in at most `columns`, if leaving out the modules of types,
/// then types, then outer modules is enough for that.
fn abbreviated(name: &str, columns: usize) -> String {
    let columns = columns.min(MAX_NAME_COLUMNS);
    let fits = |name: &String| width(name) <= columns;
    let name = clean(name);
    if fits(&name) {
        return name;
    }
    let short_types = without_modules_of_types(&name);
    if fits(&short_types) {
        return short_types;
    }
    let no_types = without_types(&short_types);
    if fits(&no_types) { no_types } else { last_parts(&no_types, columns) }
}

/// Leaves out the modules of all types in angle brackets:
/// `<app::Task as core::future::Future>::poll` becomes
/// `<Task as Future>::poll`.
fn without_modules_of_types(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut depth = 0_usize;
    // Where the last path begins.
    let mut path = 0;
    let mut before = ' ';
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth = depth.saturating_sub(1),
            _ => {}
        }
        short.push(c);
        // After a bracket, `::` is not part of the path of a type.
        let is_separator = c == ':' && before == ':' && depth > 0;
        if is_separator && !short[path..].starts_with("::") {
            short.truncate(path);
        } else if !(c.is_alphanumeric() || matches!(c, '_' | ':')) {
            path = short.len();
        }
        before = c;
    }
    short
}

/// Leaves out what is in the outermost angle brackets.
fn without_types(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut depth = 0_usize;
    let mut before = ' ';
    for c in name.chars() {
        match c {
            '<' => {
                if depth == 0 {
                    plain.push('<');
                    plain.push_str(LEFT_OUT);
                }
                depth += 1;
            }
            '>' if before != '-' && depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    plain.push('>');
                }
            }
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
        before = c;
    }
    plain
}

/// Leaves out the first parts of a path; the last one stays.
fn last_parts(name: &str, columns: usize) -> String {
    let shortened = |at: usize| format!("{LEFT_OUT}{}", &name[at..]);
    let ends = name.match_indices("::").map(|(at, _)| at);
    ends.clone()
        .map(shortened)
        .find(|name| width(name) <= columns)
        .unwrap_or_else(|| ends.last().map_or_else(|| name.to_owned(), shortened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_without_a_name_is_shown_by_its_module() {
        assert_eq!(quoted("app::session::run", 60), "`app::session::run`");
        assert_eq!(quoted("app::session::{async fn}", 60), "in `app::session`");
        assert_eq!(described("app::session::{async fn}", 60), "an async function in `app::session`");
        assert_eq!(described("app::session::{async block}", 60), "an async block in `app::session`");
        assert_eq!(described("app::session::{closure}", 60), "a closure in `app::session`");
        assert_eq!(described("app::session::run", 60), "`app::session::run`");
    }

    #[test]
    fn long_names_lose_modules_of_types_then_types_then_modules() {
        let generic = "<axum::handler::future::IntoServiceFuture<F> as core::future::future::Future>::poll";
        let nested = "<<greeter::Server<T> as tower::Service<http::Request<B>>>::call::Hello<T> as tonic::server::UnaryService<R>>::call";
        for (name, columns, expected) in [
            ("app::session::run", 17, "app::session::run"),
            ("app::session::run", 16, "…::session::run"),
            ("app::session::run", 14, "…::run"),
            ("app::session::run", 1, "…::run"),
            ("clock_nanosleep", 5, "clock_nanosleep"),
            (generic, 100, "<IntoServiceFuture<F> as Future>::poll"),
            (generic, 20, "<…>::poll"),
            (nested, 60, "<…>::call"),
            (nested, 200, "<<Server<T> as Service<Request<B>>>::call::Hello<T> as UnaryService<R>>::call"),
            ("app::apply::<fn(a::B) -> c::D>::run", 30, "app::apply::<fn(B) -> D>::run"),
        ] {
            assert_eq!(abbreviated(name, columns), expected, "{name}");
        }
        assert_eq!(
            without_modules_of_types(nested),
            "<<Server<T> as Service<Request<B>>>::call::Hello<T> as UnaryService<R>>::call"
        );
    }

    #[test]
    fn broken_names_do_no_harm() {
        for name in ["<", ">", "<<::", "a->>b<::", "::::", "", "<好::", "a::<", "-> ::x<y::z"] {
            let long = name.repeat(100);
            for columns in [0, 1, 20, 100] {
                let _ = abbreviated(&long, columns);
            }
        }
        assert_eq!(quoted("a\u{1b}[31m", 60), r"`a\u{1b}[31m`");
    }
}
