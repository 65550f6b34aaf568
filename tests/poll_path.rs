//! The poll path does not allocate.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{runtime, scope};

struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes every call to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller upholds the requirements of this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the requirements of this call.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

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
