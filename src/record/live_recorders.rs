//! The recorders of all scopes of this process.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use crate::lock::Lock;
use crate::per_process::PerProcess;
use crate::record::recorder::Recorder;

static RECORDERS: PerProcess<Lock<Vec<Weak<Recorder>>>> = PerProcess::new();

/// Adds the recorder of a scope that starts.
pub(crate) fn add(recorder: &Arc<Recorder>) {
    let mut recorders = RECORDERS.get().lock();
    recorders.retain(|known| known.strong_count() > 0);
    recorders.push(Arc::downgrade(recorder));
}

/// Returns the ids of the threads that a scope of this process watches.
pub(crate) fn watched_threads() -> HashSet<i32> {
    let recorders: Vec<_> = RECORDERS.get().lock().iter().filter_map(Weak::upgrade).collect();
    let workers = recorders.iter().flat_map(|recorder| recorder.all_workers());
    workers.filter_map(|worker| Some(worker.thread()?.tid)).collect()
}
