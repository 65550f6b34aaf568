//! Follows the imports of a crate's sources to the files that define what is
//! imported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path as FilePath;

use crate::source::{Path, Source};

/// The limit on re-exports that one path leads through. Every path of the
/// workspace stays below it.
const MAX_REEXPORTS: usize = 8;

/// All sources of one crate, without those that are compiled for tests only.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) sources: Vec<Source>,
    /// Which files contain a module: more than one where a `cfg` chooses.
    files: BTreeMap<Path, BTreeSet<usize>>,
}

/// An import of one file by another.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) line: usize,
    pub(crate) to: usize,
    /// What is imported, under the path of its definition.
    pub(crate) path: Path,
}

impl Graph {
    /// Reads a folder of sources below the root of the workspace.
    pub(crate) fn read(root: &FilePath, folder: &str) -> Self {
        let mut texts = Vec::new();
        collect(&root.join(folder), folder, &mut texts);
        let texts: Vec<_> = texts.iter().map(|(file, text)| (&file[..], &text[..])).collect();
        Self::new(folder, &texts)
    }

    /// `texts` are the names of files below `folder`, and their contents.
    pub(crate) fn new(folder: &str, texts: &[(&str, &str)]) -> Self {
        let mut sources: Vec<_> =
            texts.iter().map(|(file, text)| Source::read(file, module_of(folder, file), text)).collect();
        let tests: BTreeSet<_> =
            sources.iter().flat_map(|source| source.test_modules.iter().cloned()).collect();
        sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
        let mut files: BTreeMap<Path, BTreeSet<usize>> = BTreeMap::new();
        for (index, source) in sources.iter().enumerate() {
            files.entry(source.module.clone()).or_default().insert(index);
            let folder = source.file.rsplit_once('/').map_or("", |(folder, _)| folder);
            for (name, module) in &source.renamed {
                let file = format!("{folder}/{name}");
                let index = sources.iter().position(|source| source.file == file);
                files.entry(module.clone()).or_default().extend(index);
            }
        }
        // An inline module is in the file that surrounds it.
        for (index, source) in sources.iter().enumerate() {
            for module in &source.modules {
                files.entry(module.clone()).or_insert_with(|| BTreeSet::from([index]));
            }
        }
        Self { sources, files }
    }

    /// Returns the imports of each file by another one, without duplicates.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let mut edges = BTreeMap::new();
        for (from, source) in self.sources.iter().enumerate() {
            for import in &source.imports {
                let (files, path) = self.resolve(&import.path, 0);
                for to in files.into_iter().filter(|to| *to != from) {
                    edges.entry((from, to, path.clone())).or_insert(import.line);
                }
            }
        }
        let edges = edges.into_iter();
        edges.map(|((from, to, path), line)| Edge { from, line, to, path }).collect()
    }

    /// Returns the files that define what a path names, and the path of the
    /// definition: re-exports are followed.
    fn resolve(&self, path: &[String], depth: usize) -> (BTreeSet<usize>, Path) {
        let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]));
        let Some(length) = length.filter(|_| depth < MAX_REEXPORTS) else { return Default::default() };
        let (module, rest) = path.split_at(length);
        let target = rest
            .split_first()
            .and_then(|(name, rest)| self.export(module, name).map(|target| [target, rest].concat()));
        match target {
            Some(target) => self.resolve(&target, depth + 1),
            None => (self.files[module].clone(), path.to_vec()),
        }
    }

    /// Returns what a name of a module stands for, if it is a re-export.
    fn export(&self, module: &[String], name: &str) -> Option<&[String]> {
        let files = self.files.get(module)?;
        let exports = files.iter().flat_map(|index| &self.sources[*index].exports);
        let mut exports = exports.filter(|export| export.module == module);
        exports.find(|export| export.name == name).map(|export| &export.target[..])
    }

    /// Returns what is imported through the crate's root although another
    /// module defines it.
    pub(crate) fn imports_through_the_root(&self) -> Vec<String> {
        let mut found = Vec::new();
        for source in self.sources.iter().filter(|source| !source.module.is_empty()) {
            for import in &source.imports {
                let Some(name) = import.path.first() else { continue };
                let is_module = self.files.contains_key(&import.path[..1]);
                if let Some(target) = self.export(&[], name).filter(|_| !is_module) {
                    found.push(format!(
                        "{}:{} imports `crate::{name}`; `crate::{}` defines it",
                        source.file,
                        import.line,
                        target.join("::")
                    ));
                }
            }
        }
        found
    }

    /// Returns the shortest circle through each group of files that import each
    /// other.
    pub(crate) fn circles(&self) -> Vec<String> {
        let mut next: BTreeMap<usize, Vec<&Edge>> = BTreeMap::new();
        let edges = self.edges();
        for edge in &edges {
            next.entry(edge.from).or_default().push(edge);
        }
        let (mut circles, mut known) = (Vec::new(), BTreeSet::new());
        for begin in 0..self.sources.len() {
            let Some(circle) = circle_from(begin, &next) else { continue };
            let is_new = circle.iter().filter(|edge| known.insert(edge.from)).count() > 0;
            if is_new {
                let files =
                    circle.iter().map(|edge| format!("{}:{}", self.sources[edge.from].file, edge.line));
                let files: Vec<_> = files.collect();
                circles.push(format!("{} -> {}", files.join(" -> "), self.sources[begin].file));
            }
        }
        circles
    }
}

/// Returns the shortest way from a file back to itself.
fn circle_from<'a>(begin: usize, next: &BTreeMap<usize, Vec<&'a Edge>>) -> Option<Vec<&'a Edge>> {
    let mut ways: Vec<Vec<&Edge>> = vec![Vec::new()];
    let mut reached = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let end = way.last().map_or(begin, |edge| edge.to);
            for edge in next.get(&end).into_iter().flatten() {
                let mut way = way.clone();
                way.push(edge);
                if edge.to == begin {
                    return Some(way);
                }
                if reached.insert(edge.to) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

/// Returns the module that a file contains.
fn module_of(folder: &str, file: &str) -> Path {
    let inner = file.strip_prefix(folder).unwrap_or(file).trim_start_matches('/');
    let inner = inner.trim_end_matches(".rs");
    let mut module: Path = inner.split('/').map(str::to_owned).collect();
    let is_root = module.len() == 1 && (module[0] == "lib" || module[0] == "main");
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

fn collect(folder: &FilePath, name: &str, texts: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder is readable").path();
        let file = path.file_name().expect("an entry has a name").to_string_lossy();
        let inner = format!("{name}/{file}");
        if path.is_dir() {
            collect(&path, &inner, texts);
        } else if file.ends_with(".rs") {
            texts.push((inner, fs::read_to_string(&path).expect("a source is text")));
        }
    }
    texts.sort();
}
