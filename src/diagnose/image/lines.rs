//! The source line of an address, from a unit's line program.

use gimli::{AttributeValue, ColumnType, LineProgramHeader, Reader, UnitRef};

use crate::diagnose::image::budget::Budget;
use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::sought::Sought;

/// A place in a source file. Instructions that the compiler added have no line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}

/// Returns the location of each address; `None` for an address that the unit
/// has no line for. Runs the line program once and keeps none of its rows.
/// If the budget does not suffice, no lines are found.
pub(super) fn locations(
    unit: UnitRef<'_, Bytes>,
    budget: &mut Budget,
    addresses: &[u64],
) -> gimli::Result<Vec<Option<Location>>> {
    let mut found = vec![None::<Row>; addresses.len()];
    let Some(program) = unit.line_program.clone() else { return Ok(vec![None; addresses.len()]) };
    if !budget.take_steps(program.header().raw_program_buf().len()) {
        return Ok(vec![None; addresses.len()]);
    }
    let mut sought = Sought::new(addresses.iter().enumerate().map(|(at, address)| (*address, at)));
    let mut rows = program.rows();
    let mut previous = None::<Row>;
    let mut is_removed = false;
    while !sought.is_empty()
        && let Some((_, row)) = rows.next_row()?
    {
        let address = row.address();
        match previous {
            // The linker leaves zero for functions that it removed.
            None => is_removed = address == 0,
            Some(row) if row.address < address && !is_removed => {
                for at in sought.take(row.address..address) {
                    found[at] = Some(row);
                }
            }
            Some(_) => {}
        }
        let line = row.line().and_then(|line| u32::try_from(line.get()).ok());
        let column = match row.column() {
            ColumnType::Column(column) if line.is_some() => u32::try_from(column.get()).ok(),
            _ => None,
        };
        previous = (!row.end_sequence()).then_some(Row { address, file: row.file_index(), line, column });
    }
    let header = rows.header();
    let location = |row: Option<Row>| {
        row.map(|row| Location {
            file: file_of(unit, header, row.file).ok().flatten(),
            line: row.line,
            column: row.column,
        })
    };
    Ok(found.into_iter().map(location).collect())
}

#[derive(Debug, Clone, Copy)]
struct Row {
    address: u64,
    file: u64,
    line: Option<u32>,
    column: Option<u32>,
}

/// Returns the path of a file by its number in the unit.
pub(super) fn file(unit: UnitRef<'_, Bytes>, number: u64) -> gimli::Result<Option<String>> {
    match &unit.line_program {
        Some(program) => file_of(unit, program.header(), number),
        None => Ok(None),
    }
}

fn file_of(
    unit: UnitRef<'_, Bytes>,
    header: &LineProgramHeader<Bytes>,
    number: u64,
) -> gimli::Result<Option<String>> {
    let Some(file) = header.file(number) else { return Ok(None) };
    let text = |value: AttributeValue<Bytes>| -> gimli::Result<String> {
        Ok(unit.attr_string(value)?.to_string_lossy()?.into_owned())
    };
    let mut path = match &unit.comp_dir {
        Some(directory) => directory.to_string_lossy()?.into_owned(),
        None => String::new(),
    };
    // The directory with the number zero is the unit's own.
    if file.directory_index() != 0
        && let Some(directory) = file.directory(header)
    {
        append(&mut path, &text(directory)?);
    }
    append(&mut path, &text(file.path_name())?);
    Ok(Some(path))
}

/// Appends a path to another. An absolute path replaces it.
fn append(path: &mut String, part: &str) {
    if part.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(part);
}
