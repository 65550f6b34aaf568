//! The code that runs on a worker's own thread: Tokio's hooks, named futures
//! and their wakers, spawning. It writes to [`record`](crate::record).

pub(crate) mod canary;
pub(crate) mod future;
pub(crate) mod hooks;
pub(crate) mod install;
mod skipped_poll;
pub(crate) mod spawn;
#[cfg(tokio_unstable)]
mod task_number;
pub(crate) mod waker;
