//! One sample of a thread by the kernel's profiler (perf_event_open(2)).
//!
//! A timer of the kernel runs while the thread is on a CPU. When it expires,
//! the kernel copies the registers of the thread's own code and its stack. The
//! thread is not stopped, and no system call is interrupted. Without the right
//! to profile the kernel, a sample is taken only while the thread is in its own
//! code.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::capture::{CopiedStack, machine};
use crate::os;
use crate::threads::registers::perf_event::{self, Attributes, DISABLED, EXCLUDE_HYPERVISOR, EXCLUDE_KERNEL};

/// The thread is sampled after this time on a CPU.
const PERIOD_NANOS: u64 = 100_000;
/// How much of the stack is copied: a record has less than 64 KiB.
const STACK_BYTES: usize = 60 * 1024;
/// The size of the buffer for records. It takes at least one sample.
const BUFFER_BYTES: usize = 128 * 1024;

const TYPE_SOFTWARE: u32 = 1;
const CONFIG_CPU_CLOCK: u64 = 0;
const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_REGS_USER: u64 = 1 << 12;
const SAMPLE_STACK_USER: u64 = 1 << 13;
const RECORD_SAMPLE: u32 = 9;
/// Where the first page of the buffer has the end of the records.
const DATA_HEAD_OFFSET: usize = 1024;

/// Samples a thread of another process once. Returns `None` if the thread did
/// not run within `timeout`: one that waits for a CPU is not sampled before it
/// gets one.
///
/// # Errors
///
/// If the kernel refuses it.
pub(super) fn copy(tid: i32, timeout: Duration) -> io::Result<Option<CopiedStack>> {
    let request = Request::new(tid)?;
    let mut wait = libc::pollfd { fd: request.event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `wait` is one entry, a local.
    unsafe { libc::poll(&raw mut wait, 1, i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)) };
    Ok(request.stack())
}

/// Returns whether the kernel allows samples: of the calling thread, at least.
pub(super) fn is_allowed() -> bool {
    Request::new(os::current_thread_id()).is_ok()
}

/// A request for one sample of a thread, as soon as it runs.
#[derive(Debug)]
pub(super) struct Request {
    event: File,
    buffer: Buffer,
}

impl Request {
    pub(super) fn new(tid: i32) -> io::Result<Self> {
        // Who may profile the kernel gets a sample of a thread that is in a
        // system call, too, with the registers that it had before.
        let event = open(tid, 0).or_else(|_| open(tid, EXCLUDE_KERNEL))?;
        let buffer = Buffer::new(&event)?;
        perf_event::enable_once(&event)?;
        Ok(Self { event, buffer })
    }

    /// Returns the registers and the stack if the sample has been taken.
    pub(super) fn stack(&self) -> Option<CopiedStack> {
        stack_of_records(&self.buffer.records())
    }
}

fn open(tid: i32, more_flags: u64) -> io::Result<File> {
    perf_event::open(
        tid,
        Attributes {
            event_type: TYPE_SOFTWARE,
            config: CONFIG_CPU_CLOCK,
            sample_period: PERIOD_NANOS,
            sample_type: SAMPLE_TID | SAMPLE_REGS_USER | SAMPLE_STACK_USER,
            flags: DISABLED | EXCLUDE_HYPERVISOR | more_flags,
            wakeup_events: 1,
            sample_regs_user: machine::SAMPLED_REGISTERS,
            sample_stack_user: STACK_BYTES as u32,
            ..Attributes::default()
        },
    )
}

/// The memory that the kernel writes records to.
#[derive(Debug)]
struct Buffer {
    start: NonNull<u8>,
    page_bytes: usize,
}

