//! From the name of a program to its process.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use loopscope::report::printable;

/// If several processes have the name, this many of them are listed.
const MAX_LISTED: usize = 20;
/// This much of a command line is listed.
const MAX_COMMAND_LINE_BYTES: u64 = 80;
/// The kernel cuts the name of a process to this length.
const MAX_COMM_BYTES: usize = 15;

/// A process of the wanted name.
#[derive(Debug)]
struct Candidate {
    pid: i32,
    is_of_this_user: bool,
    command_line: String,
}

/// Returns the id that `process` is, or the id of the process of this user
/// whose program has this name.
pub(crate) fn pid(process: &str) -> anyhow::Result<i32> {
    if let Ok(pid) = process.parse::<i32>() {
        return Ok(pid);
    }
    if process.bytes().all(|byte| byte.is_ascii_digit()) {
        anyhow::bail!("there is no process {}", printable(process));
    }
    choose(process, candidates(process))
}

fn choose(name: &str, candidates: Vec<Candidate>) -> anyhow::Result<i32> {
    let name = printable(name);
    let (own, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|found| found.is_of_this_user);
    match (&own[..], &others[..]) {
        ([process], _) => Ok(process.pid),
        ([], []) => anyhow::bail!("no process has the name {name}: give the id of a process"),
        ([], others) => anyhow::bail!(
            "no process of this user has the name {name}: give the id of one of another user:{}",
            list(others)
        ),
        (own, _) => {
            anyhow::bail!("{} processes have the name {name}: give the id of one:{}", own.len(), list(own))
        }
    }
}

fn list(processes: &[Candidate]) -> String {
    let line = |process: &Candidate| format!("\n{:>9}  {}", process.pid, printable(&process.command_line));
    let mut list: String = processes.iter().take(MAX_LISTED).map(line).collect();
    if processes.len() > MAX_LISTED {
        list.push_str(&format!("\n           and {} more", processes.len() - MAX_LISTED));
    }
    list
}

fn candidates(name: &str) -> Vec<Candidate> {
    let own_uid = rustix::process::geteuid().as_raw();
    let own_pid = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let folder = entry.path();
        if u32::try_from(pid) == Ok(own_pid) || !has_name(&folder, name) {
            continue;
        }
        let Ok(metadata) = fs::metadata(&folder) else { continue };
        let command_line = command_line(&folder);
        found.push(Candidate { pid, is_of_this_user: metadata.uid() == own_uid, command_line });
    }
    found.sort_by_key(|process| process.pid);
    found
}

/// The file of the program has the name, or the process gives itself the name.
fn has_name(folder: &Path, name: &str) -> bool {
    let program = fs::read_link(folder.join("exe")).ok();
    let file_name = program.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    // The kernel's mark of a file that was replaced.
    if file_name.is_some_and(|file| file.strip_suffix(" (deleted)").unwrap_or(file) == name) {
        return true;
    }
    let comm = fs::read(folder.join("comm")).unwrap_or_default();
    let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
    let name = name.as_bytes();
    comm == name
        || (name.len() > MAX_COMM_BYTES && program.is_none() && name.get(..MAX_COMM_BYTES) == Some(comm))
}

fn command_line(folder: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(folder.join("cmdline")) {
        let _ = file.take(MAX_COMMAND_LINE_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(pid: i32, is_of_this_user: bool) -> Candidate {
        Candidate { pid, is_of_this_user, command_line: format!("server --port {pid}\u{1b}[2J") }
    }

    #[test]
    fn a_number_is_an_id() {
        assert_eq!(pid("4711").unwrap(), 4711);
        assert_eq!(pid("99999999999").unwrap_err().to_string(), "there is no process 99999999999");
    }

    #[test]
    fn the_only_process_of_this_user_is_chosen() {
        assert_eq!(choose("server", vec![candidate(1, false), candidate(2, true)]).unwrap(), 2);
    }

    #[test]
    fn several_processes_are_listed() {
        let text =
            choose("server", (1..30).map(|pid| candidate(pid, true)).collect()).unwrap_err().to_string();
        assert!(text.starts_with("29 processes have the name server: give the id of one:\n"), "{text}");
        assert!(text.contains(r"        2  server --port 2\u{1b}[2J"), "{text}");
        assert!(text.ends_with("and 9 more"), "{text}");
        let text = choose("server", vec![candidate(1, false)]).unwrap_err().to_string();
        assert!(text.starts_with("no process of this user has the name server"), "{text}");
        let text = choose("a\nb", Vec::new()).unwrap_err().to_string();
        assert_eq!(text, r"no process has the name a\u{a}b: give the id of a process");
    }

    #[test]
    fn a_process_is_found_by_the_name_of_its_file() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        let name = program.file_name().unwrap().to_str().unwrap().to_owned();
        let found = candidates(&name);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.iter().any(|process| process.pid == pid && process.is_of_this_user), "{found:?}");
    }
}
