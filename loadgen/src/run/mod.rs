//! A load test carried out: connect, join, settle, measure, drain.

mod chat;
mod churn;
mod driver;
mod fleet;
mod interrupt;
mod measurement;
mod pacer;
mod progress;
mod reconcile;
mod web;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use interrupt::Stop;
pub(crate) use measurement::{Measurement, spectrum};
pub(crate) use pacer::{Outlet, Sent};
pub(crate) use progress::Progress;

use crate::metrics;
use crate::net;
use crate::plan::{Plan, Target};
use crate::record::{IntervalLog, Shared};
use crate::self_monitor::Mark;
use chat::Chat;
use driver::Driver;
use measurement::Course;
use pacer::Pace;
use web::Web;

/// How often it is looked at how things stand.
const LOOK: Duration = Duration::from_millis(20);

/// Carries the plan out. Whatever the target does, there is a measurement in
/// the end; where it allows no verdict, it says why.
pub(crate) async fn measure(plan: Plan, stop: Stop, progress: &mut Progress) -> Measurement {
    let shared = Arc::new(Shared::new(plan));
    metrics::show(&shared);
    let target = match shared.plan.target.parse::<Target>() {
        Ok(target) => target,
        Err(reason) => return Measurement::impossible(&shared, reason),
    };
    match net::resolve(target.address()).await {
        Ok(address) if target.is_web() => {
            carry_out(&shared, Web::launch(&shared, &target, address), stop, progress).await
        }
        Ok(address) => carry_out(&shared, Chat::launch(&shared, address), stop, progress).await,
        Err(reason) => Measurement::impossible(&shared, reason),
    }
}

/// What there is to say of a run in which another program was the load.
pub(crate) fn unmeasured(plan: Plan, interrupted: bool) -> Measurement {
    let mut measurement = Measurement::impossible(&Shared::new(plan), String::new());
    measurement.invalid.clear();
    measurement.interrupted = interrupted;
    measurement
}

async fn carry_out<D: Driver>(
    shared: &Arc<Shared>,
    mut driver: D,
    mut stop: Stop,
    progress: &mut Progress,
) -> Measurement {
    let joined = driver.assemble(&mut stop, progress).await;
    let ready = joined >= shared.plan.required_connections() && !stop.requested();
    let mut pace = Pace::none(shared);
    let mut own = Mark::now();
    let log = match begin_log(shared) {
        Ok(log) => log,
        Err(reason) => return Measurement::impossible(shared, reason),
    };
    if ready {
        progress.say("all are ready, settling");
        tokio::select! {
            () = tokio::time::sleep(shared.plan.settle) => {}
            () = stop.wait() => {}
        }
        own = Mark::now();
        pace = tokio::select! {
            pace = send(shared, driver.outlet(), &stop, progress) => pace,
            () = driver.meanwhile() => pace,
        };
        drain(shared, progress).await;
    }
    let end = Instant::now();
    let generator = own.elapsed();
    let alone = ready && shared.live.view().open == 0;
    let planned = pace.total().planned;
    let mut received = driver.disband(planned, shared.since_start(end)).await;
    let unwritten = log.zip(received.intervals.take()).and_then(|(log, last)| log.end(last).err());
    progress.clear();
    let interrupted = stop.requested();
    let mut measurement =
        Measurement::new(shared, Course { joined, pace, received, end, generator, alone, interrupted });
    if let (Some(error), Some(path)) = (unwritten, &shared.plan.hlog) {
        measurement.invalid.push(format!("--hlog {} cannot be written: {error}", path.display()));
    }
    measurement
}

/// Begins the interval log, if there shall be one.
fn begin_log(shared: &Arc<Shared>) -> Result<Option<IntervalLog>, String> {
    let Some(path) = &shared.plan.hlog else { return Ok(None) };
    let log = IntervalLog::begin(path, Arc::clone(shared));
    log.map(Some).map_err(|error| format!("--hlog {} cannot be written: {error}", path.display()))
}

/// Lets the pacer send what is due, until the schedule's end, a signal, or the
/// last connection's end.
async fn send(shared: &Arc<Shared>, outlet: impl Outlet, stop: &Stop, progress: &mut Progress) -> Pace {
    let halt = Arc::new(AtomicBool::new(false));
    let Ok(mut pace) = pacer::start(shared, outlet, Arc::clone(&halt)) else {
        return Pace::none(shared);
    };
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            pace = &mut pace => break pace.unwrap_or_else(|_| Pace::none(shared)),
            _ = look.tick() => {
                progress.show("measuring", shared);
                if stop.requested() || shared.live.view().open == 0 {
                    halt.store(true, Ordering::Relaxed);
                }
            }
        }
    }
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
