//! Injection site `channel`: WHO and WHOIS get a serial number from a service.

use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::inject::mistake::Mistake;

/// Maximum queries that wait for the service.
const MAX_QUEUED_QUERIES: usize = 1024;

/// Numbers the queries about users for the log.
#[derive(Debug)]
pub(crate) struct UserDirectory {
    service: mpsc::Sender<oneshot::Sender<u64>>,
    mistake: Option<(Mistake, blocking::SyncSender<blocking::Sender<u64>>)>,
}

impl UserDirectory {
    /// Starts the task that runs the service. With the mistake, also starts the
    /// thread that runs the slow service.
    ///
    /// # Errors
    ///
    /// Returns an error if the thread cannot be started.
    pub(crate) fn start(mistake: Option<Mistake>) -> anyhow::Result<Self> {
        let (service, queries) = mpsc::channel(MAX_QUEUED_QUERIES);
        loopscope::spawn("directory", serve(queries));
        let mistake = match mistake {
            None => None,
            Some(mistake) => {
                let (slow_service, queries) = blocking::sync_channel(MAX_QUEUED_QUERIES);
                let duration = mistake.duration();
                thread::Builder::new()
                    .name("directory".into())
                    .spawn(move || serve_slowly(&queries, duration))?;
                Some((mistake, slow_service))
            }
        };
        Ok(Self { service, mistake })
    }

    /// Returns the number of this query, or `None` if the service has ended.
    pub(crate) async fn next_query_number(&self) -> Option<u64> {
        match &self.mistake {
            Some((mistake, service)) if mistake.decide().is_some() => wrong(service),
            _ => self.right().await,
        }
    }

    /// Right: the task waits for the reply, its worker does not.
    async fn right(&self) -> Option<u64> {
        let (reply, number) = oneshot::channel();
        self.service.send(reply).await.ok()?;
        number.await.ok()
    }
}

/// Wrong: a channel of `std::sync::mpsc`. The worker waits for the reply.
#[inline(never)]
fn wrong(service: &blocking::SyncSender<blocking::Sender<u64>>) -> Option<u64> {
    let (reply, number) = blocking::channel();
    service.try_send(reply).ok()?;
    let number = number.recv(); // THE MISTAKE
    number.ok()
}

async fn serve(mut queries: mpsc::Receiver<oneshot::Sender<u64>>) {
    let mut number = 0;
    while let Some(reply) = queries.recv().await {
        number += 1;
        // The session that asked may have ended.
        let _ = reply.send(number);
    }
}

/// Runs the slow service until all senders are dropped.
fn serve_slowly(queries: &blocking::Receiver<blocking::Sender<u64>>, duration: Duration) {
    for (number, reply) in (1..).zip(queries) {
        thread::sleep(duration);
        // The session that asked may have ended.
        let _ = reply.send(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::InjectionSite;

    #[tokio::test]
    async fn right_and_wrong_count_queries() {
        for inject in [&[][..], &["channel=1ms"]] {
            let mistake =
                Injections::parse(inject.iter().copied()).expect("valid").at(InjectionSite::Channel);
            let mistake = mistake.map(Mistake::on_every_call);
            let directory = UserDirectory::start(mistake).expect("started");
            assert_eq!(
                (directory.next_query_number().await, directory.next_query_number().await),
                (Some(1), Some(2)),
                "{inject:?}"
            );
        }
    }
}
