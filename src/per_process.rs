//! Statics that a forked child does not share with its parent.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use crate::fork;

/// A static with a value of its own in each process. A forked child begins with
/// a new value: a lock in the old one may be held for ever, by a thread that
/// does not exist in the child.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(AtomicPtr<Versioned<T>>);

#[derive(Debug)]
struct Versioned<T> {
    generation: u32,
    value: T,
}

impl<T: Default + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns the value of this process. The first call in each process
    /// allocates it. It is never freed.
    pub(crate) fn get(&self) -> &T {
        let generation = fork::generation();
        let mut known = self.0.load(Acquire);
        loop {
            // SAFETY: the pointer is null or comes from `Box::into_raw` below,
            // and no value that was published is ever freed.
            if let Some(versioned) = unsafe { known.as_ref() }
                && versioned.generation == generation
            {
                return &versioned.value;
            }
            let new = Box::into_raw(Box::new(Versioned { generation, value: T::default() }));
            match self.0.compare_exchange(known, new, AcqRel, Acquire) {
                // SAFETY: as above; `new` is published now.
                Ok(_) => return unsafe { &(*new).value },
                Err(published) => {
                    // SAFETY: `new` comes from `Box::into_raw` and was not
                    // published.
                    drop(unsafe { Box::from_raw(new) });
                    known = published;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;

    use super::*;

    #[test]
    fn all_threads_of_a_process_get_the_same_value() {
        static COUNT: PerProcess<AtomicU32> = PerProcess::new();
        let add = || COUNT.get().fetch_add(1, Relaxed);
        thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(add);
            }
        });
        assert_eq!(COUNT.get().load(Relaxed), 4);
    }
}
