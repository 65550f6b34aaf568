//! Reads a Rust source as text: which modules it declares, what it imports and
//! what it re-exports. A small lexer is enough for that; macros are read as if
//! their arguments were code.

use std::collections::BTreeSet;

/// The segments of a path, from the root of its crate.
pub(crate) type Path = Vec<String>;

/// One source file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) file: String,
    /// The module that the file contains.
    pub(crate) module: Path,
    /// Inline modules and declared modules (`mod x;`).
    pub(crate) modules: BTreeSet<Path>,
    /// Declared modules that are compiled for tests only.
    pub(crate) test_modules: BTreeSet<Path>,
    /// Modules whose file has another name: `#[path = "file.rs"] mod x;`.
    pub(crate) renamed: Vec<(String, Path)>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    /// Lines with a brace inside the braces of a `use`.
    pub(crate) nested_uses: Vec<usize>,
    /// Whether there is a `#[doc(hidden)]`.
    pub(crate) has_hidden_item: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: Path,
}

/// A `pub use` of a name, or of all names (`*`).
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) module: Path,
    pub(crate) name: String,
    pub(crate) target: Path,
}

impl Source {
    pub(crate) fn read(file: &str, module: Path, text: &str) -> Self {
        let tokens = tokens(text);
        let mut reader = Reader {
            tokens: &tokens,
            at: 0,
            scope: module.clone(),
            depth: 0,
            inline: Vec::new(),
            source: Self { file: file.to_owned(), module, ..Self::default() },
        };
        reader.declarations();
        reader.rewind();
        reader.items();
        reader.source
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    line: usize,
    text: String,
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The module that surrounds the current token.
    scope: Path,
    depth: usize,
    /// The depths at which the surrounding inline modules began.
    inline: Vec<usize>,
    source: Source,
}

impl Reader<'_> {
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| &token.text)
    }

    fn rewind(&mut self) {
        self.at = 0;
        self.depth = 0;
        self.scope.clone_from(&self.source.module);
        self.inline.clear();
    }

    /// Finds all modules, since a path may begin with one that is declared
    /// later.
    fn declarations(&mut self) {
        let mut attributes = Vec::new();
        while self.at < self.tokens.len() {
            if self.is_attribute() {
                attributes.push(self.attribute());
            } else if self.text(0) == "mod" && is_name(self.text(1)) {
                self.declaration(&std::mem::take(&mut attributes));
            } else {
                if !["pub", "(", ")", "crate"].contains(&self.text(0)) {
                    attributes.clear();
                }
                self.step();
            }
        }
    }

    fn declaration(&mut self, attributes: &[Vec<String>]) {
        let path = join(&self.scope, self.text(1));
        if attributes.iter().any(|attribute| is_test_only(attribute)) {
            self.source.test_modules.insert(path);
            return self.skip_item();
        }
        let file = attributes.iter().find(|attribute| attribute[0] == "path");
        if let Some(file) = file.and_then(|attribute| attribute.last()) {
            self.source.renamed.push((file.trim_start_matches('"').to_owned(), path.clone()));
        }
        self.source.modules.insert(path);
        self.enter_module();
    }

    /// Reads everything outside of test code.
    fn items(&mut self) {
        let mut is_public = false;
        while self.at < self.tokens.len() {
            match self.text(0) {
                "#" if self.is_attribute() => {
                    let attribute = self.attribute();
                    if is_test_only(&attribute) {
                        self.skip_item();
                    }
                    self.source.has_hidden_item |=
                        attribute.starts_with(&["doc", "(", "hidden"].map(str::to_owned));
                    continue;
                }
                "mod" if is_name(self.text(1)) => {
                    self.enter_module();
                    continue;
                }
                // `impl Trait + use<'a>` names what a type captures.
                "use" if self.text(1) != "<" => {
                    self.at += 1;
                    let line = self.line();
                    self.use_tree(&Path::new(), is_public, line, 0);
                    is_public = false;
                    continue;
                }
                "pub" => is_public = true,
                // The end of an item, and what stands in `pub(…)`.
                ";" | "}" | "fn" | "struct" | "enum" | "trait" | "impl" | "type" | "const" | "static" => {
                    is_public = false;
                }
                _ => {}
            }
            let is_begin = self.at == 0 || self.tokens[self.at - 1].text != "::";
            if is_begin && is_name(self.text(0)) && self.text(1) == "::" {
                self.path_expression();
            } else {
                self.step();
            }
        }
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    /// Steps over a token and keeps track of inline modules.
    fn step(&mut self) {
        match self.text(0) {
            "{" => self.depth += 1,
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                if self.inline.last() == Some(&self.depth) {
                    self.inline.pop();
                    self.scope.pop();
                }
            }
            _ => {}
        }
        self.at += 1;
    }

    /// Steps over `mod x;` or over `mod x {`.
    fn enter_module(&mut self) {
        if self.text(2) == "{" {
            self.scope = join(&self.scope, self.text(1));
            self.inline.push(self.depth);
            self.depth += 1;
        }
        self.at += 3;
    }

    /// Returns whether an attribute begins here. In `quote!`, a `#` also stands
    /// before what is inserted.
    fn is_attribute(&self) -> bool {
        self.text(0) == "#" && (self.text(1) == "[" || self.text(1) == "!" && self.text(2) == "[")
    }

    /// Steps over an attribute and returns what is between its brackets.
    fn attribute(&mut self) -> Vec<String> {
        self.at += if self.text(1) == "!" { 2 } else { 1 };
        let mut open = 0;
        let mut inner = vec![String::new()];
        while self.at < self.tokens.len() {
            match self.text(0) {
                "[" => open += 1,
                "]" => open -= 1,
                _ => {}
            }
            inner.push(self.text(0).to_owned());
            self.at += 1;
            if open == 0 {
                break;
            }
        }
        // Without the brackets and the empty string that guards `[0]`.
        let inner: Vec<_> = inner.drain(2..inner.len() - 1).collect();
        if inner.is_empty() { vec![String::new()] } else { inner }
    }

    /// Steps over an item: up to its semicolon or its closing brace.
    fn skip_item(&mut self) {
        let mut open = 0;
        while self.at < self.tokens.len() {
            match self.text(0) {
                "{" | "(" | "[" => open += 1,
                ")" | "]" => open -= 1,
                "}" => {
                    open -= 1;
                    if open == 0 {
                        self.at += 1;
                        return;
                    }
                }
                ";" if open == 0 => {
                    self.at += 1;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Reads what follows `use`, up to its semicolon.
    fn use_tree(&mut self, prefix: &Path, is_public: bool, line: usize, braces: usize) {
        let mut path = prefix.clone();
        loop {
            match self.text(0) {
                "{" => {
                    if braces > 0 {
                        self.source.nested_uses.push(line);
                    }
                    self.at += 1;
                    while self.at < self.tokens.len() && self.text(0) != "}" {
                        self.use_tree(&path, is_public, line, braces + 1);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "," | ";" | "}" | "" => break,
                "::" => self.at += 1,
                "as" => {
                    let name = self.text(1).to_owned();
                    self.at += 2;
                    return self.import(path, name, is_public, line);
                }
                segment => {
                    path.push(segment.to_owned());
                    self.at += 1;
                }
            }
        }
        if path.last().is_some_and(|name| name == "self") {
            path.pop();
        }
        let name = path.last().cloned().unwrap_or_default();
        self.import(path, name, is_public, line);
    }

    fn import(&mut self, path: Path, name: String, is_public: bool, line: usize) {
        let Some(path) = self.absolute(&path) else { return };
        if !is_public {
            return self.source.imports.push(Import { line, path });
        }
        // A re-export is an import only if the file itself uses the name, too.
        let uses = self.tokens.iter().filter(|token| token.text == name).count();
        if uses > 1 {
            self.source.imports.push(Import { line, path: path.clone() });
        }
        self.source.exports.push(Export { module: self.scope.clone(), name, target: path });
    }

    /// Reads a path in code: `crate::a::b`, `super::a`, `child::a`.
    fn path_expression(&mut self) {
        let line = self.line();
        let mut path = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && is_name(self.text(1)) {
            path.push(self.text(1).to_owned());
            self.at += 2;
        }
        if let Some(path) = self.absolute(&path) {
            self.source.imports.push(Import { line, path });
        }
    }

    /// Returns the path from the root of the crate, or None for a path into
    /// another crate and for a local name.
    fn absolute(&self, path: &[String]) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Path::new(),
            "self" => self.scope.clone(),
            "super" => self.scope[..self.scope.len().checked_sub(1)?].to_vec(),
            name => {
                let child = join(&self.scope, name);
                return self
                    .source
                    .modules
                    .contains(&child)
                    .then(|| child.into_iter().chain(rest.iter().cloned()).collect());
            }
        };
        for segment in rest {
            if segment == "super" {
                base.pop();
            } else {
                base.push(segment.clone());
            }
        }
        Some(base)
    }
}

/// Whether an attribute is `cfg(test)` or `cfg(all(test, …))`.
fn is_test_only(attribute: &[String]) -> bool {
    let begin: Vec<_> = attribute.iter().take(5).map(String::as_str).collect();
    begin.starts_with(&["cfg", "(", "test"]) || begin == ["cfg", "(", "all", "(", "test"]
}

pub(crate) fn join(module: &[String], name: &str) -> Path {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Splits a source into names, `::`, single other characters, and string
/// literals, which begin with a quote. Comments and characters are left out.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let length = token_length(rest);
        let text = &rest[..length];
        let is_comment = text.starts_with("//") || text.starts_with("/*");
        let is_character = first == '\'';
        if let Some(string) = string_content(text) {
            tokens.push(Token { line, text: format!("\"{string}") });
        } else if !first.is_whitespace() && !is_comment && !is_character {
            tokens.push(Token { line, text: text.to_owned() });
        }
        line += text.matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn token_length(rest: &str) -> usize {
    let first = rest.chars().next().unwrap_or_default();
    let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if ["\"", "b\"", "c\"", "r\"", "r#", "br\"", "br#", "cr#"].iter().any(|begin| rest.starts_with(begin)) {
        return string_length(rest);
    }
    if rest.starts_with("b'") {
        return 1 + character_length(&rest[1..]);
    }
    match first {
        '\'' => character_length(rest),
        ':' if rest.starts_with("::") => 2,
        _ if name > 0 => name,
        _ => first.len_utf8(),
    }
}

fn block_comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string_length(rest: &str) -> usize {
    let begin = rest.find(['"', '#']).unwrap_or(0);
    let hashes = rest[begin..].chars().take_while(|c| *c == '#').count();
    if rest[begin + hashes..].starts_with('"') && rest[..begin].contains('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        let content = begin + hashes + 1;
        return rest[content..].find(&end).map_or(rest.len(), |at| content + at + end.len());
    }
    if hashes > 0 {
        // A raw name: `r#type`.
        return begin + hashes;
    }
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(begin + 1) {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    rest.len()
}

/// A character, or a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let after = at + c.len_utf8();
            rest[after..].find('\'').map_or(rest.len(), |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1 + rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - 1),
    }
}

fn string_content(text: &str) -> Option<&str> {
    let begin = text.find('"').filter(|begin| *begin <= 6)?;
    let is_string = text[..begin].chars().all(|c| "bcr#".contains(c));
    is_string.then(|| text[begin + 1..].trim_end_matches(['"', '#']))
}
