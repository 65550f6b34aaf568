//! The poll path never calls the allocator.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{runtime, scope};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn ten_thousand_polls_allocate_nothing() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let polls = |n| async move {
        for _ in 0..n {
            tokio::task::yield_now().await;
        }
    };
    let allocations = scope.block_on(&runtime, async move {
        let measured = loopscope::spawn("measured", async move {
            // The first polls register the worker and the kind.
            polls(100).await;
            let before = ALLOCATIONS.get();
            polls(10_000).await;
            ALLOCATIONS.get() - before
        });
        measured.await.unwrap()
    });
    assert_eq!(allocations, 0);
}
