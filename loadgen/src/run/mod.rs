//! A load test carried out: connect, join, settle, measure, drain.

mod churn;
mod fleet;
mod interrupt;
mod measurement;
mod pacer;
mod progress;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use interrupt::Stop;
pub(crate) use measurement::Measurement;
pub(crate) use progress::Progress;

use crate::irc::Member;
use crate::plan::Plan;
use crate::record::Shared;
use fleet::Fleet;
use pacer::Pace;

/// How often it is looked at how things stand.
const LOOK: Duration = Duration::from_millis(20);

/// Carries the plan out. Whatever the target does, there is a measurement in
/// the end; where it allows no verdict, it says why.
pub(crate) async fn measure(plan: Plan, mut stop: Stop, progress: &mut Progress) -> Measurement {
    let shared = Arc::new(Shared::new(plan));
    let address = match address(&shared.plan.target).await {
        Ok(address) => address,
        Err(reason) => return Measurement::impossible(&shared, reason),
    };
    let mut fleet = Fleet::launch(&shared, address);
    let members = fleet.assemble(&mut stop, progress).await;
    let ready = members.len() >= shared.plan.required_connections() && !stop.requested();

    let mut pace = Pace::none();
    if ready {
        progress.say("all have joined, settling");
        tokio::select! {
            () = tokio::time::sleep(shared.plan.settle) => {}
            () = stop.wait() => {}
        }
        pace = send(&shared, &members, address, &stop, progress).await;
        drain(&shared, progress).await;
    }
    let end = Instant::now();
    let alone = ready && shared.live.view().open == 0;
    let inboxes = fleet.disband().await;
    progress.clear();
    Measurement::new(&shared, &members, &inboxes, &pace, end, alone, stop.requested())
}

/// The first address of `target`.
async fn address(target: &str) -> Result<SocketAddr, String> {
    let mut addresses = tokio::net::lookup_host(target)
        .await
        .map_err(|error| format!("the address of {target} cannot be found: {error}"))?;
    addresses.next().ok_or_else(|| format!("{target} has no address"))
}

/// Lets the pacer send what is due, until the schedule's end, a signal, or the
/// last connection's end.
async fn send(
    shared: &Arc<Shared>,
    members: &[Member],
    address: SocketAddr,
    stop: &Stop,
    progress: &mut Progress,
) -> Pace {
    let halt = Arc::new(AtomicBool::new(false));
    let Ok(mut pace) = pacer::start(shared, members.to_vec(), Arc::clone(&halt)) else {
        return Pace::none();
    };
    let churn = tokio::spawn(churn::churn(Arc::clone(shared), address));
    let mut look = tokio::time::interval(LOOK);
    let pace = loop {
        tokio::select! {
            pace = &mut pace => break pace.unwrap_or_else(|_| Pace::none()),
            _ = look.tick() => {
                progress.show("measuring", shared);
                if stop.requested() || shared.live.view().open == 0 {
                    halt.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    churn.abort();
    pace
}

/// Waits for what is still under way.
async fn drain(shared: &Shared, progress: &mut Progress) {
    let end = Instant::now() + shared.plan.drain;
    while Instant::now() < end {
        let live = shared.live.view();
        if live.delivered >= live.awaited || live.open == 0 {
            break;
        }
        progress.show("draining", shared);
        tokio::time::sleep(LOOK).await;
    }
}
