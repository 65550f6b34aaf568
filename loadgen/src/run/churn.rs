//! Extra clients that come and go: connect, register, join a measured room,
//! listen for a while, leave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::irc::Session;
use crate::plan::MAX_VISITORS;
use crate::record::{Failure, Shared};

/// How long a visitor stays.
const STAY: Duration = Duration::from_millis(500);

/// Sends visitors at the plan's rate until dropped. They are no members: what
/// members should receive does not change by them.
pub(crate) async fn churn(shared: Arc<Shared>, address: SocketAddr) {
    if shared.plan.churn <= 0.0 {
        return std::future::pending().await;
    }
    let pause = Duration::from_secs_f64(1.0 / shared.plan.churn);
    let mut due = Instant::now();
    let mut visits = JoinSet::new();
    for number in shared.plan.connections.. {
        sleep_until(due).await;
        due += pause;
        while visits.try_join_next().is_some() {}
        if visits.len() < MAX_VISITORS {
            visits.spawn(visit(Arc::clone(&shared), address, number));
        }
    }
}

async fn visit(shared: Arc<Shared>, address: SocketAddr, number: usize) {
    let open = Session::open(&shared, address, number, shared.room_name(number));
    match timeout(shared.plan.timeout, open).await {
        Ok(Ok(mut session)) => {
            if let Ok(failure) = timeout(STAY, session.receive()).await {
                shared.failures.count(&failure);
            }
            drop(session.leave());
        }
        Ok(Err(failure)) => shared.failures.count(&failure),
        Err(_elapsed) => {
            shared.failures.count(&Failure::timeout("the target let a visitor wait for too long".into()));
        }
    }
}
