//! Slices that begin as zeros, whose pages occupy memory only once they are
//! written to, and are returned to the system with the slice.
//!
//! The allocator does neither once a block of this size was freed: it keeps
//! the block, and the next owner's zeros are written to it.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::ptr::{self, NonNull};

/// A type for which all zero bytes are a value.
///
/// # Safety
///
/// All zero bytes must be a valid value, and the type must need no drop and an
/// alignment of at most [`MAX_ALIGNMENT`].
pub(crate) unsafe trait ZeroValid: Send + Sync {}

/// The largest alignment of a [`ZeroValid`] type: that of a page.
const MAX_ALIGNMENT: usize = 4096;

/// An owned slice of zeros.
pub(crate) struct ZeroedSlice<T> {
    start: NonNull<T>,
    length: usize,
    /// Whether the memory is a mapping of its own, not of the allocator.
    is_mapped: bool,
}

// SAFETY: the slice owns its values, as a `Box<[T]>` does.
unsafe impl<T: Send> Send for ZeroedSlice<T> {}
// SAFETY: the slice gives out only shared references to its values.
unsafe impl<T: Sync> Sync for ZeroedSlice<T> {}

impl<T: ZeroValid> ZeroedSlice<T> {
    /// Allocates `length` zero values.
    pub(crate) fn new(length: usize) -> Self {
        const { assert!(align_of::<T>() <= MAX_ALIGNMENT && !std::mem::needs_drop::<T>()) };
        if let Some(start) = map(length * size_of::<T>()) {
            return Self { start: start.cast(), length, is_mapped: true };
        }
        // SAFETY: all zero bytes are a valid `T`.
        let zeros = unsafe { Box::<[T]>::new_zeroed_slice(length).assume_init() };
        Self { start: NonNull::from(Box::leak(zeros)).cast(), length, is_mapped: false }
    }
}

impl<T> Deref for ZeroedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the memory holds `length` valid values until the slice is
        // dropped, and nobody has a mutable reference to it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T> Drop for ZeroedSlice<T> {
    fn drop(&mut self) {
        if self.is_mapped {
            unmap(self.start.cast(), self.length * size_of::<T>());
        } else {
            let zeros = ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.length);
            // SAFETY: the pointer comes from a leaked box of this length.
            drop(unsafe { Box::from_raw(zeros) });
        }
    }
}

impl<T> fmt::Debug for ZeroedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZeroedSlice").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Maps `bytes` of zeros. Returns `None` if the system refuses it.
#[cfg(target_os = "linux")]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the call creates a new mapping at an address that it chooses.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    // A huge page would occupy 2 MB for the first value in it. An error means
    // that there are no huge pages.
    // SAFETY: the range is the mapping that was just created.
    unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) };
    NonNull::new(start.cast())
}

#[cfg(target_os = "linux")]
fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the range is a mapping that `map` created, and its owner is being
    // dropped.
    unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
}

#[cfg(not(target_os = "linux"))]
fn map(_bytes: usize) -> Option<NonNull<u8>> {
    None
}

#[cfg(not(target_os = "linux"))]
fn unmap(_start: NonNull<u8>, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    struct Number(AtomicU64);
    // SAFETY: zero is a valid number.
    unsafe impl ZeroValid for Number {}

    #[test]
    fn values_begin_as_zero_and_keep_what_is_written() {
        for _ in 0..3 {
            let numbers = ZeroedSlice::<Number>::new(100_000);
            assert!(numbers.iter().all(|number| number.0.load(Relaxed) == 0));
            numbers.iter().for_each(|number| number.0.store(7, Relaxed));
            assert_eq!((numbers.len(), numbers[99_999].0.load(Relaxed)), (100_000, 7));
        }
    }
}
