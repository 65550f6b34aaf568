//! The functions of a symbol table.

use std::collections::BTreeSet;

use gimli::Reader;

use crate::diagnose::image::bytes::Bytes;
use crate::little_endian::{u16_at, u32_at, u64_at};

const ENTRY_BYTES: usize = 24;
const ENTRIES_PER_READ: usize = 1024;
const BYTES_PER_READ: usize = 64 * 1024;
/// No name of a function `main` at the root of a crate is longer.
const MAX_MAIN_NAME_BYTES: usize = 256;
/// A symbol without a size, as in assembly, reaches at most this far.
const MAX_UNSIZED_BYTES: u64 = 4096;
/// A longer name of a function is cut. In a file that means harm, each name may
/// reach to the end of the table.
const MAX_NAME_BYTES: usize = 64 * 1024;
/// How many bytes of names are read of a table, and for some addresses. Names
/// may overlap. A Rust program of 500 MB has 75 MB.
#[cfg(feature = "attach")]
const MAX_BYTES_SEARCHED: usize = 1 << 31;
const MAX_BYTES_KEPT: usize = 1 << 27;
/// The names of at most this many functions that share an address are kept.
const MAX_NAMES: usize = 64;

const STT_NOTYPE: u8 = 0;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;
const SHN_UNDEF: u16 = 0;

/// A function as the symbol table has it.
#[derive(Debug, Default, Clone)]
pub(super) struct Symbol {
    /// The address where the function begins.
    pub(super) begin: u64,
    /// The address behind its end.
    pub(super) end: u64,
    /// The names of all functions that begin there: the linker may have merged
    /// several. The first is that of a global function, if there is one.
    pub(super) names: Vec<String>,
}

/// A symbol while the table is being read.
#[derive(Debug, Clone)]
struct Candidate {
    begin: u64,
    size: u64,
    names: Vec<u32>,
}

/// Returns the function at each address. Reads the table once and keeps
/// nothing else of it.
pub(super) fn symbols(
    table: &Bytes,
    strings: &Bytes,
    addresses: &[u64],
) -> gimli::Result<Vec<Option<Symbol>>> {
    let mut sorted: Vec<_> =
        addresses.iter().copied().enumerate().map(|(at, address)| (address, at)).collect();
    sorted.sort_unstable();
    let mut found = vec![None::<Candidate>; addresses.len()];
    let mut table = table.clone();
    let mut entries = vec![0; ENTRIES_PER_READ * ENTRY_BYTES];
    while table.len() >= ENTRY_BYTES {
        let length = table.len().min(entries.len()) / ENTRY_BYTES * ENTRY_BYTES;
        table.read_slice(&mut entries[..length])?;
        for entry in entries[..length].chunks_exact(ENTRY_BYTES) {
            add(entry, &sorted, &mut found);
        }
    }
    let mut bytes_left = MAX_BYTES_KEPT;
    let mut symbol = |candidate: Candidate| {
        let names = candidate.names.iter().filter_map(|offset| name(strings, *offset, &mut bytes_left));
        let names = names.collect();
        Symbol { begin: candidate.begin, end: candidate.begin.saturating_add(candidate.size), names }
    };
    Ok(found.into_iter().map(|candidate| candidate.map(&mut symbol)).collect())
}

fn add(entry: &[u8], sorted: &[(u64, usize)], found: &mut [Option<Candidate>]) {
    let (Some(name), Some(section)) = (u32_at(entry, 0), u16_at(entry, 6)) else { return };
    let (Some(begin), Some(size)) = (u64_at(entry, 8), u64_at(entry, 16)) else { return };
    let (kind, is_local) = (entry[4] & 0xF, entry[4] >> 4 == 0);
    let is_function = matches!(kind, STT_NOTYPE | STT_FUNC | STT_GNU_IFUNC)
        && section != SHN_UNDEF
        && !(kind == STT_NOTYPE && is_local && size == 0);
    if !is_function || begin == 0 {
        return;
    }
    let end = begin.saturating_add(if size == 0 { MAX_UNSIZED_BYTES } else { size });
    let first = sorted.partition_point(|(address, _)| *address < begin);
    for (_, at) in sorted[first..].iter().take_while(|(address, _)| *address < end) {
        // A symbol with a size is better, then the nearest.
        let rank = |begin: u64, size: u64| (size > 0, begin);
        match &mut found[*at] {
            Some(best) if (best.begin, best.size == 0) == (begin, size == 0) => {
                let place = if is_local { best.names.len() } else { 0 };
                best.names.insert(place, name);
                best.names.truncate(MAX_NAMES);
            }
            Some(best) if rank(best.begin, best.size) >= rank(begin, size) => {}
            best => *best = Some(Candidate { begin, size, names: vec![name] }),
        }
    }
}

/// Returns the functions whose names contain a text, with their addresses.
/// Reads the table once.
#[cfg(feature = "attach")]
pub(super) fn functions_with(
    table: &Bytes,
    strings: &Bytes,
    text: &str,
    max_functions: usize,
) -> gimli::Result<Vec<(u64, String)>> {
    functions_within(table, strings, text, max_functions, MAX_BYTES_SEARCHED)
}

