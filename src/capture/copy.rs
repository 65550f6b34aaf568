//! Copies memory by instructions of its own.
#![allow(unsafe_code)]

use std::arch::asm;

/// Copies `length` bytes, at most 15 fewer. A sanitizer instruments neither
/// these instructions nor, as it would with `memcpy`, the call of a function: a
/// stack has parts that a program must not touch. This is async-signal-safe.
///
/// # Safety
///
/// The bytes at `from` must be readable, the bytes at `to` must be writable,
/// and no other access to them may happen at the same time.
#[inline]
pub(crate) unsafe fn copy_uninstrumented(from: usize, to: *mut u8, length: usize) {
    // SAFETY: the caller has checked both ranges. The direction flag is clear,
    // as the ABI requires at each function call and at the start of a signal
    // handler.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "rep movsb",
            inout("rsi") from => _,
            inout("rdi") to => _,
            inout("rcx") length => _,
            options(nostack, preserves_flags),
        );
    }
    // SAFETY: the caller has checked both ranges.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "cbz {length}, 3f",
            "2:",
            "ldp {a}, {b}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "subs {length}, {length}, #16",
            "b.ne 2b",
            "3:",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            length = inout(reg) length & !15 => _,
            a = out(reg) _,
            b = out(reg) _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_copied_and_nothing_beyond_the_length() {
        let from: Vec<u8> = (0..=255).collect();
        for length in [0, 16, 48, 240] {
            let mut to = vec![7_u8; 256];
            // SAFETY: both vectors are longer than `length`.
            unsafe { copy_uninstrumented(from.as_ptr().expose_provenance(), to.as_mut_ptr(), length) };
            assert_eq!(to[..length], from[..length]);
            assert!(to[length..].iter().all(|byte| *byte == 7));
        }
    }
}
