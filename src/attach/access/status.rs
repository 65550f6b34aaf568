//! `/proc/PID/status`, as far as it decides about access.

use std::fs::File;
use std::io::Read;

/// The kernel's text has about 1.5 KB, more with many groups.
const MAX_STATUS_BYTES: u64 = 64 << 10;

/// What the kernel says of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Status {
    pub(super) state: u8,
    pub(super) tgid: i32,
    pub(super) parent: i32,
    pub(super) threads: u32,
    /// Whether it is a thread of the kernel. Only newer kernels say so.
    pub(super) is_kernel_thread: Option<bool>,
    /// The real, effective and saved user id.
    pub(super) uids: [u32; 3],
    pub(super) gids: [u32; 3],
    pub(super) permitted_capabilities: u64,
    pub(super) effective_capabilities: u64,
    /// Whether a seccomp filter is active.
    pub(super) has_filter: bool,
}

impl Status {
    /// Reads the status of a process, `None` if `/proc` does not show it.
    pub(super) fn read(process: &str) -> Option<Self> {
        let mut text = Vec::new();
        let file = File::open(format!("/proc/{process}/status")).ok()?;
        file.take(MAX_STATUS_BYTES).read_to_end(&mut text).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut status = Self::default();
        let mut is_complete = false;
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let mut words = value.split_whitespace();
            let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
            match name {
                "State" => status.state = *value.trim_start().as_bytes().first()?,
                "Tgid" => status.tgid = i32::try_from(number()?).ok()?,
                "PPid" => status.parent = i32::try_from(number()?).ok()?,
                "Threads" => status.threads = u32::try_from(number()?).ok()?,
                "Kthread" => status.is_kernel_thread = Some(number()? == 1),
                "Uid" => {
                    status.uids = ids(value)?;
                    is_complete = true;
                }
                "Gid" => status.gids = ids(value)?,
                "CapPrm" => status.permitted_capabilities = u64::from_str_radix(value.trim(), 16).ok()?,
                "CapEff" => status.effective_capabilities = u64::from_str_radix(value.trim(), 16).ok()?,
                "Seccomp" => status.has_filter = number()? != 0,
                _ => {}
            }
        }
        is_complete.then_some(status)
    }
}

fn ids(value: &str) -> Option<[u32; 3]> {
    let mut words = value.split_whitespace().map_while(|word| word.parse().ok());
    Some([words.next()?, words.next()?, words.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_read() {
        let text = "Name:\ta: b\nState:\tS (sleeping)\nTgid:\t7\nPPid:\t3\nUid:\t1000\t1001\t1002\t1003\n\
                    Gid:\t5\t6\t7\t8\nThreads:\t4\nKthread:\t0\nCapPrm:\t0000000000080000\n\
                    CapEff:\t0000000000000001\nSeccomp:\t2\n";
        let expected = Status {
            state: b'S',
            tgid: 7,
            parent: 3,
            threads: 4,
            is_kernel_thread: Some(false),
            uids: [1000, 1001, 1002],
            gids: [5, 6, 7],
            permitted_capabilities: 1 << 19,
            effective_capabilities: 1,
            has_filter: true,
        };
        assert_eq!(Status::parse(text), Some(expected));
        for cut in 0..text.len() {
            let _ = Status::parse(&text[..cut]);
        }
        assert_eq!(Status::parse(""), None);
        assert_eq!(Status::parse("Uid:\t1\n"), None);
    }

    #[test]
    fn this_process_has_a_status() {
        let status = Status::read("self").unwrap();
        assert_eq!(status.tgid, crate::os::getpid());
        assert!(status.threads > 0 && status.state != 0);
        assert_eq!(Status::read("nothing"), None);
    }
}
