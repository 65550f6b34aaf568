//! Reads the CPU's time stamp counter in one instruction.
#![allow(unsafe_code)]

/// Reads the counter. May only be called where [`is_read_by`] has returned
/// `true`.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn read() -> u64 {
    // SAFETY: every x86_64 CPU has the instruction, and it only writes
    // registers.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Reads the counter. May only be called where [`is_read_by`] has returned
/// `true`.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) fn read() -> u64 {
    let count: u64;
    // SAFETY: the instruction reads a counter into the register.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nostack, preserves_flags)) };
    count
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
pub(crate) fn read() -> u64 {
    0
}

/// Returns whether `read_clock` reads this counter. The caller knows that it is
/// not the monotonic clock, so that the counter may be read.
pub(crate) fn is_read_by(read_clock: impl Fn() -> u64) -> bool {
    let is_between = |_| {
        let [before, reading, after] = [read(), read_clock(), read()];
        before > 0 && (before..=after).contains(&reading)
    };
    // The thread may move between CPUs whose counters differ slightly.
    (0..3).any(is_between)
}
