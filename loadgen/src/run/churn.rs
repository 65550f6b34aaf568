//! Visitors: extra clients that connect, register, join a measured channel,
//! receive for a while and quit.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::irc::Session;
use crate::net::Connector;
use crate::plan::{MAX_DURATION, MAX_VISITORS};
use crate::record::{Failure, RunState};

/// How long a visitor receives before it quits.
const VISIT_DURATION: Duration = Duration::from_millis(500);

/// Starts visitors at the plan's rate until the caller drops this future, but
/// skips a visitor while [`MAX_VISITORS`] are connected. Visitors are not
/// members: they do not change what the members should receive.
pub(crate) async fn churn(state: Arc<RunState>, connector: Connector) {
    if state.plan.churn <= 0.0 {
        return std::future::pending().await;
    }
    let pause = pause(state.plan.churn);
    let mut due = Instant::now();
    let mut visits = JoinSet::new();
    for number in state.plan.connections + state.plan.storm_clients.. {
        sleep_until(due).await;
        while visits.try_join_next().is_some() {}
        if visits.len() < MAX_VISITORS {
            visits.spawn(visit(Arc::clone(&state), connector.clone(), number, due));
        }
        due += pause;
    }
}

/// Returns the time between two visitors, of which `churn` come per second. It
/// is at most [`MAX_DURATION`], longer than any run.
fn pause(churn: f64) -> Duration {
    Duration::try_from_secs_f64(1.0 / churn).unwrap_or(MAX_DURATION).min(MAX_DURATION)
}

async fn visit(state: Arc<RunState>, connector: Connector, number: usize, due: Instant) {
    let begun = Instant::now();
    let open = Session::open(&state, &connector, number, state.channel_name(number), "");
    match timeout(state.plan.timeout, open).await {
        Ok(Ok(mut session)) => {
            state.logins.on_ready(due.into_std(), begun.into_std());
            if let Ok(failure) = timeout(VISIT_DURATION, session.receive()).await {
                state.failures.count(&failure);
            }
            drop(session.leave());
        }
        Ok(Err(failure)) => state.failures.count(&failure),
        Err(_elapsed) => {
            state.failures.count(&Failure::timeout("the target let a visitor wait for too long".into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_between_visitors_has_a_limit() {
        assert_eq!(pause(20.0), Duration::from_millis(50));
        assert_eq!((pause(1e-20), pause(f64::MIN_POSITIVE)), (MAX_DURATION, MAX_DURATION));
    }
}