#[cfg(feature = "attach")]
fn functions_within(
    table: &Bytes,
    strings: &Bytes,
    text: &str,
    max_functions: usize,
    mut bytes_left: usize,
) -> gimli::Result<Vec<(u64, String)>> {
    let mut found = Vec::new();
    let mut table = table.clone();
    let mut entry = [0; ENTRY_BYTES];
    while table.len() >= ENTRY_BYTES && found.len() < max_functions && bytes_left > 0 {
        table.read_slice(&mut entry)?;
        let (Some(offset), Some(section), Some(begin)) =
            (u32_at(&entry, 0), u16_at(&entry, 6), u64_at(&entry, 8))
        else {
            continue;
        };
        let is_function = entry[4] & 0xF == STT_FUNC && section != SHN_UNDEF && begin != 0;
        let name = if is_function { name(strings, offset, &mut bytes_left) } else { None };
        found.extend(name.filter(|name| name.contains(text)).map(|name| (begin, name)));
    }
    Ok(found)
}

/// Returns the crates with a function `main` at their root. Reads the names of
/// all symbols once, in parts.
pub(super) fn main_crates(strings: &Bytes) -> gimli::Result<BTreeSet<String>> {
    let mut crates = BTreeSet::new();
    let mut strings = strings.clone();
    let mut part = vec![0; BYTES_PER_READ];
    // The beginning of a name whose end is in the next part.
    let mut begun = Vec::new();
    while strings.len() > 0 {
        let length = strings.len().min(part.len());
        strings.read_slice(&mut part[..length])?;
        let mut names = part[..length].split(|byte| *byte == 0).peekable();
        while let Some(name) = names.next() {
            if begun.len() + name.len() <= MAX_MAIN_NAME_BYTES {
                begun.extend_from_slice(name);
            }
            if names.peek().is_some() {
                crates.extend(main_crate(&begun));
                begun.clear();
            }
        }
    }
    Ok(crates)
}

fn main_crate(symbol: &[u8]) -> Option<String> {
    // Both mangling schemes contain each part with its length.
    let symbol = std::str::from_utf8(symbol).ok().filter(|symbol| symbol.contains("4main"))?;
    let name = format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?);
    let crate_name = name.strip_suffix("::main")?;
    (!crate_name.contains("::")).then(|| crate_name.to_owned())
}

/// Returns the name at an offset. Takes its length from `bytes_left`, and
/// returns none once that is used up: the name may be cut.
fn name(strings: &Bytes, offset: u32, bytes_left: &mut usize) -> Option<String> {
    let mut name = strings.clone();
    name.skip(offset as usize).ok()?;
    let length = name.len().min(MAX_NAME_BYTES).min(*bytes_left);
    name.truncate(length).ok()?;
    let end = name.find(0).unwrap_or(length);
    name.truncate(end).ok()?;
    *bytes_left = bytes_left.saturating_sub(end);
    if *bytes_left == 0 {
        return None;
    }
    let name = name.to_string_lossy().ok()?.into_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(all(test, feature = "attach"))]
mod tests {
    use super::*;

    fn entry(name: u32, begin: u64) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..4].copy_from_slice(&name.to_le_bytes());
        (entry[4], entry[6]) = (STT_FUNC, 1);
        entry[8..16].copy_from_slice(&begin.to_le_bytes());
        entry
    }

    #[test]
    fn names_are_searched_up_to_a_limit() {
        let strings = Bytes::from_memory(b"\0abcdefgh\0".to_vec());
        let table = [entry(1, 16), entry(2, 32), entry(3, 48), entry(1, 64)].concat();
        let table = Bytes::from_memory(table);
        let found = |bytes: usize| {
            let found = functions_within(&table, &strings, "h", 8, bytes).unwrap();
            found.into_iter().map(|(begin, _)| begin).collect::<Vec<_>>()
        };
        assert_eq!(found(8 + 7 + 6 + 8 + 1), [16, 32, 48, 64]);
        assert_eq!(found(8 + 7 + 5), [16, 32]);
    }

    #[test]
    fn names_of_addresses_are_kept_up_to_a_limit() {
        let strings = Bytes::from_memory(b"\0abc\0".to_vec());
        let mut left = 5;
        assert_eq!(name(&strings, 1, &mut left).as_deref(), Some("abc"));
        assert_eq!((name(&strings, 1, &mut left), left), (None, 0));
        assert_eq!(name(&strings, 2, &mut left), None);
    }

    #[test]
    fn a_name_without_an_end_is_cut() {
        let mut strings = b"\0poll\0".to_vec();
        strings.extend([b'x'; 2 * MAX_NAME_BYTES]);
        let table = [entry(1, 16), entry(6, 32), entry(u32::MAX, 48)].concat();
        let (table, strings) = (Bytes::from_memory(table), Bytes::from_memory(strings));
        let found = functions_with(&table, &strings, "", 8).unwrap();
        let lengths: Vec<_> = found.iter().map(|(begin, name)| (*begin, name.len())).collect();
        assert_eq!(lengths, [(16, 4), (32, MAX_NAME_BYTES)]);
    }
}
