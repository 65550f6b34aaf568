//! Flags of `loadgen compare`.

use std::path::PathBuf;

use clap::Args;

use crate::plan::parse_percent;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Two reports as --json writes them: before and after.
    #[arg(value_name = "REPORT", num_args = 2, conflicts_with = "ab", required_unless_present = "ab")]
    pub(crate) reports: Vec<PathBuf>,
    /// Two commands that are run in alternation: arguments of this program such
    /// as 'hunt --inject sleep', or shell commands that print a report.
    #[arg(long, value_names = ["A", "B"], num_args = 2, allow_hyphen_values = true)]
    pub(crate) ab: Vec<String>,
    /// Runs of each command.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=1000), requires = "ab")]
    pub(crate) rounds: u32,
    /// Ignore differences smaller than this.
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    pub(crate) tolerance: f64,
    /// Write the comparison as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
