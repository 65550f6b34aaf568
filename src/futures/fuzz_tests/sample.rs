//! A program with the types of a small Tokio. It is compiled for its debug
//! information and never runs. Its crate has the name `tokio`.

#![allow(dead_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub mod runtime {
    pub mod task {
        pub mod core {
            use std::cell::UnsafeCell;

            pub enum Stage<T> {
                Running(T),
                Finished(u32),
                Consumed,
            }

            pub struct CoreStage<T> {
                pub stage: UnsafeCell<Stage<T>>,
            }

            #[repr(C)]
            pub struct Core<T, S> {
                pub scheduler: S,
                pub task_id: u64,
                pub stage: CoreStage<T>,
            }

            #[repr(C)]
            pub struct Header {
                pub state: usize,
                pub queue_next: usize,
                pub vtable: usize,
                pub owner_id: usize,
            }

            #[repr(C)]
            pub struct Cell<T, S> {
                pub header: Header,
                pub core: Core<T, S>,
                pub trailer: [usize; 4],
            }
        }

        pub mod raw {
            use std::future::Future;
            use std::pin::Pin;
            use std::task::{Context, Waker};

            use super::core::{Cell, Stage};

            #[inline(never)]
            pub fn poll<T: Future, S>(cell: &mut Cell<T, S>) -> bool {
                let Stage::Running(future) = cell.core.stage.stage.get_mut() else { return false };
                // SAFETY: this program never runs.
                let future = unsafe { Pin::new_unchecked(future) };
                future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
            }
        }

        pub mod join {
            pub struct JoinHandle {
                pub raw: std::ptr::NonNull<u64>,
            }
        }
    }
}

pub mod time {
    pub mod sleep {
        pub struct Deadline {
            pub tv_sec: i64,
            pub tv_nsec: u32,
        }

        pub struct Sleep {
            pub deadline: Deadline,
        }
    }
}

pub mod sync {
    pub mod batch_semaphore {
        pub struct Waiter {
            pub state: usize,
        }

        pub struct Acquire<'s> {
            pub node: Waiter,
            pub semaphore: &'s u64,
            pub queued: bool,
        }
    }
}

macro_rules! never_ready {
    ($($of:ty),*) => {
        $(impl Future for $of {
            type Output = u64;

            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u64> {
                Poll::Pending
            }
        })*
    };
}

never_ready!(time::sleep::Sleep, sync::batch_semaphore::Acquire<'_>, runtime::task::join::JoinHandle);

type Boxed = Pin<Box<dyn Future<Output = u64>>>;

async fn inner(kind: u8) -> u64 {
    let semaphore = 1;
    let node = sync::batch_semaphore::Waiter { state: 0 };
    match kind {
        0 => sync::batch_semaphore::Acquire { node, semaphore: &semaphore, queued: true }.await,
        1 => runtime::task::join::JoinHandle { raw: std::ptr::NonNull::dangling() }.await,
        _ => boxed(kind).await,
    }
}

fn boxed(kind: u8) -> Boxed {
    match kind {
        2 => Box::pin(inner(0)),
        3 => Box::pin(outer(1)),
        _ => Box::pin(time::sleep::Sleep { deadline: time::sleep::Deadline { tv_sec: 1, tv_nsec: 2 } }),
    }
}

async fn outer(kind: u8) -> u64 {
    let first = inner(kind).await;
    let again = Box::pin(outer_again(kind)).await;
    first + again
}

async fn outer_again(kind: u8) -> u64 {
    boxed(kind).await + Some(Box::pin(boxed(kind))).unwrap().await
}

fn spawned<T: Future>(future: T) -> bool {
    use runtime::task::core::{Cell, Core, CoreStage, Header, Stage};
    let header = Header { state: 0, queue_next: 0, vtable: 0, owner_id: 0 };
    let stage = CoreStage { stage: Stage::Running(future).into() };
    let mut cell = Cell { header, core: Core { scheduler: 1_u64, task_id: 1, stage }, trailer: [0; 4] };
    runtime::task::raw::poll(&mut cell)
}

fn main() {
    spawned(inner(0));
    spawned(outer(0));
    spawned(outer_again(0));
    spawned(boxed(0));
    spawned(async { inner(1).await + outer(2).await });
}
