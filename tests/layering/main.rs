//! The layering of the workspace: which modules may import which.
//!
//! The sources are read as text. An import is a `use`, or a path in code that
//! begins with `crate`, `super`, `self` or a child module. It leads to the file
//! that defines the item: re-exports are followed. A declaration, `mod x;`, is
//! not an import. Test code is not read.

mod graph;
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use graph::{Edge, Graph};

/// The folders of the crates that are checked.
const CRATES: [&str; 5] = ["src", "macros/src", "chat-server/src", "cli/src", "loadgen/src"];

/// A module of the library with everything below it, and what it may import
/// besides its own parts. If two rows match a module, the row with the longer
/// path applies.
type Rule = (&'static str, &'static [&'static str]);

/// What every module of the library may import.
const ANYWHERE: &[&str] = &["fork", "lock", "owned_thread", "per_process", "signal_mask", "stderr"];

const LIBRARY: &[Rule] = &[
    // Plain data: what the other modules pass to each other.
    ("error", &[]),
    ("finding", &["recording", "serde_time"]),
    ("snapshot", &["finding", "recording"]),
    ("evidence", &["finding", "process", "record::hook_status::Hook", "record::kinds::KindId"]),
    ("recording", &[]),
    ("settings", &["error", "recording"]),
    // Tools. They import at most each other and plain data.
    ("fork", &[]),
    ("lock", &[]),
    ("owned_thread", &[]),
    ("per_process", &[]),
    ("signal_mask", &[]),
    ("stderr", &[]),
    ("os", &[]),
    ("process", &["os"]),
    ("source_path", &[]),
    ("stable_hash", &[]),
    ("token_bucket", &[]),
    ("unix_time", &[]),
    ("serde_time", &["unix_time"]),
    ("self_metrics", &["snapshot"]),
    ("zeroed", &[]),
    // Between the watchdog and the report thread.
    ("outbox", &["evidence", "self_metrics"]),
    // On the workers' threads. Nothing here knows who reads the records.
    ("record", &["os", "recording", "snapshot", "source_path", "zeroed"]),
    ("instrument", &["record"]),
    ("console", &[]),
    // On the watchdog's thread.
    ("little_endian", &[]),
    ("build_id", &["little_endian"]),
    ("jump", &["little_endian", "process"]),
    ("capture", &["build_id", "evidence", "finding", "little_endian", "os", "process"]),
    (
        "watchdog",
        &[
            "capture",
            "evidence",
            "finding",
            "os",
            "outbox",
            "process",
            "record",
            "self_metrics",
            "settings",
            "token_bucket",
        ],
    ),
    // On the report thread. Only `report::thread` uses the recorder.
    // It reads the code of this process.
    (
        "diagnose",
        &[
            "build_id",
            "capture::loaded_code",
            "evidence",
            "finding",
            "little_endian",
            "process",
            "source_path",
            "stable_hash",
        ],
    ),
    ("findings", &["diagnose", "evidence", "finding", "record", "snapshot"]),
    ("report", &["diagnose::roots", "finding", "settings", "token_bucket"]),
    (
        "report::thread",
        &[
            "diagnose",
            "evidence",
            "finding",
            "findings",
            "outbox",
            "process",
            "record",
            "report",
            "self_metrics",
            "settings",
            "token_bucket",
        ],
    ),
    // On the telemetry thread. It reads plain data only, nothing of `record`.
    (
        "export",
        &[
            "attach::document",
            "attach::error",
            "error",
            "finding",
            "recording",
            "report",
            "snapshot",
            "source_path",
            "stable_hash",
            "unix_time",
        ],
    ),
    // Other processes. They use the parts of the watchdog and of the diagnosis
    // that read a thread, a stack or a file of any process.
    ("attach::document", &["finding", "serde_time"]),
    ("tasks", &["capture", "little_endian", "os", "process"]),
    (
        "futures",
        &[
            "attach::document",
            "capture",
            "diagnose",
            "evidence",
            "finding",
            "jump",
            "little_endian",
            "os",
            "process",
            "source_path",
            "tasks",
        ],
    ),
    (
        "threads",
        &[
            "attach::document",
            "capture",
            "diagnose",
            "evidence",
            "finding",
            "jump",
            "os",
            "process",
            "record::clock",
            "watchdog",
        ],
    ),
    (
        "attach::watch",
        &[
            "attach::access",
            "attach::document",
            "attach::error",
            "attach::ps",
            "capture",
            "diagnose::symbols",
            "error",
            "evidence",
            "export",
            "finding",
            "os",
            "outbox",
            "owned_thread",
            "process",
            "record",
            "report::coverage",
            "report::thread",
            "scope::state",
            "self_metrics",
            "settings",
            "snapshot",
            "stable_hash",
            "threads::registers",
            "threads::role",
            "token_bucket",
            "watchdog",
        ],
    ),
    (
        "attach",
        &[
            "attach::document",
            "attach::watch",
            "diagnose::image::given_files",
            "error",
            "finding",
            "futures",
            "little_endian",
            "os",
            "process",
            "report::text",
            "serde_time",
            "tasks",
            "threads",
        ],
    ),
    // Puts the parts together.
    (
        "scope",
        &[
            "attach::document",
            "attach::error",
            "attach::own",
            "error",
            "export",
            "finding",
            "findings",
            "instrument",
            "os",
            "outbox",
            "process",
            "record",
            "recording",
            "report",
            "self_metrics",
            "settings",
            "snapshot",
            "watchdog",
        ],
    ),
];

#[test]
fn modules_of_the_library_import_only_what_the_table_allows() {
    fail_on(&rule_faults(&read("src"), LIBRARY));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    fail_on(&CRATES.iter().flat_map(|folder| read(folder).circles()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_imported_through_the_root_of_its_crate() {
    let faults = CRATES.iter().flat_map(|folder| read(folder).imports_through_the_root());
    fail_on(&faults.collect::<Vec<_>>());
}

/// The compiler keeps `chat-server` and `loadgen` out of private modules. A
/// hidden public item would be a way around that.
#[test]
fn the_library_has_no_hidden_public_item() {
    let graph = read("src");
    let hidden = graph.sources.iter().filter(|source| source.has_hidden_item);
    fail_on(&hidden.map(|source| format!("{} has #[doc(hidden)]", source.file)).collect::<Vec<_>>());
}

#[test]
fn use_lines_have_no_nested_braces() {
    let graphs: Vec<_> = CRATES.iter().map(|folder| read(folder)).collect();
    let sources = graphs.iter().flat_map(|graph| &graph.sources);
    let faults = sources.flat_map(|source| {
        source.nested_uses.iter().map(|line| format!("{}:{line}: write a `use` for each module", source.file))
    });
    fail_on(&faults.collect::<Vec<_>>());
}

#[test]
fn a_module_with_children_is_a_file_mod_rs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let graphs: Vec<_> = CRATES.iter().map(|folder| read(folder)).collect();
    let files = graphs.iter().flat_map(|graph| &graph.sources).map(|source| &source.file);
    let faults = files.filter(|file| root.join(file.trim_end_matches(".rs")).is_dir());
    fail_on(
        &faults
            .map(|file| format!("{file} stands beside its folder: move it there as mod.rs"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn the_table_of_files_with_unsafe_code_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |file: &str| std::fs::read_to_string(root.join(file)).expect("the file exists");
    let document = text("ARCHITECTURE.md");
    let section = document.split("\n## ").find(|section| section.starts_with("Unsafe\n"));
    let rows = section.unwrap_or_default().lines().filter(|line| line.starts_with("| `"));
    let names =
        rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let named: BTreeSet<_> = names.map(|name| format!("src/{name}")).collect();
    let graph = read("src");
    let files = graph.sources.iter().map(|source| source.file.clone());
    let allowed: BTreeSet<_> = files.filter(|file| text(file).contains("allow(unsafe_code)")).collect();
    assert!(!allowed.is_empty());
    let faults = allowed.symmetric_difference(&named);
    fail_on(
        &faults.map(|file| format!("{file} is unsafe or in the table, but not both")).collect::<Vec<_>>(),
    );
}

/// Lines with an address, a table or an example's code may be longer.
#[test]
fn comments_wrap_at_80_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let graphs: Vec<_> = CRATES.iter().map(|folder| read(folder)).collect();
    let mut faults = Vec::new();
    for source in graphs.iter().flat_map(|graph| &graph.sources) {
        let text = std::fs::read_to_string(root.join(&source.file)).expect("the source was read before");
        let mut is_example = false;
        for (index, line) in text.lines().enumerate() {
            let comment = line.trim_start().strip_prefix("//").unwrap_or_default();
            if comment.trim_start_matches(['/', '!', ' ']).starts_with("```") {
                is_example = !is_example;
            } else if !is_example && is_long_comment(line) {
                faults.push(format!("{}:{}: wrap the comment", source.file, index + 1));
            }
        }
    }
    fail_on(&faults);
}

fn is_long_comment(line: &str) -> bool {
    let Some(comment) = line.trim_start().strip_prefix("//") else { return false };
    let is_table_row = comment.trim_start_matches(['/', '!', ' ']).starts_with('|');
    line.chars().count() > 80 && !is_table_row && !line.contains("://")
}

fn read(folder: &str) -> Graph {
    let graph = Graph::read(Path::new(env!("CARGO_MANIFEST_DIR")), folder);
    fail_on(&unread(&graph));
    graph
}

fn fail_on(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// A check that reads no imports would find no fault.
fn unread(graph: &Graph) -> Vec<String> {
    let is_unread = graph.edges().is_empty();
    is_unread.then(|| "no imports were read".to_owned()).into_iter().collect()
}

/// Returns the imports that the rules do not allow.
fn rule_faults(graph: &Graph, rules: &[Rule]) -> Vec<String> {
    let mut faults = unread(graph);
    for source in graph.sources.iter().filter(|source| !source.module.is_empty()) {
        if rule_of(&source.module, rules).is_none() {
            faults.push(format!("{}: the table in tests/layering has no row for its module", source.file));
        }
    }
    faults.extend(graph.edges().iter().filter_map(|edge| fault(graph, edge, rules)));
    faults
}

fn fault(graph: &Graph, edge: &Edge, rules: &[Rule]) -> Option<String> {
    let source = &graph.sources[edge.from];
    let (module, allowed) = rule_of(&source.module, rules)?;
    let is_inside =
        is_below(&edge.path, module) && rule_of(&edge.path, rules).is_some_and(|rule| rule.0 == module);
    let is_allowed = is_inside || allowed.iter().chain(ANYWHERE).any(|prefix| is_below(&edge.path, prefix));
    let imported = edge.path.join("::");
    let place = format!("{}:{}", source.file, edge.line);
    (!is_allowed).then(|| format!("{place}: `{module}` must not import `crate::{imported}`"))
}

/// Returns the row with the longest path that contains a module.
fn rule_of(module: &[String], rules: &[Rule]) -> Option<Rule> {
    rules.iter().filter(|rule| is_below(module, rule.0)).max_by_key(|rule| rule.0.len()).copied()
}

fn is_below(path: &[String], prefix: &str) -> bool {
    let prefix: Vec<_> = prefix.split("::").collect();
    path.len() >= prefix.len() && path.iter().zip(prefix).all(|(one, other)| one == other)
}

/// The check itself, on small sources.
mod check {
    use super::*;

    const RULES: &[Rule] = &[("record", &[]), ("watchdog", &["record"]), ("export", &["record::Snapshot"])];

    fn faults(texts: &[(&str, &str)]) -> Vec<String> {
        rule_faults(&Graph::new("src", texts), RULES)
    }

    #[test]
    fn an_allowed_import_passes() {
        let record = ("src/record.rs", "pub struct Slot;");
        assert_eq!(faults(&[record, ("src/watchdog.rs", "use crate::record::Slot;")]), [""; 0]);
    }

    #[test]
    fn a_forbidden_import_fails() {
        let found = faults(&[("src/record.rs", "\nuse crate::watchdog::Run;"), ("src/watchdog.rs", "")]);
        assert_eq!(found, ["src/record.rs:2: `record` must not import `crate::watchdog::Run`"]);
    }

    #[test]
    fn a_forbidden_path_in_code_fails() {
        let found =
            faults(&[("src/record.rs", "fn f() { super::watchdog::run() }"), ("src/watchdog.rs", "")]);
        assert_eq!(found, ["src/record.rs:1: `record` must not import `crate::watchdog::run`"]);
    }

    #[test]
    fn a_re_export_does_not_hide_a_forbidden_import() {
        let found = faults(&[
            ("src/record/mod.rs", "mod slot; mod data; pub(crate) use {data::Snapshot, slot::Slot};"),
            ("src/record/slot.rs", "pub(crate) struct Slot;"),
            ("src/record/data.rs", "pub(crate) struct Snapshot;"),
            ("src/export.rs", "use crate::record::Slot;"),
        ]);
        assert_eq!(found, ["src/export.rs:1: `export` must not import `crate::record::slot::Slot`"]);
    }

    #[test]
    fn one_item_of_a_module_can_be_allowed_alone() {
        let record = ("src/record.rs", "pub struct Snapshot; pub struct Slot;");
        let found = faults(&[record, ("src/export.rs", "use crate::record::{Slot, Snapshot};")]);
        assert_eq!(found, ["src/export.rs:1: `export` must not import `crate::record::Slot`"]);
    }

    #[test]
    fn a_module_without_a_row_fails() {
        let texts =
            [("src/record.rs", ""), ("src/watchdog.rs", "use crate::record::Slot;"), ("src/new.rs", "")];
        assert_eq!(faults(&texts), ["src/new.rs: the table in tests/layering has no row for its module"]);
    }

    #[test]
    fn sources_without_imports_fail() {
        assert_eq!(faults(&[]), ["no imports were read"]);
    }

    #[test]
    fn imports_in_tests_comments_and_strings_do_not_count() {
        let found = faults(&[
            (
                "src/record.rs",
                r##"
                // use crate::watchdog::Run;
                /* use crate::watchdog::Run; /* nested */ use crate::watchdog::Run; */
                const TEXT: &str = "crate::watchdog::Run \" crate::watchdog::Run";
                const RAW: &str = r#"" use crate::watchdog::Run;"#;
                const QUOTE: char = '"';
                fn f<'a>(_: &'a str) {}
                fn g<'a>(_: &'a str) -> impl Sized + use<'a> { { [f] } }
                #[cfg(test)]
                mod tests { use crate::watchdog::Run; }
                #[cfg(all(test, unix))]
                mod fake;
                "##,
            ),
            ("src/record/fake.rs", "use crate::watchdog::Run;"),
            ("src/watchdog.rs", "use crate::record::Slot;"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_comment_over_80_columns_is_long_unless_it_has_an_address_or_a_table() {
        let word = "x".repeat(78);
        assert!(is_long_comment(&format!("/// {word}")));
        assert!(!is_long_comment(&format!("let {word} = 1;")));
        assert!(!is_long_comment(&format!("// https://{word}")));
        assert!(!is_long_comment(&format!("//! | {word} |")));
    }

    #[test]
    fn what_quote_inserts_is_no_attribute() {
        let record = "fn f() { quote!(#(#calls)* #main [1]); quote!(#name); crate::watchdog::run() }";
        let found = faults(&[("src/record.rs", record), ("src/watchdog.rs", "")]);
        assert_eq!(found, ["src/record.rs:1: `record` must not import `crate::watchdog::run`"]);
    }

    #[test]
    fn a_circle_fails() {
        let graph = Graph::new(
            "src",
            &[
                ("src/a.rs", "use crate::b::B;"),
                ("src/b.rs", "\nuse super::c::C;"),
                ("src/c.rs", "use crate::a::A;"),
            ],
        );
        assert_eq!(graph.circles(), ["src/a.rs:1 -> src/b.rs:2 -> src/c.rs:1 -> src/a.rs"]);
    }

    #[test]
    fn a_parent_that_uses_a_child_which_uses_an_item_of_the_parent_is_a_circle() {
        let parent = "mod child; use child::Child; struct Parent(Child);";
        let graph = Graph::new("src", &[("src/a/mod.rs", parent), ("src/a/child.rs", "use super::Parent;")]);
        assert_eq!(graph.circles(), ["src/a/mod.rs:1 -> src/a/child.rs:1 -> src/a/mod.rs"]);
    }

    #[test]
    fn a_declaration_and_a_re_export_are_no_circle() {
        let parent = "mod one; mod two; pub(crate) use one::One;";
        let texts = [
            ("src/a/mod.rs", parent),
            ("src/a/one.rs", "pub(crate) struct One;"),
            ("src/a/two.rs", "use super::One;"),
        ];
        assert_eq!(Graph::new("src", &texts).circles(), [""; 0]);
    }

    #[test]
    fn super_in_an_inline_module_means_the_file_that_contains_it() {
        let texts =
            [("src/a.rs", "struct A; mod inner { use super::A; use super::super::b::B; }"), ("src/b.rs", "")];
        let graph = Graph::new("src", &texts);
        let edges: Vec<_> = graph.edges().iter().map(|edge| edge.path.join("::")).collect();
        assert_eq!(edges, ["b::B"]);
    }

    #[test]
    fn an_import_through_the_root_fails() {
        let lib = ("src/lib.rs", "mod finding; mod record; pub use finding::Finding;");
        let graph = Graph::new(
            "src",
            &[lib, ("src/finding.rs", ""), ("src/record.rs", "use crate::{Finding, finding};")],
        );
        let found = "src/record.rs:1 imports `crate::Finding`; `crate::finding::Finding` defines it";
        assert_eq!(graph.imports_through_the_root(), [found]);
    }

    #[test]
    fn braces_in_the_braces_of_a_use_are_found() {
        let nested =
            Graph::new("src", &[("src/a.rs", "\nuse std::{fs, io::{self, Read}};\nuse std::{fmt, io};")]);
        assert_eq!(nested.sources[0].nested_uses, [2]);
    }

    #[test]
    fn a_file_behind_a_path_attribute_is_a_part_of_the_module() {
        let texts = [
            ("src/a/mod.rs", "#[path = \"none.rs\"] mod tool; mod other;"),
            ("src/a/none.rs", "pub(crate) struct Tool;"),
            ("src/a/other.rs", "use super::tool::Tool;"),
        ];
        let graph = Graph::new("src", &texts);
        let edges: Vec<_> = graph.edges().iter().map(|edge| &graph.sources[edge.to].file[..]).collect();
        assert_eq!(edges, ["src/a/none.rs"]);
    }
}
