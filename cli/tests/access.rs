//! What `loopscope ps` says of a process that it must not read. The table of
//! all cases is a unit test of the library; these are the cases that a machine
//! without a special kernel can show.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Target, command, eventually, is_root, not_checked, outcome};

const NOBODY: u32 = 65_534;

/// A folder that every user may read, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loopscope-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its owner");
        Self(path)
    }

    /// Copies a program into the folder.
    fn copy(&self, program: &Path, mode: u32) -> PathBuf {
        let copy = self.0.join(program.file_name().expect("a file"));
        // By another process: a program that this one has open for writing while
        // another test starts a child could not be executed.
        let copied = Command::new("cp").arg(program).arg(&copy).status().expect("cp runs");
        assert!(copied.success(), "the program is readable");
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("its owner");
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Asserts that `ps` of the process by this command fails with this sentence.
#[track_caller]
fn assert_refused(ps: &mut Command, expected: &str) {
    let result = outcome(ps);
    assert_eq!((result.code, &*result.stdout), (Some(2), ""), "{}", result.stderr);
    assert!(result.stderr.contains(expected), "{}", result.stderr);
    assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
    assert!(!result.stderr.contains("there is no process"), "{}", result.stderr);
}

fn has_tool(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn sleeping() -> Command {
    let mut command = Command::new("sleep");
    command.arg("600");
    command
}

#[test]
fn a_process_of_another_user_is_named_with_its_user() {
    if !is_root() {
        let first = outcome(&mut command(&["ps", "1"]));
        assert_eq!(first.code, Some(2), "{}", first.stderr);
        assert!(!first.stderr.contains("there is no process"), "{}", first.stderr);
        return not_checked("a process of another user than that of this test: it needs root");
    }
    let folder = Folder::new("other-user");
    let program = folder.copy(Path::new(env!("CARGO_BIN_EXE_loopscope")), 0o755);
    let target = Target::start(&mut sleeping());
    let mut ps = Command::new(program);
    assert_refused(
        ps.args(["ps", &target.pid()]).uid(NOBODY).gid(NOBODY),
        "belongs to the user root: run loopscope as that user",
    );
}

#[test]
fn a_program_without_tokio_is_said() {
    let target = Target::start(&mut sleeping());
    let mut ps = command(&["ps", &target.pid()]);
    let is_loaded = || outcome(&mut ps).stderr.contains("no task table of Tokio was found in ").then_some(());
    eventually("the program", is_loaded);
}

#[test]
fn a_zombie_and_a_thread_of_the_kernel_are_said() {
    let mut target = Target::start(&mut Command::new("true"));
    let pid = target.pid();
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).ok().filter(|stat| stat.contains(") Z "));
    eventually("a zombie", state);
    assert_refused(&mut command(&["ps", &pid]), "it is a zombie");
    target.0.wait().expect("a child");
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        assert_refused(&mut command(&["ps", "2"]), "is a thread of the kernel");
    } else {
        not_checked("a thread of the kernel: /proc shows none");
    }
}

