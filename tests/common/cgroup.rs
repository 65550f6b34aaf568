//! Control groups of the kernel with a limit on CPU time.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{fs, io, process, thread};

/// The period of every quota.
pub const PERIOD: Duration = Duration::from_millis(100);

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// A new control group. Dropping it removes it, once its processes have ended.
#[derive(Debug)]
pub struct CpuQuota {
    path: PathBuf,
}

impl CpuQuota {
    /// Creates a group that may use a CPU for `quota` in each [`PERIOD`].
    ///
    /// # Errors
    ///
    /// Fails if this machine does not have this version with its CPU
    /// controller, or does not allow a group.
    pub fn new(version: Version, quota: Duration) -> io::Result<Self> {
        static GROUPS: AtomicU64 = AtomicU64::new(0);
        let name = format!("loopscope-{}-{}", process::id(), GROUPS.fetch_add(1, Relaxed));
        let path = parent(version)?.join(name);
        fs::create_dir(&path)?;
        let group = Self { path };
        let (quota, period) = (quota.as_micros(), PERIOD.as_micros());
        match version {
            Version::V1 => {
                fs::write(group.path.join("cpu.cfs_period_us"), period.to_string())?;
                fs::write(group.path.join("cpu.cfs_quota_us"), quota.to_string())?;
            }
            Version::V2 => fs::write(group.path.join("cpu.max"), format!("{quota} {period}"))?,
        }
        Ok(group)
    }

    /// Returns the file that moves a process into the group if the process
    /// writes its id to it.
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Moves one thread of a process into the group. Only version 1 can do that
    /// without the rest of the process.
    pub fn add_thread(&self, tid: i32) -> io::Result<()> {
        fs::write(self.path.join("tasks"), tid.to_string())
    }

    /// Returns how many periods used up the quota.
    pub fn throttled_periods(&self) -> u64 {
        throttled_periods(&self.path)
    }
}

/// Returns how many periods used up the quota of the group in this folder.
pub fn throttled_periods(group: &Path) -> u64 {
    let stat = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Drop for CpuQuota {
    fn drop(&mut self) {
        // The kernel may need a moment to remove an ended process.
        for _ in 0..100 {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

/// Returns the group of this process, in which a new one can be created.
fn parent(version: Version) -> io::Result<PathBuf> {
    let not_found = |what: &str| io::Error::new(io::ErrorKind::NotFound, what.to_owned());
    let is_wanted = |line: &&str| {
        let mut fields = line.split(' ').skip(2);
        let (kind, options) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        match version {
            Version::V1 => kind == "cgroup" && options.split(',').any(|option| option == "cpu"),
            Version::V2 => kind == "cgroup2",
        }
    };
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts.lines().find(is_wanted).and_then(|line| line.split(' ').nth(1));
    let mount = Path::new(mount.ok_or_else(|| not_found("not mounted"))?);
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let is_own = |line: &&str| match version {
        Version::V1 => line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "cpu")),
        Version::V2 => line.starts_with("0::"),
    };
    let own = groups.lines().find(is_own).and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or("/");
    let path = mount.join(own.trim_start_matches('/'));
    if version == Version::V2 {
        let controllers = fs::read_to_string(path.join("cgroup.controllers"))?;
        if !controllers.split_whitespace().any(|name| name == "cpu") {
            return Err(not_found("no CPU controller in this version"));
        }
        fs::write(path.join("cgroup.subtree_control"), "+cpu")?;
    }
    Ok(path)
}
