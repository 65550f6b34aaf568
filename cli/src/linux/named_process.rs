//! From the name of a program to its process.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use loopscope::report::printable;

/// If several processes have the name, this many of them are listed.
const MAX_LISTED: usize = 20;
/// This much of a command line is listed.
const MAX_COMMAND_LINE_BYTES: u64 = 80;
/// Shorter names are part of too many others.
const MIN_SIMILAR_BYTES: usize = 3;
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
    if process.trim().is_empty() {
        anyhow::bail!("the process is missing: give its id, or the name of its program");
    }
    if process.bytes().all(|byte| byte.is_ascii_digit()) {
        anyhow::bail!("there is no process {}", printable(process));
    }
    let shows_own_processes =
        fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == &*std::process::id().to_string());
    if !shows_own_processes {
        anyhow::bail!(
            "no process can be found by its name, because /proc is missing or belongs to another pid namespace: \
             run loopscope where /proc shows its own processes"
        );
    }
    choose(process, Processes::list(process))
}

fn choose(name: &str, processes: Processes) -> anyhow::Result<i32> {
    let name = printable(name);
    let Processes { candidates, similar, has_hidden } = processes;
    let (own, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|found| found.is_of_this_user);
    match (&own[..], &others[..]) {
        ([process], _) => Ok(process.pid),
        ([], []) if has_hidden => anyhow::bail!(
            "no process of this user has the name {name}, and /proc hides those of other users: give the id of \
             a process, or run loopscope as the user of the process or as root{}",
            list_of_similar(&similar)
        ),
        ([], []) => anyhow::bail!(
            "no process has the name {name}: give the id of a process{}",
            list_of_similar(&similar)
        ),
        ([], others) => anyhow::bail!(
            "no process of this user has the name {name}: give the id of one of another user:{}",
            list(others)
        ),
        (own, _) => {
            anyhow::bail!("{} processes have the name {name}: give the id of one:{}", own.len(), list(own))
        }
    }
}

fn list_of_similar(similar: &[Candidate]) -> String {
    if similar.is_empty() { String::new() } else { format!("; similar names have:{}", list(similar)) }
}

fn list(processes: &[Candidate]) -> String {
    let line = |process: &Candidate| format!("\n{:>9}  {}", process.pid, printable(&process.command_line));
    let mut list: String = processes.iter().take(MAX_LISTED).map(line).collect();
    if processes.len() > MAX_LISTED {
        list.push_str(&format!("\n           and {} more", processes.len() - MAX_LISTED));
    }
    list
}

/// The processes that a name may mean.
#[derive(Debug, Default)]
struct Processes {
    candidates: Vec<Candidate>,
    /// Those of this user whose names contain the name.
    similar: Vec<Candidate>,
    /// Whether `/proc` does not show the processes or the names of other users.
    has_hidden: bool,
}

impl Processes {
    fn list(name: &str) -> Self {
        let own_user = rustix::process::geteuid();
        let own_pid = std::process::id();
        let mut processes = Self::default();
        let mut shows_first = false;
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            shows_first |= pid == 1;
            if u32::try_from(pid) == Ok(own_pid) {
                continue;
            }
            let folder = entry.path();
            let Ok(names) = names(&folder) else {
                processes.has_hidden = true;
                continue;
            };
            let is_exact = is_name(&names, name);
            if !is_exact && !names.iter().any(|of_process| is_similar(of_process, name)) {
                continue;
            }
            let Ok(metadata) = fs::metadata(&folder) else { continue };
            // Root may read the processes of all users.
            let is_of_this_user = metadata.uid() == own_user.as_raw() || own_user.is_root();
            let process = Candidate { pid, is_of_this_user, command_line: command_line(&folder) };
            let list = if is_exact { &mut processes.candidates } else { &mut processes.similar };
            list.push(process);
        }
        processes.has_hidden |= !shows_first;
        processes.candidates.sort_by_key(|process| process.pid);
        processes.similar.retain(|process| process.is_of_this_user);
        processes.similar.sort_by_key(|process| process.pid);
        processes
    }
}

