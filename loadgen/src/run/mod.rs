//! Runs a load test: connect, join, settle, measure, drain.

mod alarm;
mod chat;
mod churn;
mod driver;
mod fleet;
mod interrupt;
mod measurement;
mod pacer;
mod progress;
mod reconcile;
mod storm;
mod web;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use interrupt::Stop;
pub(crate) use measurement::{Measurement, spectrum};
pub(crate) use progress::Progress;

use crate::metrics;
use crate::net::Connector;
use crate::outlet::Outlet;
use crate::plan::{Plan, Target};
use crate::record::{IntervalLog, RunState};
use crate::self_monitor::SelfMonitor;
use chat::ChatDriver;
use driver::{Driver, FinalReceipts};
use measurement::RunRecord;
use pacer::PacerFigures;
use web::WebDriver;

/// Time between two checks of the state of the run.
const STATE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Executes the plan. Returns a measurement whatever the target does. A
/// measurement that allows no verdict contains the reason.
pub(crate) async fn measure(plan: Plan, stop: Stop, progress: &mut Progress) -> Measurement {
    let state = Arc::new(RunState::new(plan));
    metrics::set_current_run(&state);
    let target = match state.plan.target.parse::<Target>() {
        Ok(target) => target,
        Err(reason) => return Measurement::without_figures(&state, reason),
    };
    match Connector::new(&state, &target).await {
        Ok(connector) if target.is_web() => {
            run_with_driver(&state, WebDriver::launch(&state, &target, &connector), stop, progress).await
        }
        Ok(connector) => match launch_chat(&state, &connector).await {
            Ok(driver) => run_with_driver(&state, driver, stop, progress).await,
            Err(reason) => Measurement::without_figures(&state, reason),
        },
        Err(reason) => Measurement::without_figures(&state, reason),
    }
}

async fn launch_chat(state: &Arc<RunState>, connector: &Connector) -> Result<ChatDriver, String> {
    let visitor_connector = match &state.plan.visitor_target {
        Some(target) => Connector::to_own_server(state, target).await?,
        None => connector.clone(),
    };
    ChatDriver::launch(state, connector, visitor_connector)
        .map_err(|error| format!("the thread of the storms cannot be started: {error}"))
}

/// Returns the measurement of a run in which another program generates the
/// load: the plan and no figures.
pub(crate) fn unmeasured(plan: Plan, interrupted: bool) -> Measurement {
    let mut measurement = Measurement::without_figures(&RunState::new(plan), String::new());
    measurement.invalid.clear();
    measurement.interrupted = interrupted;
    measurement
}

async fn run_with_driver<D: Driver>(
    state: &Arc<RunState>,
    mut driver: D,
    mut stop: Stop,
    progress: &mut Progress,
) -> Measurement {
    let joined = driver.wait_until_ready(&mut stop, progress).await;
    let ready = joined >= state.plan.required_connections() && !stop.is_requested();
    let mut pace = PacerFigures::none(state);
    let mut monitor = SelfMonitor::start();
    let log = match start_log(state) {
        Ok(log) => log,
        Err(reason) => return Measurement::without_figures(state, reason),
    };
    if ready {
        progress.show_text("all clients are ready, settling");
        tokio::select! {
            () = tokio::time::sleep(state.plan.settle) => {}
            () = stop.wait() => {}
        }
        monitor = SelfMonitor::start();
        pace = tokio::select! {
            pace = send(state, driver.outlet(), &stop, progress) => pace,
            () = driver.run_visitors() => pace,
        };
        drain(state, progress).await;
    }
    let end = Instant::now();
    let generator = monitor.figures();
    let all_closed = ready && state.live.view().open == 0;
    let planned = pace.total().planned;
    let FinalReceipts { mut received, unreported_clients } =
        driver.finish(planned, state.since_start(end)).await;
    pace.add_requests(&received.sent);
    let log_error = log.zip(received.interval.take()).and_then(|(log, last)| log.finish(last).err());
    progress.clear();
    let interrupted = stop.is_requested();
    let mut measurement = Measurement::new(
        state,
        RunRecord { joined, pace, received, unreported_clients, end, generator, all_closed, interrupted },
    );
    if let (Some(error), Some(path)) = (log_error, &state.plan.hlog) {
        measurement.invalid.push(format!("--hlog {} cannot be written: {error}", path.display()));
    }
    measurement
}

/// Starts the interval log, if the plan has one.
fn start_log(state: &Arc<RunState>) -> Result<Option<IntervalLog>, String> {
    let Some(path) = &state.plan.hlog else { return Ok(None) };
    let log = IntervalLog::start(path, Arc::clone(state));
    log.map(Some).map_err(|error| format!("--hlog {} cannot be written: {error}", path.display()))
}

/// Runs the pacer until the end of the schedule, a signal, or the end of the
/// last connection.
async fn send(
    state: &Arc<RunState>,
    outlet: impl Outlet,
    stop: &Stop,
    progress: &mut Progress,
) -> PacerFigures {
    let halt = Arc::new(AtomicBool::new(false));
    let Ok(mut pacer_result) = pacer::start(state, outlet, Arc::clone(&halt)) else {
        return PacerFigures::none(state);
    };
    let mut ticks = tokio::time::interval(STATE_POLL_INTERVAL);
    loop {
        tokio::select! {
            figures = &mut pacer_result => break figures.unwrap_or_else(|_| PacerFigures::none(state)),
            _ = ticks.tick() => {
                progress.show("measuring", state);
                if stop.is_requested() || state.live.view().open == 0 {
                    halt.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Waits for deliveries that have not arrived yet, and for logins of storms,
/// for at most the drain time.
async fn drain(state: &RunState, progress: &mut Progress) {
    let end = Instant::now() + state.plan.drain;
    while Instant::now() < end {
        let live = state.live.view();
        let is_complete = live.delivered >= live.awaited && state.logins.are_storms_over();
        if is_complete || live.open == 0 {
            break;
        }
        progress.show("draining", state);
        tokio::time::sleep(STATE_POLL_INTERVAL).await;
    }
}
