//! A function that is only a jump to another one.

use crate::little_endian::u32_at;
use crate::process::Process;

/// Returns where the code at an address jumps to, if it begins with a jump.
pub(crate) fn target(process: Process, address: u64) -> Option<u64> {
    const BYTES: usize = 5;
    decoded(&process.read(address, BYTES)?, address, cfg!(target_arch = "x86_64"))
}

fn decoded(code: &[u8], address: u64, is_x86_64: bool) -> Option<u64> {
    if is_x86_64 {
        const JUMP: u8 = 0xE9;
        let distance = (code.first() == Some(&JUMP)).then(|| u32_at(code, 1)).flatten()?;
        return address.checked_add(5)?.checked_add_signed(i64::from(distance.cast_signed()));
    }
    const BRANCH: u32 = 0b000101;
    let word = u32_at(code, 0).filter(|word| word >> 26 == BRANCH)?;
    // 26 bits with a sign, in words of 4 bytes.
    let distance = i64::from((word << 6).cast_signed() >> 6) * 4;
    address.checked_add_signed(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_of_both_machines_are_decoded() {
        assert_eq!(decoded(&[0xE9, 0x10, 0, 0, 0], 0x1000, true), Some(0x1015));
        assert_eq!(decoded(&[0xE9, 0xFB, 0xFF, 0xFF, 0xFF], 0x1000, true), Some(0x1000));
        assert_eq!(decoded(&[0x55, 0x10, 0, 0, 0], 0x1000, true), None);
        assert_eq!(decoded(&[0x04, 0, 0, 0x14, 0], 0x1000, false), Some(0x1010));
        assert_eq!(decoded(&[0xFF, 0xFF, 0xFF, 0x17, 0], 0x1000, false), Some(0xFFC));
        assert_eq!(decoded(&[0xFF, 0xFF, 0xFF, 0x97, 0], 0x1000, false), None);
        assert_eq!(decoded(&[], 0x1000, false), None);
    }
}
