//! The line of an await that a macro such as `select!` writes.
//!
//! The state of an async function has the line in the macro's own file. The
//! function that polls it has a variable for what is awaited, with the line
//! where the macro is used.

use gimli::{EntriesRaw, UnitOffset, constants};

use crate::diagnose::image::{Bytes, OpenUnit};
use crate::futures::layout::Reference;
use crate::futures::types::{Type, Types};

/// The name of the variable and of the member of a state.
pub(super) const AWAITEE: &str = "__awaitee";
/// The number of awaits that are remembered.
const MAX_LINES: usize = 256;
/// The number of entries that are read of one function.
const MAX_ENTRIES: usize = 1 << 16;

/// A variable for what is awaited.
#[derive(Debug, Default)]
struct Variable {
    of_type: Option<Reference>,
    file: Option<u64>,
    line: Option<u32>,
}

impl Types {
    /// Returns the line where an async function awaits a future of a type;
    /// `None` if it has several awaits of the type.
    pub(super) fn macro_line(&mut self, coroutine: &Type, awaitee: &Type) -> Option<u32> {
        let key = (coroutine.path.clone(), awaitee.path.clone());
        if let Some(known) = self.macro_lines.get(&key) {
            return *known;
        }
        let line = if self.awaits_of(coroutine, awaitee) == 1 { self.line(coroutine, awaitee) } else { None };
        if self.macro_lines.len() >= MAX_LINES {
            self.macro_lines.clear();
        }
        self.macro_lines.insert(key, line);
        line
    }

    /// Returns in how many states an async function awaits a future of a type.
    fn awaits_of(&mut self, coroutine: &Type, awaitee: &Type) -> usize {
        let variants = coroutine.layout.variants.iter().flat_map(|variants| &variants.list);
        let awaited = variants.filter_map(|variant| {
            let state = self.follow(coroutine, variant.member.as_ref()?.of_type)?;
            self.follow(&state, state.layout.member(AWAITEE)?.of_type)
        });
        awaited.filter(|awaited| awaited.path == awaitee.path).count()
    }

    /// Returns the line of the variable in the functions that poll an async
    /// function; `None` if they disagree.
    fn line(&mut self, coroutine: &Type, awaitee: &Type) -> Option<u32> {
        let name = coroutine.layout.name.as_str();
        let module = coroutine.path.strip_suffix(name)?.strip_suffix("::")?;
        // `{async_fn_env#0}<T>` is polled by `{async_fn#0}<T>`.
        let (before, after) = name.split_once("_env#")?;
        let number: String = after.chars().take_while(char::is_ascii_digit).collect();
        let name = format!("{before}#{number}}}");
        let mut ends = coroutine.layout.variants.iter().flat_map(|variants| &variants.list);
        let mut end = || ends.next()?.member.as_ref();
        let (begin, end) = (end()?, end()?);
        let file = self.file(coroutine.unit, begin.file?)?;
        let (begin, end) = (begin.line?, end.line?);
        // An attribute may have given the whole function its own line.
        let is_within = |line: &u32| begin >= end || (begin..=end).contains(line);
        let mut found = None;
        for unit in self.all_units() {
            let entries = self.entries(unit)?;
            for entry in &entries.coroutines {
                self.coroutines_left = self.coroutines_left.checked_sub(1)?;
                if entries.module_of(*entry) != module {
                    continue;
                }
                let open = self.info.unit(unit)?;
                for variable in variables(&open, *entry, &name).unwrap_or_default() {
                    let of_type = variable.of_type.and_then(|of_type| self.resolve(unit, of_type));
                    let of_type = of_type.and_then(|of_type| self.at(of_type));
                    if of_type.is_none_or(|of_type| of_type.path != awaitee.path) {
                        continue;
                    }
                    let line = variable.line.filter(is_within)?;
                    if self.file(unit, variable.file?)? != file || found.is_some_and(|other| other != line) {
                        return None;
                    }
                    found = Some(line);
                }
            }
        }
        found
    }
}

/// Returns the variables of a function for what it awaits. Empty if the
/// function has another name.
fn variables(unit: &OpenUnit, entry: usize, name: &str) -> gimli::Result<Vec<Variable>> {
    let mut variables = Vec::new();
    let mut entries = unit.entries().entries_raw(Some(UnitOffset(entry)))?;
    let own_depth = entries.next_depth();
    let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(variables) };
    let mut has_name = false;
    for specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(*specification)?;
        if attribute.name() == constants::DW_AT_name {
            let text = unit.text(attribute.value(), name.len() + 1).unwrap_or_default();
            has_name = text.split('<').next() == Some(name);
        }
    }
    if !has_name || !abbreviation.has_children() {
        return Ok(variables);
    }
    // The depth of another function that the reader is in.
    let mut other = None::<isize>;
    for _ in 0..MAX_ENTRIES {
        if entries.is_empty() || entries.next_depth() <= own_depth {
            break;
        }
        let depth = entries.next_depth();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        if other.is_some_and(|other| depth <= other) {
            other = None;
        }
        let is_own = other.is_none();
        match abbreviation.tag() {
            constants::DW_TAG_variable if is_own => {
                variables.extend(variable(unit, &mut entries, abbreviation.attributes())?);
            }
            constants::DW_TAG_lexical_block => entries.skip_attributes(abbreviation.attributes())?,
            _ => {
                entries.skip_attributes(abbreviation.attributes())?;
                if is_own && abbreviation.has_children() {
                    other = Some(depth);
                }
            }
        }
    }
    Ok(variables)
}

fn variable(
    unit: &OpenUnit,
    entries: &mut EntriesRaw<'_, Bytes>,
    specifications: &[gimli::AttributeSpecification],
) -> gimli::Result<Option<Variable>> {
    let mut variable = Variable::default();
    let mut has_name = false;
    for specification in specifications {
        let attribute = entries.read_attribute(*specification)?;
        let value = attribute.value();
        match attribute.name() {
            constants::DW_AT_name => {
                has_name = unit.text(value, AWAITEE.len() + 1).is_some_and(|name| name == AWAITEE);
            }
            constants::DW_AT_type => variable.of_type = Reference::from_value(&value),
            constants::DW_AT_decl_file => {
                variable.file = match value {
                    gimli::AttributeValue::FileIndex(number) => Some(number),
                    value => value.udata_value(),
                };
            }
            constants::DW_AT_decl_line => {
                variable.line = value.udata_value().and_then(|line| u32::try_from(line).ok());
            }
            _ => {}
        }
    }
    Ok(has_name.then_some(variable))
}
