//! The build id of a program or library: the linker's hash of its contents,
//! in a note that is in the file and in memory.

use crate::little_endian::u32_at;

/// Returns the build id among notes of an ELF image.
pub(crate) fn in_notes(mut notes: &[u8]) -> Option<Vec<u8>> {
    const HEADER_BYTES: usize = 12;
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let (name_length, length) = (u32_at(notes, 0)? as usize, u32_at(notes, 4)? as usize);
        let kind = u32_at(notes, 8)?;
        let start = HEADER_BYTES.checked_add(name_length)?.checked_next_multiple_of(4)?;
        let end = start.checked_add(length)?;
        let name = notes.get(HEADER_BYTES..HEADER_BYTES + name_length)?;
        let id = notes.get(start..end)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && !id.is_empty() {
            return Some(id.to_vec());
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: &[u8] =
        b"\x04\0\0\0\x04\0\0\0\x05\0\0\0GNU\0abcd\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0\x01\x02\x03";

    #[test]
    fn the_build_id_is_found_behind_another_note() {
        assert_eq!(in_notes(NOTES), Some(vec![1, 2, 3]));
    }

    #[test]
    fn broken_notes_have_no_build_id() {
        for length in 0..NOTES.len() {
            assert_eq!(in_notes(&NOTES[..length]), None, "{length}");
        }
        assert_eq!(in_notes(&[0xFF; 64]), None);
    }
}
