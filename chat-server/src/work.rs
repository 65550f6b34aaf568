//! What a line costs beyond the hub: the checks before it and the log after it.
//!
//! This is where the mistakes of [`inject`](crate::inject) sit, all in the session's own task.

use crate::{
    command::Command,
    hub::{Checks, Entry},
    inject::{filter::Filter, history::History, lock::Visits, password::Passwords, sleep::Throttle},
    message::{Message, list},
    metrics::Metrics,
};

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) throttle: Throttle,
    pub(crate) filter: Filter,
    pub(crate) passwords: Passwords,
    pub(crate) visits: Visits,
    pub(crate) history: History,
    pub(crate) metrics: Metrics,
}

impl Work {
    /// Checks a line before it goes to the hub.
    pub(crate) async fn before(&self, line: &[u8]) -> Checks {
        let mut checks = Checks::default();
        let Some(message) = Message::parse(line) else { return checks };
        let command = Command::of(message.command);
        self.metrics.received(command);
        match (command, message.param(0), message.param(1)) {
            (Command::Pass, Some(password), _) => checks.password = self.passwords.admits(password).await,
            (Command::Oper, Some(name), Some(password)) => {
                checks.password = self.passwords.is_operator(name, password).await;
            }
            (Command::Join | Command::Names, Some(channels), _) => {
                list(channels).for_each(|channel| self.visits.count(channel));
            }
            (Command::Privmsg, Some(_), Some(text)) => {
                self.throttle.before_privmsg();
                checks.refused = self.filter.refuses(text);
            }
            (Command::Notice, Some(_), Some(text)) => checks.refused = self.filter.refuses_quickly(text),
            _ => {}
        }
        checks
    }

    /// Logs what was said in channels.
    pub(crate) fn after(&self, said: Vec<Entry>) {
        said.into_iter().for_each(|entry| self.history.append(entry));
    }
}
