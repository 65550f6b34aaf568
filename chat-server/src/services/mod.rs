//! The services behind the commands. Most run before the hub handles the line;
//! the history gets the messages that the hub delivers.
//!
//! There is one file for each service. Its `right` way is the default. Its
//! `wrong` function is a common mistake, which [`inject`](crate::inject) turns
//! on. Sessions call both from their own tasks, except that the hub itself
//! queues messages for the history. Each `wrong` is a plain function that is
//! never inlined, and the blocking line stands alone in it: loopscope must
//! report exactly that line.

pub(crate) mod account_store;
pub(crate) mod accounts;
pub(crate) mod certificate;
pub(crate) mod certificate_files;
pub(crate) mod directory;
pub(crate) mod filter;
pub(crate) mod history;
mod history_gaps;
pub(crate) mod history_query;
pub(crate) mod history_reader;
pub(crate) mod history_store;
mod history_writer;
pub(crate) mod line_checks;
pub(crate) mod message_ids;
pub(crate) mod motd_program;
pub(crate) mod password;
pub(crate) mod registration_limit;
pub(crate) mod resolve;
pub(crate) mod secret;
mod slow_checks;
mod slow_disk;
pub(crate) mod stored_message;
pub(crate) mod throttle;
pub(crate) mod upstream;
pub(crate) mod visits;

use std::net::IpAddr;
use std::sync::Arc;

use crate::irc::command::Command;
use crate::irc::message::{Message, split_commas};
use crate::metrics::Metrics;
use crate::services::accounts::Accounts;
use crate::services::certificate::Certificate;
use crate::services::directory::UserDirectory;
use crate::services::filter::Filter;
use crate::services::history::{ChannelMessage, History};
use crate::services::line_checks::LineChecks;
use crate::services::motd_program::MotdProgram;
use crate::services::password::Passwords;
use crate::services::resolve::Resolver;
use crate::services::throttle::Throttle;
use crate::services::upstream::Upstream;
use crate::services::visits::VisitCounter;

/// The services that all sessions share.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) throttle: Throttle,
    pub(crate) filter: Filter,
    pub(crate) passwords: Passwords,
    pub(crate) accounts: Accounts,
    pub(crate) visits: VisitCounter,
    pub(crate) resolver: Resolver,
    pub(crate) directory: UserDirectory,
    pub(crate) motd_program: MotdProgram,
    pub(crate) upstream: Upstream,
    pub(crate) history: History,
    /// Set if the server has TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) metrics: Metrics,
}

impl Services {
    /// Runs the services for a line before the line goes to the hub. Returns
    /// its command and the results that the hub needs. `from` is the address of
    /// the client.
    pub(crate) async fn run_before_hub(&self, line: &[u8], from: IpAddr) -> (Option<Command>, LineChecks) {
        let mut checks = LineChecks::default();
        let Some(message) = Message::parse(line) else { return (None, checks) };
        let command = Command::from_word(message.command);
        self.metrics.count_received(command);
        // Rare commands wait in a box, so that not every session reserves the
        // memory for them.
        match (command, message.param(0), message.param(1)) {
            (Command::Oper, Some(name), Some(password)) => {
                checks.is_password_right = Box::pin(self.passwords.is_operator(name, password, from)).await;
                checks.is_password_wrong = !checks.is_password_right && self.passwords.has_operator();
            }
            (Command::Join | Command::Names, Some(channels), _) => {
                split_commas(channels).for_each(|channel| self.visits.count(channel));
            }
            (Command::Privmsg, Some(_), Some(text)) => {
                self.throttle.maybe_block_privmsg();
                checks.is_refused = self.filter.refuses_privmsg(text);
            }
            (Command::Notice, Some(_), Some(text)) => checks.is_refused = self.filter.refuses_notice(text),
            (Command::Who | Command::Whois, _, _) => {
                let number = self.directory.next_query_number().await;
                tracing::trace!(number, "query about users");
            }
            (Command::Motd, _, _) => {
                log_failure("the program for MOTD", Box::pin(self.motd_program.run()).await)
            }
            (Command::Topic, _, _) => {
                log_failure("the upstream service", Box::pin(self.upstream.ask()).await)
            }
            _ => {}
        }
        (Some(command), checks)
    }

    /// Makes the mistake of the history for the messages of a line. They are in
    /// its queue already.
    pub(crate) fn run_after_hub(&self, messages: &[ChannelMessage]) {
        messages.iter().for_each(|message| self.history.maybe_block_append(message));
    }
}

/// Logs the failure of a service. Its command continues.
fn log_failure(what: &str, succeeded: bool) {
    if !succeeded {
        tracing::debug!("{what} failed");
    }
}
