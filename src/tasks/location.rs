//! Where tasks were spawned, which a Tokio with `tokio_unstable` keeps.

use std::collections::HashMap;

use crate::little_endian::{u32_at, u64_at};
use crate::tasks::cell::Cell;
use crate::tasks::memory::Memory;
use crate::tasks::vtables::Vtables;

/// A `Location`: the address and the length of the file's name, the line and
/// the column.
const LOCATION_BYTES: usize = 24;
const MAX_NAME_BYTES: u64 = 1024;
const MAX_LINE: u32 = 10_000_000;
const MAX_COLUMN: u32 = 1_000_000;
const MAX_LOCATIONS: usize = 65_536;

/// Reads and keeps the places of spawns.
pub(super) struct Locations<'m, M> {
    memory: &'m M,
    vtables: &'m Vtables,
    known: HashMap<(usize, u64), Option<String>>,
}

impl<'m, M: Memory> Locations<'m, M> {
    pub(super) fn new(memory: &'m M, vtables: &'m Vtables) -> Self {
        Self { memory, vtables, known: HashMap::new() }
    }

    /// Returns `file:line:column` of the spawn of a task.
    pub(super) fn text(&mut self, cell: &Cell) -> Option<String> {
        let image = self.vtables.image_of(cell.vtable.address).filter(|_| cell.spawn_location != 0)?;
        let key = (image, cell.spawn_location);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let text = self.read(image, cell.spawn_location);
        if self.known.len() < MAX_LOCATIONS {
            self.known.insert(key, text.clone());
        }
        text
    }

    /// Reads a `Location`. It and the name are constants of the program.
    fn read(&self, image: usize, address: u64) -> Option<String> {
        let image = self.vtables.image(image)?;
        let is_constant = |address: u64| image.holds_data(address);
        let mut location = [0; LOCATION_BYTES];
        if !is_constant(address) || self.memory.read_into(address, &mut location) < LOCATION_BYTES {
            return None;
        }
        let (name_address, name_bytes) = (u64_at(&location, 0)?, u64_at(&location, 8)?);
        let (line, column) = (u32_at(&location, 16)?, u32_at(&location, 20)?);
        let is_plausible = is_constant(name_address)
            && (1..=MAX_NAME_BYTES).contains(&name_bytes)
            && (1..=MAX_LINE).contains(&line)
            && (1..=MAX_COLUMN).contains(&column);
        if !is_plausible {
            return None;
        }
        let mut name = vec![0; name_bytes as usize];
        if self.memory.read_into(name_address, &mut name) < name.len() {
            return None;
        }
        let name = String::from_utf8(name).ok()?;
        let is_printable = !name.chars().any(char::is_control);
        is_printable.then(|| format!("{name}:{line}:{column}"))
    }
}
