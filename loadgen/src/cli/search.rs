//! Flags of `loadgen search`.

use clap::Args;

use super::hunt::HuntArgs;
use super::output::OutputArgs;
use super::server::ServerArgs;
use crate::plan::{LoadArgs, parse_percent, parse_positive_rate};

#[derive(Debug, Args)]
// The search chooses the rates itself, and has no page.
#[command(mut_arg("stages", |it| it.hide(true)), mut_arg("html", |it| it.hide(true)))]
#[group(id = "driven", args = ["target"], multiple = true)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// The highest rate to try.
    #[arg(long, value_name = "MSGS/s", default_value = "100000", value_parser = parse_positive_rate)]
    pub(crate) max_rate: f64,
    /// Stop when the highest rate that met the objectives and the lowest rate
    /// that missed one differ by no more than this.
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    pub(crate) resolution: f64,
    /// Number of trials in which the objectives must hold at the answer.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) trials: u32,
    /// Maximum number of trials of the whole search.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_trials: u32,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl SearchArgs {
    /// Returns the arguments of each trial.
    pub(crate) fn as_hunt(&self) -> HuntArgs {
        HuntArgs {
            server: self.server.clone(),
            deny: false,
            minimise: false,
            load: self.load.clone(),
            output: self.output.clone(),
            command: Vec::new(),
        }
    }
}
