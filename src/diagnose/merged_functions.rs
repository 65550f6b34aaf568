//! Functions with equal code, which the compiler or the linker has merged. They
//! have one address and several names.

use crate::diagnose::names::{self, demangled};
use crate::finding::FrameKind;

fn is_rust(name: &str) -> bool {
    name.starts_with("_R") || name.starts_with("_ZN")
}

/// Returns the names of the Rust functions, each once, without type parameters.
fn rust_names(symbols: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for symbol in symbols.iter().filter(|symbol| is_rust(symbol)) {
        let name = names::from_symbol(&demangled(symbol), None, None);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Returns whether the names of one address are those of several Rust
/// functions, apart from their type parameters.
pub(super) fn are_different(symbols: &[String]) -> bool {
    rust_names(symbols).len() > 1
}

/// Returns one name for several functions: `app::one or app::two`. `None` if
/// there is only one. Functions of std are left out: a shim of std for a
/// closure is equal to the closure.
pub(super) fn joined_name(symbols: &[String]) -> Option<String> {
    let is_of_std = |name: &String| names::kind_of(name).is_none_or(|kind| kind == FrameKind::Std);
    let mut names = rust_names(symbols);
    names.retain(|name| !is_of_std(name));
    match &names[..] {
        [] | [_] => None,
        [one, other] => Some(format!("{one} or {other}")),
        [one, other, more @ ..] => Some(format!("{one}, {other} or {} more", more.len())),
    }
}

/// Returns the names of std's functions, if several were merged.
pub(super) fn of_std(symbols: &[String]) -> Vec<String> {
    // Both mangling schemes contain the crate's name with its length.
    let is_of_std = |name: &&String| name.contains("3std") && is_rust(name);
    let names: Vec<_> = symbols.iter().filter(is_of_std).map(|name| demangled(name)).collect();
    if names.len() > 1 { names } else { Vec::new() }
}

/// Returns the name of the one among std's functions that was called: the one
/// for the type of the file descriptor.
pub(super) fn of_type(merged: &[String], fd_type: Option<&str>) -> Option<String> {
    let fd_type = fd_type?;
    let name = merged.iter().find(|name| name.contains(fd_type))?;
    Some(names::from_symbol(name, None, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_functions_have_all_their_names() {
        let joined = |symbols: &[&str]| {
            joined_name(&symbols.iter().map(|symbol| (*symbol).to_owned()).collect::<Vec<_>>())
        };
        let (one, two) = ("_ZN3app3one17h0123456789abcdefE", "_ZN3app3two17h0123456789abcdefE");
        assert_eq!(joined(&[one, two]).as_deref(), Some("app::one or app::two"));
        let three = "_ZN5other5three17h0123456789abcdefE";
        assert_eq!(joined(&[one, two, three]).as_deref(), Some("app::one, app::two or 1 more"));
        let again = "_ZN3app3one17h1123456789abcdefE";
        let shim = "_ZN4core3ops8function6FnOnce9call_once17h0123456789abcdefE";
        for single in [&[][..], &[one], &[one, again], &[one, shim], &[one, "main", "_ZN3fooEv"]] {
            assert_eq!(joined(single), None, "{single:?}");
        }
    }
}
