//! The code that runs on a worker's own thread: Tokio's hooks, named futures
//! and their wakers, spawning. It writes to [`record`](crate::record).

pub(crate) mod canary;
pub(crate) mod future;
pub(crate) mod hooks;
pub(crate) mod install;
mod skipped_poll;
pub(crate) mod spawn;
pub(crate) mod waker;