impl Buffer {
    fn new(event: &File) -> io::Result<Self> {
        // SAFETY: the call has a number as its argument.
        let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            let (rights, length) = (libc::PROT_READ | libc::PROT_WRITE, page_bytes + BUFFER_BYTES);
            libc::mmap(std::ptr::null_mut(), length, rights, libc::MAP_SHARED, event.as_raw_fd(), 0)
        };
        match NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED) {
            Some(start) => Ok(Self { start, page_bytes }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// Returns a copy of the records that are complete.
    fn records(&self) -> Vec<u8> {
        // SAFETY: the address is in the first page of the mapping and aligned.
        // The kernel writes it as one word.
        let head = unsafe { self.start.byte_add(DATA_HEAD_OFFSET).cast::<AtomicU64>().as_ref() };
        // The kernel has written all before this before it has written this.
        let length =
            usize::try_from(head.load(Ordering::Acquire)).map_or(0, |length| length.min(BUFFER_BYTES));
        let mut bytes = vec![0_u8; length];
        // SAFETY: the records are behind the first page, and `length` is at
        // most the length of that part. The kernel writes only behind them.
        unsafe {
            let records = self.start.byte_add(self.page_bytes).as_ptr();
            std::ptr::copy_nonoverlapping(records, bytes.as_mut_ptr(), length);
        }
        bytes
    }
}

// SAFETY: the mapping belongs to this value alone, and any thread may read or
// remove it.
unsafe impl Send for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one, and no reference into it is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.page_bytes + BUFFER_BYTES) };
    }
}

/// Returns the registers and the stack of the first sample.
fn stack_of_records(mut records: &[u8]) -> Option<CopiedStack> {
    loop {
        let record_type = u32::from_ne_bytes(records.get(..4)?.try_into().ok()?);
        let size = usize::from(u16::from_ne_bytes(records.get(6..8)?.try_into().ok()?));
        let record = records.get(8..size)?;
        if record_type == RECORD_SAMPLE {
            return stack_of_sample(record);
        }
        records = &records[size..];
    }
}

/// Reads the ids of process and thread, the kind of the registers, the
/// registers, the length of the stack, the stack, and how much of that was
/// copied.
fn stack_of_sample(sample: &[u8]) -> Option<CopiedStack> {
    let word = |offset: usize| {
        let bytes = sample.get(offset..offset.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    const NO_REGISTERS: u64 = 0;
    const FIRST_REGISTER: usize = 16;
    let kind = word(8)?;
    let count = machine::SAMPLED_REGISTERS.count_ones() as usize;
    let registers: Option<Vec<_>> = (0..count).map(|index| word(FIRST_REGISTER + index * 8)).collect();
    let registers = machine::registers_of_sample(&registers?).filter(|_| kind != NO_REGISTERS)?;
    let stack = FIRST_REGISTER + (count + 1) * 8;
    let reserved = usize::try_from(word(stack - 8)?).ok()?;
    let copied = usize::try_from(word(stack.checked_add(reserved)?)?).ok()?;
    let bytes = sample.get(stack..stack.checked_add(copied.min(reserved))?)?.to_vec();
    let (ip, sp) = (registers.ip, registers.sp);
    (!bytes.is_empty()).then_some(CopiedStack { ip, sp, registers: Some(registers), bytes, own_stack: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_are_cut_or_have_wrong_lengths_have_no_stack() {
        let count = machine::SAMPLED_REGISTERS.count_ones() as usize;
        let mut words = vec![7, 2];
        words.extend((0..count as u64).map(|index| 100 + index));
        words.extend([16, 11, 12, 8]);
        let sample: Vec<u8> = words.iter().flat_map(|word| u64::to_ne_bytes(*word)).collect();
        let record = |kind: u32, size: usize| {
            let header = [u64::from(kind) as u32, (size as u32) << 16].map(u32::to_le_bytes).concat();
            [header, sample.clone()].concat()
        };
        let whole = record(RECORD_SAMPLE, sample.len() + 8);
        let stack = stack_of_records(&whole).unwrap();
        assert_eq!(stack.bytes, 11_u64.to_ne_bytes());
        assert_eq!((stack.ip, stack.word(stack.sp)), (stack.registers.unwrap().ip, Some(11)));
        let other = [record(2, sample.len() + 8), whole.clone()].concat();
        assert_eq!(stack_of_records(&other).unwrap().bytes.len(), 8);
        for length in 0..whole.len() {
            assert!(stack_of_records(&whole[..length]).is_none(), "{length}");
        }
        for size in [0, 4, 8, 9, 40, 0xFFFF] {
            assert!(stack_of_records(&record(RECORD_SAMPLE, size)).is_none(), "{size}");
            assert!(stack_of_records(&record(2, size)).is_none(), "{size}");
        }
        let mut huge = whole.clone();
        let length_at = 8 + 16 + count * 8;
        huge[length_at..length_at + 8].fill(0xFF);
        assert!(stack_of_records(&huge).is_none());
    }
}