#[test]
fn a_process_that_is_not_dumpable_is_said() {
    if !is_root() {
        return not_checked("a process that is not dumpable: it needs root");
    }
    let folder = Folder::new("not-dumpable");
    let program = folder.copy(Path::new(env!("CARGO_BIN_EXE_loopscope")), 0o755);
    // A program that its user may execute but not read.
    let sleep = ["/usr/bin/sleep", "/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
    let sleep = folder.copy(&fs::canonicalize(sleep.expect("a program")).expect("a path"), 0o711);
    let name = sleep.file_name().expect("a name").to_str().expect("text").to_owned();
    let mut run = Command::new(&sleep);
    // Where `sleep` is one of many commands of a program, the name decides.
    let target = Target::start(run.arg0("sleep").arg("600").uid(NOBODY).gid(NOBODY));
    eventually("the program", || {
        let link = fs::read_link(format!("/proc/{}/exe", target.pid())).ok()?;
        link.ends_with(&name).then_some(())
    });
    let mut ps = Command::new(program);
    assert_refused(ps.args(["ps", &target.pid()]).uid(NOBODY).gid(NOBODY), "is not dumpable, because");
}

#[test]
fn a_process_with_more_capabilities_is_said() {
    if !is_root() || !has_tool("setpriv") {
        return not_checked("a process with more capabilities: it needs root and setpriv");
    }
    let target = Target::start(&mut sleeping());
    let mut ps = Command::new("setpriv");
    ps.args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_loopscope"), "ps", &target.pid()]);
    assert_refused(&mut ps, "has capabilities that loopscope does not have");
}

/// Returns whether a program gets both capabilities of its file when another
/// user executes it. A container may withhold them.
fn has_file_capabilities(program: &Path) -> bool {
    const PTRACE: u64 = 1 << 19;
    const READ_SEARCH: u64 = 1 << 2;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let bounding = field("CapBnd:").and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    let is_permitted = bounding & (PTRACE | READ_SEARCH) == PTRACE | READ_SEARCH;
    let starts = || {
        let output = Command::new(program).arg("--version").uid(NOBODY).gid(NOBODY).output();
        output.is_ok_and(|output| output.status.success())
    };
    is_permitted && field("NoNewPrivs:") == Some("0") && starts()
}

#[test]
fn files_of_another_user_are_said_if_only_the_memory_can_be_read() {
    let folder = Folder::new("file-capability");
    let program = folder.copy(Path::new(env!("CARGO_BIN_EXE_loopscope")), 0o755);
    let set = |capabilities: &str| {
        let result = Command::new("setcap").arg(capabilities).arg(&program).output();
        result.is_ok_and(|output| output.status.success())
    };
    if !is_root() || !set("cap_sys_ptrace=ep") || !has_file_capabilities(&program) {
        return not_checked(
            "a tool whose file has capabilities: it needs root, setcap and these capabilities",
        );
    }
    let target = Target::tokio();
    let ps = || {
        let mut ps = Command::new(&program);
        ps.args(["ps", &target.pid()]).uid(NOBODY).gid(NOBODY);
        ps
    };
    assert_refused(&mut ps(), "but its files in /proc belong to another user");
    assert!(set("cap_sys_ptrace,cap_dac_read_search=ep"), "what the sentence says");
    let result = outcome(&mut ps());
    assert_eq!(result.code, Some(0), "{}", result.stderr);
    assert!(result.stdout.contains("block_on"), "{}", result.stdout);
}

#[test]
fn a_name_is_not_said_to_be_missing_where_proc_hides_names() {
    let hides = "mount -t proc -o hidepid=2 proc /proc";
    let is_possible = is_root()
        && outcome(Command::new("unshare").args(["-m", "sh", "-c", hides])).code == Some(0)
        && has_tool("setpriv");
    if !is_possible {
        return not_checked("a name under hidepid: it needs root, setpriv and mounts");
    }
    let folder = Folder::new("hidden-name");
    let program = folder.copy(Path::new(env!("CARGO_BIN_EXE_loopscope")), 0o755);
    let script = format!(
        "{hides} && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {} ps no-program-has-this-name",
        program.display()
    );
    assert_refused(
        Command::new("unshare").args(["-m", "sh", "-c", &script]),
        "and /proc hides those of other users",
    );
    let ps = [env!("CARGO_BIN_EXE_loopscope"), "ps", "no-program-has-this-name"];
    assert_refused(
        Command::new("unshare").arg("-pf").args(ps),
        "no process can be found by its name, because /proc is missing or belongs to another pid namespace",
    );
}

#[test]
fn a_process_outside_of_the_user_namespace_is_said() {
    if !Command::new("unshare").args(["-Ur", "true"]).output().is_ok_and(|output| output.status.success()) {
        return not_checked("another user namespace: this user may not create one");
    }
    let target = Target::start(&mut sleeping());
    let mut ps = Command::new("unshare");
    ps.args(["-Ur", env!("CARGO_BIN_EXE_loopscope"), "ps", &target.pid()]);
    assert_refused(&mut ps, "is in another user namespace");
}

#[test]
fn a_process_that_proc_hides_is_said() {
    let is_possible = is_root()
        && Command::new("unshare")
            .args(["-m", "sh", "-c", "mount -t proc -o hidepid=2 proc /proc"])
            .output()
            .is_ok_and(|output| output.status.success());
    if !is_possible || !has_tool("setpriv") {
        return not_checked("/proc with hidepid: it needs root, setpriv and mounts");
    }
    let folder = Folder::new("hidepid");
    let program = folder.copy(Path::new(env!("CARGO_BIN_EXE_loopscope")), 0o755);
    let target = Target::start(&mut sleeping());
    let script = format!(
        "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups \
         {} ps {}",
        program.display(),
        target.pid()
    );
    assert_refused(Command::new("unshare").args(["-m", "sh", "-c", &script]), "is mounted with hidepid");
}

#[test]
fn a_process_of_another_pid_namespace_is_not_said_to_be_missing() {
    if !is_root() {
        return not_checked("/proc of another pid namespace: it needs root");
    }
    let target = Target::start(&mut sleeping());
    let mut ps = Command::new("unshare");
    ps.args(["-pf", env!("CARGO_BIN_EXE_loopscope"), "ps", &target.pid()]);
    if outcome(Command::new("unshare").args(["-pf", "true"])).code != Some(0) {
        return not_checked("another pid namespace: it cannot be created");
    }
    assert_refused(&mut ps, "belongs to another pid namespace");
}

/// Yama's other values need a capability, or nothing helps.
#[test]
fn under_yama_a_process_that_loopscope_did_not_start_is_said() {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    if scope.trim() != "1" || is_root() {
        return not_checked(
            "kernel.yama.ptrace_scope = 1: this kernel has another value, or this user is root",
        );
    }
    let target = Target::start(&mut sleeping());
    assert_refused(&mut command(&["ps", &target.pid()]), "kernel.yama.ptrace_scope is 1");
}