/// Returns the name that a process gives itself, and that of the program's file
/// if it is known. An error means that the names are hidden.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let comm = match fs::read(folder.join("comm")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        comm => comm.unwrap_or_default(),
    };
    let program = fs::read_link(folder.join("exe")).ok();
    let file = program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
    // The kernel's mark of a file that was replaced.
    let file = file.map(|file| file.strip_suffix(" (deleted)").unwrap_or(&file).to_owned());
    let comm = String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned();
    Ok([Some(comm), file].into_iter().flatten().collect())
}

/// Returns whether one of the names is this one. If the file is not known, the
/// kernel may have cut the other name.
fn is_name(names: &[String], name: &str) -> bool {
    let cut = name.get(..MAX_COMM_BYTES).filter(|_| names.len() == 1);
    names.iter().any(|of_process| of_process == name || Some(of_process.as_str()) == cut)
}

/// Returns whether the name is a part of that of the process, whatever the case
/// and the kind of dashes.
fn is_similar(of_process: &str, name: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    name.len() >= MIN_SIMILAR_BYTES && plain(of_process).contains(&plain(name))
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
        assert_eq!(
            pid("").unwrap_err().to_string(),
            "the process is missing: give its id, or the name of its program"
        );
        assert_eq!(pid("99999999999").unwrap_err().to_string(), "there is no process 99999999999");
    }

    fn processes(candidates: Vec<Candidate>) -> Processes {
        Processes { candidates, ..Processes::default() }
    }

    #[test]
    fn the_only_process_of_this_user_is_chosen() {
        let both = processes(vec![candidate(1, false), candidate(2, true)]);
        assert_eq!(choose("server", both).unwrap(), 2);
    }

    #[test]
    fn several_processes_are_listed() {
        let many = processes((1..30).map(|pid| candidate(pid, true)).collect());
        let text = choose("server", many).unwrap_err().to_string();
        assert!(text.starts_with("29 processes have the name server: give the id of one:\n"), "{text}");
        assert!(text.contains(r"        2  server --port 2\u{1b}[2J"), "{text}");
        assert!(text.ends_with("and 9 more"), "{text}");
        let text = choose("server", processes(vec![candidate(1, false)])).unwrap_err().to_string();
        assert!(text.starts_with("no process of this user has the name server"), "{text}");
        let text = choose("a\nb", Processes::default()).unwrap_err().to_string();
        assert_eq!(text, r"no process has the name a\u{a}b: give the id of a process");
    }

    #[test]
    fn a_process_that_may_be_hidden_is_not_said_to_be_missing() {
        let hidden = Processes { has_hidden: true, ..Processes::default() };
        let text = choose("server", hidden).unwrap_err().to_string();
        assert!(text.contains("/proc hides those of other users"), "{text}");
        assert!(!text.starts_with("no process has the name"), "{text}");
    }

    #[test]
    fn similar_names_are_listed() {
        assert!(is_similar("chat-server", "chat_SERVER") && is_similar("chat-server", "serv"));
        assert!(!is_similar("chat-server", "c") && !is_similar("chat", "chat-server"));
        let similar = Processes { similar: vec![candidate(2, true)], ..Processes::default() };
        let text = choose("serv", similar).unwrap_err().to_string();
        let expected =
            "no process has the name serv: give the id of a process; similar names have:\n        2  ";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn a_name_that_the_kernel_has_cut_is_found() {
        let is_named = |names: &[&str], name| {
            is_name(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), name)
        };
        assert!(is_named(&["a-very-long-nam"], "a-very-long-name"));
        assert!(!is_named(&["a-very-long-nam", "a-very-long-names"], "a-very-long-name"));
        assert!(!is_named(&["a-very-long"], "a-very-long-name") && !is_named(&["servers"], "server"));
    }

    #[test]
    fn a_process_is_found_by_the_name_of_its_file() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        let name = program.file_name().unwrap().to_str().unwrap().to_owned();
        let found = Processes::list(&name).candidates;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.iter().any(|process| process.pid == pid && process.is_of_this_user), "{found:?}");
    }
}
