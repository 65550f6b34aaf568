//! Runs two commands in alternation, so that other activity of the machine
//! affects both.

use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::report::{self, Report};

/// Runs A and B `rounds` times each. The order changes from round to round, so
/// that a machine that becomes faster or slower favours neither. Returns the
/// reports of A (before a change) and of B (after it).
///
/// # Errors
///
/// If a command cannot be started, or writes no report.
pub(crate) async fn alternate(
    a: &str,
    b: &str,
    rounds: u32,
    quiet: bool,
) -> anyhow::Result<(Vec<Report>, Vec<Report>)> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let a_first = round.is_multiple_of(2);
        for is_a in [a_first, !a_first] {
            let (command, side) = if is_a { (a, &mut before) } else { (b, &mut after) };
            if !quiet {
                eprintln!("round {} of {rounds}: {command}", round + 1);
            }
            side.push(run(command).await?);
        }
    }
    Ok((before, after))
}

/// Runs one command: arguments of this program such as `hunt --inject sleep`,
/// or a shell command that writes a report to standard output.
async fn run(line: &str) -> anyhow::Result<Report> {
    let is_own_command = ["run", "hunt"].contains(&line.split_whitespace().next().unwrap_or_default());
    let mut shell = Command::new("sh");
    if is_own_command {
        let program = std::env::current_exe().context("the path of this program is unknown")?;
        shell.arg("-c").arg(format!("exec \"$0\" {line} --json - --quiet")).arg(program);
    } else {
        shell.arg("-c").arg(line);
    }
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = shell.output().await.with_context(|| format!("`{line}` cannot be run"))?;
    if output.stdout.is_empty() {
        let error = String::from_utf8_lossy(&output.stderr);
        let error =
            error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it printed no error").to_owned();
        bail!("`{line}` wrote no report ({}): {error}", output.status);
    }
    report::parse(&output.stdout, &format!("the output of `{line}`"))
}
